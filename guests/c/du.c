// Says how many files lie under /in/data, how big they are together, and which are the biggest.
#include <dirent.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#define BIGGEST 5

static struct { char name[256]; unsigned long long size; } top[BIGGEST];
static unsigned long long files, folders, bytes;

static void keep(const char *name, unsigned long long size) {
    for (int i = 0; i < BIGGEST; i++) {
        if (size <= top[i].size) continue;
        memmove(&top[i + 1], &top[i], sizeof top[0] * (BIGGEST - 1 - i));
        snprintf(top[i].name, sizeof top[i].name, "%s", name);
        top[i].size = size;
        return;
    }
}

static int walk(const char *folder, int depth) {
    DIR *entries = opendir(folder);
    if (!entries) return perror(folder), 1;
    int failed = 0;
    for (struct dirent *entry; (entry = readdir(entries));) {
        if (!strcmp(entry->d_name, ".") || !strcmp(entry->d_name, "..")) continue;
        char path[1024];
        snprintf(path, sizeof path, "%s/%s", folder, entry->d_name);
        struct stat status;
        if (lstat(path, &status)) { perror(path); failed = 1; continue; }
        if (S_ISDIR(status.st_mode)) {
            folders++;
            if (depth < 32) failed |= walk(path, depth + 1);
        } else {
            files++;
            bytes += status.st_size;
            keep(path, status.st_size);
        }
    }
    closedir(entries);
    return failed;
}

int main(void) {
    int failed = walk("/in/data", 0);
    printf("%llu files in %llu folders, %llu bytes\n", files, folders + 1, bytes);
    for (int i = 0; i < BIGGEST && top[i].size; i++) printf("%12llu  %s\n", top[i].size, top[i].name);
    return failed;
}
