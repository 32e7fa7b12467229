// expect: exit:0 limit-output
// Writes a file until there is no more room.
#include <fcntl.h>
#include <unistd.h>

static char block[1 << 20];

int main(void) {
    int file = open("/out/big", O_CREAT | O_WRONLY, 0666);
    for (int i = 0; i < 1 << 20; i++)
        if (write(file, block, sizeof block) < 0) return 0;
    return 66;
}
