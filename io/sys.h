/* Blocking file system calls. Used only at start-up, by offline commands, and on
 * worker threads (io/work). Part of the simulation seam (sys_posix.c; what is
 * made of other calls is in sys_files.c, above it). Paths are NUL-terminated.
 * Every function translates errno once (err_from_errno). */
#pragma once

#include "core/err.h"
#include "core/netaddr.h"
#include "core/slice.h"

enum sys_open_flags {
    SYS_READ = 1,
    SYS_WRITE = 2,
    SYS_CREATE = 4,    /* mode 0600 */
    SYS_EXCLUSIVE = 8, /* with SYS_CREATE: fail if it exists */
    SYS_DIRECT = 16,   /* O_DIRECT; MX_ERR_INVALID where the file system has none */
    SYS_TRUNCATE = 32,
    SYS_DIRECTORY = 64, /* to sync a folder */
};

MX_MUST_CHECK mx_err sys_open(int *out_fd, const char *path, unsigned flags);
void sys_close(int fd);
/* Reads len bytes unless the end of file comes first; *out_len tells. */
MX_MUST_CHECK mx_err sys_pread(size_t *out_len, int fd, void *buf, size_t len, uint64_t offset);
/* Writes all or fails. */
MX_MUST_CHECK mx_err sys_pwrite(int fd, const void *buf, size_t len, uint64_t offset);
/* Data and size are durable (fdatasync). */
MX_MUST_CHECK mx_err sys_sync(int fd);
/* The directory entries of a folder are durable. */
MX_MUST_CHECK mx_err sys_sync_dir(const char *path);
MX_MUST_CHECK mx_err sys_allocate(int fd, uint64_t bytes); /* fallocate; falls back to nothing */
MX_MUST_CHECK mx_err sys_size(uint64_t *out_bytes, int fd);
MX_MUST_CHECK mx_err sys_rename(const char *from, const char *to);
/* Fails with MX_ERR_EXISTS instead of replacing (renameat2 RENAME_NOREPLACE, else link+unlink). */
MX_MUST_CHECK mx_err sys_rename_new(const char *from, const char *to);
MX_MUST_CHECK mx_err sys_unlink(const char *path);
/* MX_ERR_EXISTS when it is there. Mode 0700. */
MX_MUST_CHECK mx_err sys_mkdir(const char *path);
/* mkdir -p; the whole path is durable when it returns, whoever made it. */
MX_MUST_CHECK mx_err sys_mkdirs(const char *path);
MX_MUST_CHECK mx_err sys_exists(bool *out_exists, const char *path);
/* Bytes an unprivileged writer may still use. */
MX_MUST_CHECK mx_err sys_free_bytes(uint64_t *out_bytes, const char *path);
/* What a file system has left for an unprivileged writer. files_max 0: it does not count files. */
struct sys_room {
    uint64_t bytes, files, files_max;
};
MX_MUST_CHECK mx_err sys_room(struct sys_room *out, const char *path);
/* Descriptors of this process: open now, and how many it may have (RLIMIT_NOFILE). Linux 6.2 tells
 * the number at once (proc(5)); before, /proc/self/fd is read. */
MX_MUST_CHECK mx_err sys_descriptors(uint64_t *out_open, uint64_t *out_max);
/* Calls each(arg, name) for every entry but "." and ".."; stops at the first error. */
MX_MUST_CHECK mx_err sys_list(const char *path, mx_err (*each)(void *arg, const char *name),
                              void *arg);
/* Whole file, at most max bytes, into a malloc'd buffer (NUL added behind); caller frees. */
MX_MUST_CHECK mx_err sys_read_file(uint8_t **out_bytes, size_t *out_len, const char *path,
                                   size_t max);
/* Writes path.tmp, syncs it, renames it over path, syncs the folder. */
MX_MUST_CHECK mx_err sys_replace_file(const char *path, struct slice content);
/* Exclusive lock on a file (made if absent) until sys_close(*out_fd); MX_ERR_LOCKED when another
 * process has it. The lock dies with the process. Writes our pid into the file. */
MX_MUST_CHECK mx_err sys_lock(int *out_fd, const char *path);
/* The pid noted in a lock file, 0 if unknown. */
int sys_lock_owner(const char *path);
/* The addresses of this machine's interfaces, at most max; 0 when they cannot be read. */
size_t sys_own_addresses(struct netaddr *out, size_t max);
