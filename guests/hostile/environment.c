// expect: exit:0
// Looks for what its host did not mean to tell it.
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

extern char **environ;

int main(void) {
    if (environ && *environ) return 66;
    if (getenv("HOME") || getenv("PATH") || getenv("ADIT_PATH")) return 66;
    return 0;
}
