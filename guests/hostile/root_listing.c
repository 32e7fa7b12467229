// expect: exit:0
// Lists the root: nothing of the host may show. Ends with 66 if it does.
#include <dirent.h>
#include <string.h>

int main(void) {
    DIR *root = opendir("/");
    if (!root) return 0;
    for (struct dirent *entry; (entry = readdir(root));) {
        const char *known[] = {".", "..", "in", "out", "tmp"};
        int expected = 0;
        for (int i = 0; i < 5; i++) expected |= !strcmp(entry->d_name, known[i]);
        if (!expected) return 66;
    }
    return 0;
}
