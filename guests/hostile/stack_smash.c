// expect: trap indeterminate limit-fuel
// Overruns its own C stack.
#include <string.h>

__attribute__((noinline)) static int deeper(volatile char *above) {
    volatile char frame[4096];
    frame[0] = above[0] + 1;
    return deeper(frame) + frame[0];
}

int main(void) {
    volatile char first = 0;
    return deeper(&first);
}
