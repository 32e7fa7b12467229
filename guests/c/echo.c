// Shows what a guest is given: arguments, environment, standard input; ends with the code given by `exit=N`.
// `out=NAME` copies standard input to /out/NAME, `err=TEXT` writes to standard error.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

extern char **environ;

int main(int count, char **words) {
    int code = 0;
    char path[256] = "";
    for (int i = 1; i < count; i++) {
        if (!strncmp(words[i], "exit=", 5)) code = atoi(words[i] + 5);
        else if (!strncmp(words[i], "out=", 4)) snprintf(path, sizeof path, "/out/%s", words[i] + 4);
        else if (!strncmp(words[i], "err=", 4)) fprintf(stderr, "%s\n", words[i] + 4);
        else printf("arg %s\n", words[i]);
    }
    for (char **pair = environ; *pair; pair++) printf("env %s\n", *pair);
    FILE *out = *path ? fopen(path, "wb") : NULL;
    if (*path && !out) return perror(path), 99;
    char buffer[65536];
    unsigned long long total = 0;
    for (size_t got; (got = fread(buffer, 1, sizeof buffer, stdin)) > 0; total += got)
        if (out && fwrite(buffer, 1, got, out) != got) return perror(path), 99;
    if (out && fclose(out)) return perror(path), 99;
    printf("stdin %llu bytes\n", total);
    return code;
}
