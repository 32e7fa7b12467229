// expect: exit:0 limit-memory limit-fuel
// Takes memory until there is none, then goes on asking.
#include <stdlib.h>
#include <string.h>

int main(void) {
    for (int i = 0; i < 100000; i++) {
        char *block = malloc(1 << 20);
        if (block) memset(block, i, 1 << 20);
    }
    return 0;
}
