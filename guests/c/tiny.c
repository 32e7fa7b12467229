// The smallest honest job: counts the bytes of /in/data. Used to measure what a job costs besides its work.
#include <fcntl.h>
#include <unistd.h>

int main(void) {
    char buffer[4096];
    unsigned long total = 0;
    int file = open("/in/data", O_RDONLY);
    if (file < 0) return 1;
    for (long got; (got = read(file, buffer, sizeof buffer)) > 0;) total += got;
    char digits[24];
    int at = sizeof digits;
    digits[--at] = '\n';
    do digits[--at] = '0' + total % 10; while (total /= 10);
    return write(1, digits + at, sizeof digits - at) < 0;
}
