/* An nbdkit plugin for the tests: a disk with a volatile cache, as a block device sees it.
 *
 *   log=FILE    every write (with its data) and every flush is appended in order before it is
 *               answered, so whoever saw the answer finds it in the file
 *   faults=DIR  reads, writes, flushes fail with EIO while DIR/read, DIR/write, DIR/flush exists
 *   size=BYTES
 *
 * The layout of the log is struct entry, followed by `len` bytes for a write. Power cuts are
 * replayed from it (tests/power). The contents are in memory. */
#define NBDKIT_API_VERSION 2
#include <nbdkit-plugin.h>

#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#define THREAD_MODEL NBDKIT_THREAD_MODEL_SERIALIZE_ALL_REQUESTS

enum entry_kind { ENTRY_WRITE = 1, ENTRY_FLUSH = 2 };

/* Little endian; 32 bytes. */
struct entry {
    uint32_t kind;
    uint32_t fua; /* durable by itself */
    uint64_t offset;
    uint64_t len;
    uint64_t monotonic_ns;
};

static int64_t disk_bytes = INT64_C(1) << 30;
static int log_fd = -1, faults_fd = -1;
static uint8_t *contents;

static int disk_config(const char *key, const char *value)
{
    if (strcmp(key, "log") == 0) {
        log_fd = open(value, O_WRONLY | O_CREAT | O_TRUNC | O_APPEND | O_CLOEXEC, 0600);
        if (log_fd < 0) {
            nbdkit_error("%s: %m", value);
        }
        return log_fd < 0 ? -1 : 0;
    }
    if (strcmp(key, "faults") == 0) {
        faults_fd = open(value, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (faults_fd < 0) {
            nbdkit_error("%s: %m", value);
        }
        return faults_fd < 0 ? -1 : 0;
    }
    if (strcmp(key, "size") == 0) {
        disk_bytes = nbdkit_parse_size(value);
        return disk_bytes < 0 ? -1 : 0;
    }
    nbdkit_error("unknown parameter '%s'", key);
    return -1;
}

static int disk_get_ready(void)
{
    contents = mmap(NULL, (size_t)disk_bytes, PROT_READ | PROT_WRITE,
                    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (contents == MAP_FAILED) {
        nbdkit_error("no memory for the disk: %m");
        return -1;
    }
    return 0;
}

static void *disk_open(int readonly)
{
    (void)readonly;
    return NBDKIT_HANDLE_NOT_NEEDED;
}

static int64_t disk_get_size(void *handle)
{
    (void)handle;
    return disk_bytes;
}

static int disk_can_fua(void *handle)
{
    (void)handle;
    return NBDKIT_FUA_NATIVE;
}

static int fails(const char *operation)
{
    if (faults_fd < 0 || faccessat(faults_fd, operation, F_OK, 0) != 0) {
        return 0;
    }
    nbdkit_set_error(EIO);
    return -1;
}

static int record(enum entry_kind kind, uint32_t flags, uint64_t offset, const void *data,
                  uint64_t len)
{
    if (log_fd < 0) {
        return 0;
    }
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    struct entry entry = {
        .kind = (uint32_t)kind,
        .fua = (flags & NBDKIT_FLAG_FUA) != 0,
        .offset = offset,
        .len = len,
        .monotonic_ns = (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec,
    };
    struct iovec parts[] = {
        {.iov_base = &entry, .iov_len = sizeof entry},
        {.iov_base = (void *)(uintptr_t)data, .iov_len = len},
    };
    ssize_t written = writev(log_fd, parts, 2);
    if (written < 0 || (uint64_t)written != sizeof entry + len) {
        nbdkit_error("the log of the disk cannot be written: %m");
        nbdkit_shutdown();
        return -1;
    }
    return 0;
}

static int disk_pread(void *handle, void *buf, uint32_t count, uint64_t offset, uint32_t flags)
{
    (void)handle, (void)flags;
    if (fails("read") != 0) {
        return -1;
    }
    memcpy(buf, contents + offset, count);
    return 0;
}

static int disk_pwrite(void *handle, const void *buf, uint32_t count, uint64_t offset,
                       uint32_t flags)
{
    (void)handle;
    if (fails("write") != 0 || record(ENTRY_WRITE, flags, offset, buf, count) != 0) {
        return -1;
    }
    memcpy(contents + offset, buf, count);
    return 0;
}

static int disk_flush(void *handle, uint32_t flags)
{
    (void)handle;
    return fails("flush") != 0 ? -1 : record(ENTRY_FLUSH, flags, 0, NULL, 0);
}

static struct nbdkit_plugin plugin = {
    .name = "blockdev",
    .config = disk_config,
    .get_ready = disk_get_ready,
    .open = disk_open,
    .get_size = disk_get_size,
    .can_fua = disk_can_fua,
    .pread = disk_pread,
    .pwrite = disk_pwrite,
    .flush = disk_flush,
};

NBDKIT_REGISTER_PLUGIN(plugin)
