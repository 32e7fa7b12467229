// expect: exit:0
// Makes files with names that would mean something to a shell, a terminal or a tree.
#include <fcntl.h>
#include <unistd.h>

int main(void) {
    const char *names[] = {"/out/\x1b[2J\x1b[31m", "/out/a\nb", "/out/-rf", "/out/$(reboot)", "/out/\x7f\x01", "/out/ "};
    for (int i = 0; i < 6; i++) {
        int file = open(names[i], O_CREAT | O_WRONLY, 0666);
        if (file >= 0) write(file, "x", 1), close(file);
    }
    // These must not become entries at all.
    if (open("/out/.", O_CREAT | O_WRONLY, 0666) >= 0 || open("/out/..", O_CREAT | O_WRONLY, 0666) >= 0) return 66;
    return 0;
}
