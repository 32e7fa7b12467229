// expect: exit:0 limit-output limit-resources limit-fuel limit-host-work
// Makes empty files until it is stopped.
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

int main(void) {
    char name[64];
    for (int i = 0; i < 1000000; i++) {
        snprintf(name, sizeof name, "/out/%d", i);
        int file = open(name, O_CREAT | O_WRONLY, 0666);
        if (file < 0) return 0;
        close(file);
    }
    return 0;
}
