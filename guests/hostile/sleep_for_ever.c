// expect: exit:0 timeout limit-host-work
// Sleeps for a hundred years, ten times.
#include <time.h>

int main(void) {
    struct timespec century = {3155760000LL, 0};
    for (int i = 0; i < 10; i++) nanosleep(&century, NULL);
    return 0;
}
