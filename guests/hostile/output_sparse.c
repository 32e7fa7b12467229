// expect: exit:0 limit-output
// Writes one byte very far out, and sets sizes beyond all reason.
#include <fcntl.h>
#include <unistd.h>

int main(void) {
    int file = open("/out/sparse", O_CREAT | O_RDWR, 0666);
    long long far[] = {1LL << 40, 1LL << 62, 0x7fffffffffffffffLL};
    for (int i = 0; i < 3; i++) {
        if (lseek(file, far[i], SEEK_SET) >= 0 && write(file, "x", 1) > 0) return 66;
        if (!ftruncate(file, far[i])) return 66;
        if (pwrite(file, "x", 1, far[i]) > 0) return 66;
    }
    return 0;
}
