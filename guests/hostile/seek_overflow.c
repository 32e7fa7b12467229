// expect: exit:0
// Seeks and reads at the ends of the number range.
#include <fcntl.h>
#include <unistd.h>
#include <wasi/api.h>

int main(void) {
    char byte;
    int file = open("/in/data", O_RDONLY);
    __wasi_filesize_t at;
    __wasi_iovec_t into = {(uint8_t *)&byte, 1};
    __wasi_size_t got = 0;
    __wasi_fd_seek(file, (__wasi_filedelta_t)0x8000000000000000, __WASI_WHENCE_SET, &at);
    __wasi_fd_seek(file, 0x7fffffffffffffff, __WASI_WHENCE_END, &at);
    __wasi_fd_seek(file, 0x7fffffffffffffff, __WASI_WHENCE_CUR, &at);
    if (!__wasi_fd_pread(file, &into, 1, 0xffffffffffffffff, &got) && got > 0) return 66;
    return 0;
}
