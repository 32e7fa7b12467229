// expect: exit:0 limit-fuel limit-host-work limit-resources
// Moves folders into one another, and into themselves.
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

int main(void) {
    mkdir("/out/a", 0777);
    mkdir("/out/a/b", 0777);
    if (!rename("/out/a", "/out/a/b/a") || !rename("/out", "/out/a/out")) return 66;
    for (int i = 0; i < 10000; i++) {
        rename("/out/a/b", "/out/b");
        rename("/out/b", "/out/a/b");
    }
    return !rmdir("/out") ? 66 : 0;
}
