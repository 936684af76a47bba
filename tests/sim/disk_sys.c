/* io/sys.h on the simulated disk. */
#include "io/sys.h"

#include "core/check.h"
#include "tests/sim/disk_inside.h"

static bool touches(const struct change *change, void *arg)
{
    return change->from == arg || change->to == arg;
}

/* A call that changes nothing on the disk gives the others a turn now and then. */
static void pause_sometimes(void)
{
    if (sim_chance(8)) {
        fiber_wait(sim.now_ns + sim_scale(0, 200000), NULL);
    }
}

/* One operation that changes the disk or syncs it. */
static mx_err begin(const char *what, const char *name)
{
    enum sim_fault fault = sim_op(what, name);
    if (sim_chance(2)) {
        fiber_wait(sim.now_ns + sim_scale(0, 2000000), NULL);
    }
    return fault == FAULT_IO ? MX_ERR_IO : MX_OK;
}

mx_err sys_open(int *out_fd, const char *path, unsigned flags)
{
    const char *last;
    pause_sometimes();
    struct inode *folder = disk_walk(path, &last);
    if (folder == NULL) {
        return MX_ERR_NOTFOUND;
    }
    struct inode *inode = disk_lookup(path);
    if ((flags & SYS_DIRECTORY) != 0 && (inode == NULL || !inode->is_folder)) {
        return MX_ERR_NOTFOUND;
    }
    if (inode != NULL && (flags & SYS_EXCLUSIVE) != 0) {
        return MX_ERR_EXISTS;
    }
    if (inode == NULL) {
        if ((flags & SYS_CREATE) == 0) {
            return MX_ERR_NOTFOUND;
        }
        mx_err err = begin("create", path);
        if (err) {
            return err;
        }
        folder = disk_walk(path, &last);
        inode = disk_lookup(path);
        if (folder == NULL) {
            return MX_ERR_NOTFOUND;
        }
        if (inode == NULL) {
            inode = inode_new(false, last);
            change_note(NULL, "", folder, last, inode);
        }
    } else if ((flags & SYS_TRUNCATE) != 0 && inode->size > 0) {
        /* A fresh file under the old name: what the old one held stays until that is synced. */
        mx_err err = begin("truncate", path);
        if (err) {
            return err;
        }
        struct inode *fresh = inode_new(false, last);
        change_note(folder, last, folder, last, fresh);
        inode = fresh;
    }
    for (int i = 0; i < FDS_MAX; i++) {
        if (disk.fds[i] == NULL) {
            disk.fds[i] = inode;
            inode->opens++;
            *out_fd = FD_FIRST + i;
            return MX_OK;
        }
    }
    return MX_ERR_NOFILES;
}

void sys_close(int fd)
{
    struct inode *inode = disk_file(fd);
    if (inode == NULL) {
        MX_ASSERT(fd < 0);
        return;
    }
    disk.fds[fd - FD_FIRST] = NULL;
    inode->opens--;
    inode->locked = inode->locked && inode->opens > 0;
}

mx_err sys_pread(size_t *out_len, int fd, void *buf, size_t len, uint64_t offset)
{
    struct inode *file = disk_file(fd);
    MX_ASSERT(file != NULL);
    if (sim_read_fails(file->name)) {
        return MX_ERR_IO;
    }
    *out_len = disk_read(file, buf, len, offset);
    return MX_OK;
}

mx_err sys_pwrite(int fd, const void *buf, size_t len, uint64_t offset)
{
    struct inode *file = disk_file(fd);
    MX_ASSERT(file != NULL);
    mx_err err = begin("pwrite", file->name);
    return err ? err : disk_write(file, buf, len, offset, false);
}

/* After a failed sync nobody knows what is on the medium, and the pages count as clean. */
static void sync_failed(struct inode *file)
{
    for (size_t i = file->dirty_from; i < file->dirty_to; i++) {
        struct page *page = file->pages[i];
        for (unsigned s = 0; page != NULL && s < SECTORS; s++) {
            if ((page->dirty & (1U << s)) != 0 && sim_chance(2)) {
                sector_settle(page, s);
            }
        }
        if (page != NULL) {
            page->dirty = 0;
        }
    }
}

mx_err sys_sync(int fd)
{
    struct inode *file = disk_file(fd);
    MX_ASSERT(file != NULL);
    mx_err err = begin("sync", file->name);
    if (err) {
        sync_failed(file);
    } else {
        range_settle(file, file->dirty_from * PAGE_BYTES,
                     (file->dirty_to - file->dirty_from) * PAGE_BYTES);
    }
    file->dirty_from = file->dirty_to = 0;
    return err;
}

mx_err sys_sync_dir(const char *path)
{
    struct inode *folder = disk_lookup(path);
    if (folder == NULL) {
        return MX_ERR_NOTFOUND;
    }
    mx_err err = begin("sync-dir", path);
    if (!err) {
        changes_settle(touches, folder);
    }
    return err;
}

mx_err sys_allocate(int fd, uint64_t bytes)
{
    struct inode *file = disk_file(fd);
    mx_err err = begin("allocate", file->name);
    return err ? err : disk_grow(file, bytes);
}

mx_err sys_size(uint64_t *out_bytes, int fd)
{
    *out_bytes = disk_file(fd)->size;
    return MX_OK;
}

static mx_err rename_to(const char *from, const char *to, bool replace)
{
    const char *from_name, *to_name;
    mx_err err = begin("rename", to);
    struct inode *from_folder = disk_walk(from, &from_name);
    struct inode *to_folder = disk_walk(to, &to_name);
    struct inode *inode = from_folder == NULL ? NULL : disk_lookup(from);
    if (err) {
        return err;
    }
    if (inode == NULL || to_folder == NULL) {
        return MX_ERR_NOTFOUND;
    }
    if (disk_lookup(to) != NULL && !replace) {
        return MX_ERR_EXISTS;
    }
    change_note(from_folder, from_name, to_folder, to_name, inode);
    return MX_OK;
}

mx_err sys_rename(const char *from, const char *to)
{
    return rename_to(from, to, true);
}

mx_err sys_rename_new(const char *from, const char *to)
{
    return rename_to(from, to, false);
}

mx_err sys_unlink(const char *path)
{
    const char *last;
    mx_err err = begin("unlink", path);
    struct inode *folder = disk_walk(path, &last);
    struct inode *inode = folder == NULL ? NULL : disk_lookup(path);
    if (err) {
        return err;
    }
    if (inode == NULL) {
        return MX_ERR_NOTFOUND;
    }
    change_note(folder, last, NULL, "", inode);
    return MX_OK;
}

mx_err sys_mkdir(const char *path)
{
    const char *last;
    struct inode *folder = disk_walk(path, &last);
    if (folder == NULL) {
        return MX_ERR_NOTFOUND;
    }
    if (disk_lookup(path) != NULL) {
        return MX_ERR_EXISTS;
    }
    mx_err err = begin("mkdir", path);
    if (err) {
        return err;
    }
    if (disk_is_full()) {
        return MX_ERR_NOSPACE;
    }
    if (disk_lookup(path) != NULL) {
        return MX_ERR_EXISTS; /* by another thread meanwhile */
    }
    change_note(NULL, "", folder, last, inode_new(true, last));
    return MX_OK;
}

mx_err sys_exists(bool *out_exists, const char *path)
{
    *out_exists = disk_lookup(path) != NULL;
    return MX_OK;
}

mx_err sys_free_bytes(uint64_t *out_bytes, const char *path)
{
    (void)path;
    uint64_t used = disk_used();
    *out_bytes = disk_is_full() || used > disk.capacity ? 0 : disk.capacity - used;
    return MX_OK;
}

mx_err sys_list(const char *path, mx_err (*each)(void *arg, const char *name), void *arg)
{
    struct inode *folder = disk_lookup(path);
    if (folder == NULL) {
        return MX_ERR_NOTFOUND;
    }
    pause_sometimes();
    if (sim_read_fails(path)) {
        return MX_ERR_IO;
    }
    /* A copy: others may change the folder meanwhile. */
    struct listing *listing = listing_new(folder);
    mx_err err = MX_OK;
    for (unsigned i = 0; !err && i < listing->names.count; i++) {
        err = each(arg, listing->names.entries[i].name);
    }
    listing_free(listing);
    return err;
}

mx_err sys_lock(int *out_fd, const char *path)
{
    int fd;
    mx_err err = sys_open(&fd, path, SYS_READ | SYS_WRITE | SYS_CREATE);
    if (err) {
        return err;
    }
    struct inode *file = disk_file(fd);
    if (file->locked) {
        sys_close(fd);
        return MX_ERR_LOCKED;
    }
    file->locked = true;
    *out_fd = fd;
    return MX_OK;
}

size_t sys_own_addresses(struct netaddr *out, size_t max)
{
    (void)out;
    (void)max;
    return 0;
}
