// expect: exit:0 trap
// Uses every handle as a socket. Ends with 66 if one is.
#include <wasi/api.h>

int main(void) {
    for (__wasi_fd_t base = 0; base < 64; base++) {
        uint8_t byte = 0;
        __wasi_iovec_t into = {&byte, 1};
        __wasi_ciovec_t from = {&byte, 1};
        __wasi_size_t count;
        __wasi_roflags_t flags;
        __wasi_fd_t accepted;
        if (!__wasi_sock_recv(base, &into, 1, 0, &count, &flags)) return 66;
        if (!__wasi_sock_send(base, &from, 1, 0, &count)) return 66;
        if (!__wasi_sock_accept(base, 0, &accepted)) return 66;
        if (!__wasi_sock_shutdown(base, __WASI_SDFLAGS_RD)) return 66;
    }
    return 0;
}
