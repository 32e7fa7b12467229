// expect: exit:0 limit-output
// Keeps writing to files that it has removed: they count too.
#include <fcntl.h>
#include <unistd.h>

static char block[1 << 20];

int main(void) {
    for (int i = 0; i < 100; i++) {
        int file = open("/out/gone", O_CREAT | O_WRONLY, 0666);
        if (file < 0) return 0;
        unlink("/out/gone");
        for (int j = 0; j < 64; j++)
            if (write(file, block, sizeof block) < 0) return 0;
    }
    return 66;
}
