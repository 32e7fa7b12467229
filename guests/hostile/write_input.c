// expect: exit:0
// Tries to change its input. Ends with 66 if that works.
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

int main(void) {
    if (open("/in/data", O_WRONLY) >= 0 || open("/in/data", O_RDWR | O_TRUNC) >= 0) return 66;
    if (open("/in/new", O_CREAT | O_WRONLY, 0666) >= 0 || open("/new", O_CREAT | O_WRONLY, 0666) >= 0) return 66;
    if (!unlink("/in/data") || !rename("/in/data", "/out/data") || !mkdir("/in/folder", 0777)) return 66;
    if (!truncate("/in/data", 0) || !rmdir("/in")) return 66;
    return !rename("/out", "/in/out") ? 66 : 0;
}
