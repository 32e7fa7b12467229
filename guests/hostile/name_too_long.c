// expect: exit:0
// Uses names and paths of a megabyte.
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

int main(void) {
    static char name[1 << 20] = "/out/";
    memset(name + 5, 'n', sizeof name - 6);
    if (open(name, O_CREAT | O_WRONLY, 0666) >= 0 || !mkdir(name, 0777)) return 66;
    for (unsigned at = 5; at + 2 < sizeof name; at += 2) name[at] = '.', name[at + 1] = '/';
    struct stat status;
    stat(name, &status);
    for (unsigned at = 5; at + 2 < sizeof name; at += 2) name[at] = 'd', name[at + 1] = '/';
    return open(name, O_RDONLY) >= 0 ? 66 : 0;
}
