// expect: exit:0 limit-resources
// Opens its input ten thousand times and closes nothing. Refusal is expected, and then the rest must still work.
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

int main(void) {
    int opened = 0, last = -1;
    for (int i = 0; i < 10000; i++) {
        int file = open("/in/data", O_RDONLY);
        if (file < 0) break;
        last = file, opened++;
    }
    char byte;
    printf("%d\n", opened);
    return last >= 0 && read(last, &byte, 1) < 0;
}
