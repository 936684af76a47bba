/* Preloaded into the server by the tests: while the file that HOLD_READS names exists, nothing
 * larger than a segment's beginning (its header and the first group's) is read from a journal
 * segment by pread, which is how a start reads what an earlier process left. */
#define _GNU_SOURCE
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <unistd.h>

enum { BEGINNING_BYTES = 2 * 4096, POLL_US = 2000, PATH_BYTES = 1024 };

static bool is_segment(int fd)
{
    char link[64], path[PATH_BYTES];
    (void)snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t len = readlink(link, path, sizeof path);
    return len > 4 && memcmp(path + len - 4, ".seg", 4) == 0;
}

static ssize_t held_read(int fd, void *buf, size_t len, off_t offset)
{
    const char *file = getenv("HOLD_READS");
    if (len > BEGINNING_BYTES && file != NULL && is_segment(fd)) {
        while (access(file, F_OK) == 0) {
            (void)usleep(POLL_US);
        }
    }
    return syscall(SYS_pread64, fd, buf, len, offset);
}

ssize_t pread(int fd, void *buf, size_t len, off_t offset)
{
    return held_read(fd, buf, len, offset);
}

ssize_t pread64(int fd, void *buf, size_t len, off_t offset)
{
    return held_read(fd, buf, len, offset);
}
