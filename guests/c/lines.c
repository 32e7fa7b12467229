// Counts the lines of the files named by its arguments (default: /in/data), as `wc -l` does.
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static char buffer[1 << 20];

int main(int count, char **words) {
    char *standard[] = {words[0], "/in/data"};
    if (count < 2) count = 2, words = standard;
    for (int i = 1; i < count; i++) {
        int file = open(words[i], O_RDONLY);
        if (file < 0) return perror(words[i]), 1;
        unsigned long long lines = 0;
        long got;
        while ((got = read(file, buffer, sizeof buffer)) > 0)
            for (char *at = buffer, *end = buffer + got; (at = memchr(at, '\n', end - at)); at++) lines++;
        if (got < 0) return perror(words[i]), 1;
        close(file);
        printf("%llu %s\n", lines, words[i]);
    }
    return 0;
}
