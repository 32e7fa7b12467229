// expect: exit:0
// Tries to link its input into its output, and to link folders.
#include <unistd.h>

int main(void) {
    if (!link("/in", "/out/in") || !link("/out", "/out/self")) return 66;
    link("/in/data", "/out/data");
    return 0;
}
