// expect: exit:0
// Looks for handles that it was not given, moves and closes those that it was.
#include <wasi/api.h>

int main(void) {
    __wasi_fdstat_t status;
    for (__wasi_fd_t handle = 8; handle < 20000; handle++)
        if (!__wasi_fd_fdstat_get(handle, &status)) return 66;
    if (!__wasi_fd_fdstat_get(0xffffffff, &status)) return 66;
    __wasi_fd_renumber(3, 1000000);
    __wasi_fd_renumber(1, 0xffffffff);
    __wasi_fd_renumber(0, 2);
    for (__wasi_fd_t handle = 0; handle < 64; handle++) __wasi_fd_close(handle);
    for (__wasi_fd_t handle = 0; handle < 64; handle++) __wasi_fd_close(handle);
    return 0;
}
