// expect: exit:0
// Tries every way out of the tree that a path can name. Ends with 66 if one works.
#include <fcntl.h>
#include <string.h>
#include <unistd.h>
#include <wasi/api.h>

static const char *paths[] = {
    "/etc/passwd", "../etc/passwd", "../../../../../../etc/passwd", "/in/../../etc/passwd", "/out/../../etc/passwd",
    "/in/data/../../../etc/passwd", "/proc/self/exe", "/proc/self/mem", "/proc/1/environ", "/dev/null", "/dev/mem",
    "/sys/kernel", "//etc//passwd", "/./etc/./passwd", "/in/./../../../proc/self/maps", "/tmp/../etc/passwd",
    "file:///etc/passwd", "/root/.adit/identity", "..", "/..", "/../", "/in/../..",
};

int main(void) {
    for (unsigned i = 0; i < sizeof paths / sizeof *paths; i++) {
        char byte;
        int file = open(paths[i], O_RDONLY);
        if (file >= 0 && read(file, &byte, 1) > 0) return 66;
        // The same below each handle that the program was born with.
        for (__wasi_fd_t base = 0; base < 16; base++) {
            __wasi_fd_t opened;
            __wasi_errno_t error = __wasi_path_open(base, __WASI_LOOKUPFLAGS_SYMLINK_FOLLOW, paths[i], 0,
                                                    __WASI_RIGHTS_FD_READ, 0, 0, &opened);
            if (error == 0 && read(opened, &byte, 1) > 0) return 66;
        }
    }
    return 0;
}
