// expect: exit:0
// Makes links in /out that lead outside, and reads through them. Ends with 66 if one leads there.
#include <fcntl.h>
#include <unistd.h>

int main(void) {
    const char *targets[] = {"/etc/passwd", "../../etc/passwd", "../in/../../../etc/passwd", "/proc/self/mem", "/"};
    for (int i = 0; i < 5; i++) {
        char name[] = "/out/link0", byte;
        name[9] = '0' + i;
        if (symlink(targets[i], name)) continue;
        int file = open(name, O_RDONLY);
        if (file >= 0 && read(file, &byte, 1) > 0) return 66;
    }
    return 0;
}
