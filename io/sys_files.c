/* Calls of io/sys.h that are made of others: above the seam, so that the simulator runs them too.
 */
#include "io/sys.h"

#include "core/text.h"

#include <limits.h>
#include <stdlib.h>

/* The folder that holds the last part of a path. */
static mx_err sync_parent(const char *path)
{
    char parent[PATH_MAX];
    size_t len = strlen(path);
    while (len > 0 && path[len - 1] != '/') {
        len--;
    }
    len -= len > 1; /* without the slash, unless that is all */
    if (len >= sizeof parent) {
        return MX_ERR_RANGE;
    }
    memcpy(parent, path, len);
    parent[len] = '\0';
    return sys_sync_dir(len == 0 ? "." : parent);
}

/* A folder that is there already may have been made by a process that died before it synced the
 * parent. One that we may not read was not made by us. */
static mx_err make_level(const char *path)
{
    mx_err err = sys_mkdir(path);
    if (err && err != MX_ERR_EXISTS) {
        return err;
    }
    bool was_there = err == MX_ERR_EXISTS;
    err = sync_parent(path);
    return was_there && err == MX_ERR_PERMISSION ? MX_OK : err;
}

mx_err sys_mkdirs(const char *path)
{
    char copy[PATH_MAX];
    size_t len = strlen(path);
    if (len == 0 || len >= sizeof copy) {
        return MX_ERR_RANGE;
    }
    memcpy(copy, path, len + 1);
    for (size_t i = 1; i <= len; i++) {
        if (copy[i] != '/' && copy[i] != '\0') {
            continue;
        }
        char end = copy[i];
        copy[i] = '\0';
        mx_err err = make_level(copy);
        copy[i] = end;
        if (err) {
            return err;
        }
    }
    int fd;
    mx_err err = sys_open(&fd, path, SYS_READ | SYS_DIRECTORY);
    if (!err) {
        sys_close(fd);
    }
    return err;
}

mx_err sys_read_file(uint8_t **out_bytes, size_t *out_len, const char *path, size_t max)
{
    int fd;
    uint64_t size = 0;
    size_t len = 0;
    mx_err err = sys_open(&fd, path, SYS_READ);
    if (err) {
        return err;
    }
    err = sys_size(&size, fd);
    if (!err && size > max) {
        err = MX_ERR_LIMIT;
    }
    uint8_t *bytes = err ? NULL : malloc((size_t)size + 1);
    if (!err) {
        err = bytes == NULL ? MX_ERR_NOMEM : sys_pread(&len, fd, bytes, (size_t)size, 0);
    }
    sys_close(fd);
    if (err) {
        free(bytes);
        return err;
    }
    bytes[len] = 0;
    *out_bytes = bytes;
    *out_len = len;
    return MX_OK;
}

static mx_err write_new(const char *path, struct slice content)
{
    int fd;
    mx_err err = sys_open(&fd, path, SYS_WRITE | SYS_CREATE | SYS_TRUNCATE);
    if (err) {
        return err;
    }
    err = sys_pwrite(fd, content.ptr, content.len, 0);
    if (!err) {
        err = sys_sync(fd);
    }
    sys_close(fd);
    return err;
}

mx_err sys_replace_file(const char *path, struct slice content)
{
    char other[PATH_MAX];
    size_t len = strlen(path);
    if (len + sizeof ".tmp" > sizeof other) {
        return MX_ERR_RANGE;
    }
    memcpy(other, path, len);
    memcpy(other + len, ".tmp", sizeof ".tmp");
    mx_err err = write_new(other, content);
    if (!err) {
        err = sys_rename(other, path);
    }
    if (err) {
        mx_err ignored = sys_unlink(other);
        (void)ignored; /* what is left is replaced next time */
        return err;
    }
    return sync_parent(path);
}

int sys_lock_owner(const char *path)
{
    uint8_t *text;
    size_t len;
    uint64_t pid = 0;
    if (sys_read_file(&text, &len, path, 64) != MX_OK) {
        return 0;
    }
    while (len > 0 && text[len - 1] == '\n') {
        len--;
    }
    mx_err err = text_to_u64(&pid, slice_of(text, len));
    free(text);
    return err || pid > INT_MAX ? 0 : (int)pid;
}
