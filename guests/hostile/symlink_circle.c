// expect: exit:0
// Two links that lead to each other.
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

int main(void) {
    struct stat status;
    symlink("b", "/out/a");
    symlink("a", "/out/b");
    if (open("/out/a", O_RDONLY) >= 0) return 66;
    return stat("/out/b", &status) == 0 ? 66 : 0;
}
