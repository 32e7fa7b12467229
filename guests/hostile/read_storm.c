// expect: exit:0 limit-fuel limit-host-work
// Reads single bytes here and there, a million times.
#include <fcntl.h>
#include <unistd.h>

int main(void) {
    char byte;
    int file = open("/in/data", O_RDONLY);
    unsigned at = 1;
    for (int i = 0; i < 1000000; i++) {
        at = at * 1664525 + 1013904223;
        if (pread(file, &byte, 1, at % 65536) < 0) return 1;
    }
    return 0;
}
