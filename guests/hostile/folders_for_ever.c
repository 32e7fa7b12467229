// expect: exit:0 limit-output limit-resources limit-fuel limit-host-work
// Makes folders inside folders until it is stopped.
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

int main(void) {
    static char path[1 << 20] = "/out";
    for (int i = 0; i < 100000; i++) {
        strcat(path + (i ? 2 * i : 0), "/d");
        if (mkdir(path, 0777)) return 0;
    }
    return 0;
}
