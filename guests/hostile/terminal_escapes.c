// expect: exit:0
// Prints what would clear, retitle and paste into a terminal.
#include <stdio.h>

int main(void) {
    puts("\x1b[2J\x1b[H\x1b]0;owned\x07\x1b]52;c;cm0gLXJmIC8K\x07\x1b[?1049h\x9b" "31m plain");
    fputs("\x1b[1;1H\x1b[8mhidden\n", stderr);
    return 0;
}
