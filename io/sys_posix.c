#include "io/sys.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ifaddrs.h>
#include <limits.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

static mx_err last_error(void)
{
    return err_from_errno(errno);
}

mx_err sys_open(int *out_fd, const char *path, unsigned flags)
{
    int mode = O_CLOEXEC;
    mode |= (flags & SYS_WRITE) == 0 ? O_RDONLY : (flags & SYS_READ) != 0 ? O_RDWR : O_WRONLY;
    mode |= (flags & SYS_CREATE) != 0 ? O_CREAT : 0;
    mode |= (flags & SYS_EXCLUSIVE) != 0 ? O_EXCL : 0;
    mode |= (flags & SYS_DIRECT) != 0 ? O_DIRECT : 0;
    mode |= (flags & SYS_TRUNCATE) != 0 ? O_TRUNC : 0;
    mode |= (flags & SYS_DIRECTORY) != 0 ? O_DIRECTORY : 0;
    int fd = open(path, mode, 0600);
    if (fd < 0) {
        return last_error();
    }
    *out_fd = fd;
    return MX_OK;
}

void sys_close(int fd)
{
    if (fd >= 0) {
        (void)close(fd);
    }
}

mx_err sys_pread(size_t *out_len, int fd, void *buf, size_t len, uint64_t offset)
{
    size_t done = 0;
    while (done < len) {
        ssize_t got = pread(fd, (char *)buf + done, len - done, (off_t)(offset + done));
        if (got < 0 && errno == EINTR) {
            continue;
        }
        if (got < 0) {
            return last_error();
        }
        if (got == 0) {
            break;
        }
        done += (size_t)got;
    }
    *out_len = done;
    return MX_OK;
}

mx_err sys_pwrite(int fd, const void *buf, size_t len, uint64_t offset)
{
    size_t done = 0;
    while (done < len) {
        ssize_t put = pwrite(fd, (const char *)buf + done, len - done, (off_t)(offset + done));
        if (put < 0 && errno == EINTR) {
            continue;
        }
        if (put <= 0) {
            return put < 0 ? last_error() : MX_ERR_IO;
        }
        done += (size_t)put;
    }
    return MX_OK;
}

mx_err sys_sync(int fd)
{
    return fdatasync(fd) == 0 ? MX_OK : last_error();
}

mx_err sys_sync_dir(const char *path)
{
    int fd;
    mx_err err = sys_open(&fd, path, SYS_READ | SYS_DIRECTORY);
    if (err) {
        return err;
    }
    err = fsync(fd) == 0 ? MX_OK : last_error();
    sys_close(fd);
    return err;
}

mx_err sys_allocate(int fd, uint64_t bytes)
{
    /* Not posix_fallocate: where the file system cannot, that one writes into every block. */
    int result;
    do {
        result = fallocate(fd, 0, 0, (off_t)bytes);
    } while (result != 0 && errno == EINTR);
    return result == 0 || errno == EOPNOTSUPP || errno == ENOSYS ? MX_OK : last_error();
}

mx_err sys_size(uint64_t *out_bytes, int fd)
{
    struct stat st;
    if (fstat(fd, &st) != 0) {
        return last_error();
    }
    *out_bytes = (uint64_t)st.st_size;
    return MX_OK;
}

mx_err sys_rename(const char *from, const char *to)
{
    return rename(from, to) == 0 ? MX_OK : last_error();
}

mx_err sys_rename_new(const char *from, const char *to)
{
    if (renameat2(AT_FDCWD, from, AT_FDCWD, to, RENAME_NOREPLACE) == 0) {
        return MX_OK;
    }
    if (errno != EINVAL && errno != ENOSYS) {
        return last_error();
    }
    if (link(from, to) != 0) {
        return last_error();
    }
    return sys_unlink(from);
}

mx_err sys_unlink(const char *path)
{
    return unlink(path) == 0 ? MX_OK : last_error();
}

mx_err sys_mkdir(const char *path)
{
    return mkdir(path, 0700) == 0 ? MX_OK : last_error();
}

mx_err sys_exists(bool *out_exists, const char *path)
{
    struct stat st;
    if (lstat(path, &st) == 0) {
        *out_exists = true;
        return MX_OK;
    }
    if (errno != ENOENT && errno != ENOTDIR) {
        return last_error();
    }
    *out_exists = false;
    return MX_OK;
}

mx_err sys_free_bytes(uint64_t *out_bytes, const char *path)
{
    struct statvfs st;
    if (statvfs(path, &st) != 0) {
        return last_error();
    }
    *out_bytes = (uint64_t)st.f_bavail * st.f_frsize;
    return MX_OK;
}

mx_err sys_room(struct sys_room *out, const char *path)
{
    struct statvfs st;
    if (statvfs(path, &st) != 0) {
        return last_error();
    }
    *out = (struct sys_room){.bytes = (uint64_t)st.f_bavail * st.f_frsize,
                             .files = st.f_favail,
                             .files_max = st.f_files};
    return MX_OK;
}

static mx_err count_entry(void *arg, const char *name)
{
    (void)name;
    ++*(uint64_t *)arg;
    return MX_OK;
}

mx_err sys_descriptors(uint64_t *out_open, uint64_t *out_max)
{
    static const char folder[] = "/proc/self/fd";
    struct rlimit limit;
    struct stat st;
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0 || stat(folder, &st) != 0) {
        return last_error();
    }
    *out_max = limit.rlim_cur;
    *out_open = (uint64_t)st.st_size;
    return st.st_size > 0 ? MX_OK : sys_list(folder, count_entry, out_open);
}

mx_err sys_list(const char *path, mx_err (*each)(void *arg, const char *name), void *arg)
{
    DIR *dir = opendir(path);
    if (dir == NULL) {
        return last_error();
    }
    mx_err err = MX_OK;
    for (;;) {
        errno = 0;
        const struct dirent *entry = readdir(dir);
        if (entry == NULL) {
            err = last_error();
            break;
        }
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0) {
            continue;
        }
        err = each(arg, entry->d_name);
        if (err) {
            break;
        }
    }
    (void)closedir(dir);
    return err;
}

mx_err sys_lock(int *out_fd, const char *path)
{
    int fd;
    mx_err err = sys_open(&fd, path, SYS_READ | SYS_WRITE | SYS_CREATE);
    if (err) {
        return err;
    }
    if (flock(fd, LOCK_EX | LOCK_NB) != 0) {
        err = errno == EWOULDBLOCK ? MX_ERR_LOCKED : last_error();
        sys_close(fd);
        return err;
    }
    char text[24];
    int len = snprintf(text, sizeof text, "%d\n", (int)getpid());
    if (ftruncate(fd, 0) != 0 || pwrite(fd, text, (size_t)len, 0) != len) {
        err = last_error(); /* a full disk must not keep the server from starting */
    }
    if (err && err != MX_ERR_NOSPACE) {
        sys_close(fd);
        return err;
    }
    *out_fd = fd;
    return MX_OK;
}

static bool address_of(struct netaddr *out, const struct sockaddr *from)
{
    *out = (struct netaddr){0};
    if (from != NULL && from->sa_family == AF_INET) {
        out->family = 4;
        memcpy(out->bytes, &((const struct sockaddr_in *)(const void *)from)->sin_addr, 4);
    } else if (from != NULL && from->sa_family == AF_INET6) {
        out->family = 6;
        memcpy(out->bytes, &((const struct sockaddr_in6 *)(const void *)from)->sin6_addr, 16);
    }
    return out->family != 0;
}

size_t sys_own_addresses(struct netaddr *out, size_t max)
{
    struct ifaddrs *all = NULL;
    size_t count = 0;
    if (getifaddrs(&all) != 0) {
        return 0;
    }
    for (const struct ifaddrs *at = all; at != NULL && count < max; at = at->ifa_next) {
        count += address_of(&out[count], at->ifa_addr);
    }
    freeifaddrs(all);
    return count;
}
