// expect: exit:0
// Reads a folder with tiny buffers and made-up positions.
#include <fcntl.h>
#include <unistd.h>
#include <wasi/api.h>

int main(void) {
    int folder = open("/in", O_RDONLY | O_DIRECTORY);
    if (folder < 0) return 1;
    uint8_t buffer[32];
    __wasi_size_t used;
    __wasi_dircookie_t at[] = {0, 1, 2, 1000, 0x7fffffffffffffff, 0xffffffffffffffff};
    for (int i = 0; i < 6; i++)
        for (unsigned size = 0; size <= sizeof buffer; size += 8)
            if (!__wasi_fd_readdir(folder, buffer, size, at[i], &used) && used > size) return 66;
    return 0;
}
