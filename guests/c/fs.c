// Does what its arguments say to files, one call each, and prints what came of it: `fs "mkdir /out/d" "ls /out"`.
// Errors are printed by their names, so that tests read like a table of what a guest may do.
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static const char *name(int error) {
    switch (error) {
    case EACCES: return "EACCES";
    case EBADF: return "EBADF";
    case EEXIST: return "EEXIST";
    case EINVAL: return "EINVAL";
    case EISDIR: return "EISDIR";
    case ELOOP: return "ELOOP";
    case EMFILE: return "EMFILE";
    case ENAMETOOLONG: return "ENAMETOOLONG";
    case ENOENT: return "ENOENT";
    case ENOMEM: return "ENOMEM";
    case ENOSPC: return "ENOSPC";
    case ENOTDIR: return "ENOTDIR";
    case ENOTEMPTY: return "ENOTEMPTY";
    case ENOTSUP: return "ENOTSUP";
    case EPERM: return "EPERM";
    case EROFS: return "EROFS";
    default: return strerror(error);
    }
}

static void say(long result) {
    if (result < 0) printf("%s\n", name(errno));
    else printf("%ld\n", result);
}

static void cat(const char *path) {
    char buffer[4096];
    int file = open(path, O_RDONLY);
    long got = file < 0 ? -1 : read(file, buffer, sizeof buffer);
    if (got < 0) printf("%s\n", name(errno));
    else printf("%.*s\n", (int)got, buffer);
    if (file >= 0) close(file);
}

static void list(const char *path) {
    DIR *folder = opendir(path);
    if (!folder) return (void)printf("%s\n", name(errno));
    const char *between = "";
    for (struct dirent *entry; (entry = readdir(folder));) {
        if (!strcmp(entry->d_name, ".") || !strcmp(entry->d_name, "..")) continue;
        printf("%s%s", between, entry->d_name);
        between = " ";
    }
    printf("\n");
    closedir(folder);
}

static void describe(int failed, struct stat *status) {
    if (failed) return (void)printf("%s\n", name(errno));
    const char *kind = S_ISDIR(status->st_mode) ? "directory" : S_ISLNK(status->st_mode) ? "symlink" : "file";
    printf("%s %lld\n", kind, (long long)status->st_size);
}

static long write_to(const char *path, const char *text, int flags) {
    int file = open(path, O_WRONLY | O_CREAT | flags, 0666);
    if (file < 0) return -1;
    long put = *text ? write(file, text, strlen(text)) : 0;
    return close(file) ? -1 : put;
}

static long cut(const char *path, long long length) {
    int file = open(path, O_WRONLY);
    if (file < 0) return -1;
    int result = ftruncate(file, length);
    close(file);
    return result;
}

int main(int count, char **words) {
    for (int i = 1; i < count; i++) {
        char line[8192], target[4096];
        struct stat status;
        snprintf(line, sizeof line, "%s", words[i]);
        char *call = strtok(line, " "), *a = strtok(NULL, " "), *b = strtok(NULL, "");
        if (!call || !a) return 2;
        if (!b) b = "";
        printf("%s: ", words[i]);
        if (!strcmp(call, "cat")) cat(a);
        else if (!strcmp(call, "ls")) list(a);
        else if (!strcmp(call, "stat")) describe(stat(a, &status), &status);
        else if (!strcmp(call, "lstat")) describe(lstat(a, &status), &status);
        else if (!strcmp(call, "write")) say(write_to(a, b, O_TRUNC));
        else if (!strcmp(call, "append")) say(write_to(a, b, O_APPEND));
        else if (!strcmp(call, "exclusive")) say(write_to(a, b, O_EXCL));
        else if (!strcmp(call, "truncate")) say(cut(a, atoll(b)));
        else if (!strcmp(call, "mkdir")) say(mkdir(a, 0777));
        else if (!strcmp(call, "rmdir")) say(rmdir(a));
        else if (!strcmp(call, "unlink")) say(unlink(a));
        else if (!strcmp(call, "rename")) say(rename(a, b));
        else if (!strcmp(call, "symlink")) say(symlink(a, b));
        else if (!strcmp(call, "readlink")) {
            long got = readlink(a, target, sizeof target);
            if (got < 0) say(got);
            else printf("%.*s\n", (int)got, target);
        } else return 2;
    }
    return 0;
}
