#include "tests/sim/disk.h"

#include "core/check.h"
#include "io/sys.h"
#include "tests/sim/oracle.h"
#include "tests/sim/sim.h"

#include <stdio.h>
#include <stdlib.h>

enum {
    PAGE_BYTES = 4096,
    SECTOR_BYTES = 512,
    SECTORS = PAGE_BYTES / SECTOR_BYTES,
    NAME_MAX_BYTES = 256,
    FDS_MAX = 1024,
    FD_FIRST = 100,
    PATH_BYTES = 1100,
};

struct page {
    uint8_t now[PAGE_BYTES];
    uint8_t safe[PAGE_BYTES]; /* on the medium */
    uint8_t dirty;            /* a bit per sector: unsynced */
};

struct entry {
    char name[NAME_MAX_BYTES];
    struct inode *inode;
};

struct folder {
    struct entry *entries;
    unsigned count, cap;
};

struct inode {
    struct inode *next;
    unsigned number;
    bool is_folder, locked, reached;
    unsigned opens, links;
    char name[NAME_MAX_BYTES]; /* the last one */
    uint64_t size, safe_size;
    struct page **pages; /* NULL: zeros */
    size_t page_cap;
    size_t dirty_from, dirty_to; /* pages that may be dirty */
    struct folder now, safe;
};

/* A change of folders that is not synced. A rename is one change. */
struct change {
    struct inode *from, *to; /* folder that loses, folder that gains the name; NULL: none */
    char from_name[NAME_MAX_BYTES], to_name[NAME_MAX_BYTES];
    struct inode *inode;
};

static struct {
    struct inode *inodes;
    struct inode *root;
    unsigned next_number;
    uint64_t capacity;
    struct inode *fds[FDS_MAX];
    struct change *changes;
    unsigned change_count, change_cap;
} disk;

/* --- inodes and folders ------------------------------------------------------------------------
 */

static struct inode *inode_new(bool is_folder, const char *name)
{
    struct inode *inode = sim_alloc(sizeof *inode);
    inode->number = disk.next_number++;
    inode->is_folder = is_folder;
    (void)snprintf(inode->name, sizeof inode->name, "%s", name);
    inode->next = disk.inodes;
    disk.inodes = inode;
    return inode;
}

static void inode_free(struct inode *inode)
{
    for (size_t i = 0; i < inode->page_cap; i++) {
        sim_free(inode->pages[i]);
    }
    sim_free(inode->pages);
    sim_free(inode->now.entries);
    sim_free(inode->safe.entries);
    sim_free(inode);
}

static struct entry *folder_find(struct folder *folder, const char *name)
{
    for (unsigned i = 0; i < folder->count; i++) {
        if (strcmp(folder->entries[i].name, name) == 0) {
            return &folder->entries[i];
        }
    }
    return NULL;
}

static void folder_put(struct folder *folder, const char *name, struct inode *inode)
{
    struct entry *entry = folder_find(folder, name);
    if (entry == NULL) {
        if (folder->count == folder->cap) {
            folder->cap = folder->cap ? folder->cap * 2 : 8;
            folder->entries = sim_realloc(folder->entries, folder->cap * sizeof *entry);
        }
        entry = &folder->entries[folder->count++];
        (void)snprintf(entry->name, sizeof entry->name, "%s", name);
    }
    entry->inode = inode;
}

static void folder_drop(struct folder *folder, const char *name)
{
    struct entry *entry = folder_find(folder, name);
    if (entry != NULL) {
        *entry = folder->entries[--folder->count];
    }
}

static void folder_copy(struct folder *to, const struct folder *from)
{
    to->count = 0;
    for (unsigned i = 0; i < from->count; i++) {
        folder_put(to, from->entries[i].name, from->entries[i].inode);
    }
}

/* The folder that holds the last part of path, and that part. */
static struct inode *walk(const char *path, const char **out_last)
{
    struct inode *at = disk.root;
    MX_ASSERT(path[0] == '/');
    path++;
    for (;;) {
        const char *slash = strchr(path, '/');
        if (slash == NULL) {
            *out_last = path;
            return at;
        }
        char name[NAME_MAX_BYTES];
        (void)snprintf(name, sizeof name, "%.*s", (int)(slash - path), path);
        struct entry *entry = folder_find(&at->now, name);
        if (entry == NULL || !entry->inode->is_folder) {
            return NULL;
        }
        at = entry->inode;
        path = slash + 1;
    }
}

static struct inode *lookup(const char *path)
{
    const char *last;
    struct inode *folder = walk(path, &last);
    if (folder == NULL) {
        return NULL;
    }
    if (last[0] == '\0') {
        return folder;
    }
    struct entry *entry = folder_find(&folder->now, last);
    return entry == NULL ? NULL : entry->inode;
}

/* --- unsynced changes of folders ---------------------------------------------------------------
 */

static void change_note(struct inode *from, const char *from_name, struct inode *to,
                        const char *to_name, struct inode *inode)
{
    if (disk.change_count == disk.change_cap) {
        disk.change_cap = disk.change_cap ? disk.change_cap * 2 : 64;
        disk.changes = sim_realloc(disk.changes, disk.change_cap * sizeof *disk.changes);
    }
    struct change *change = &disk.changes[disk.change_count++];
    *change = (struct change){.from = from, .to = to, .inode = inode};
    (void)snprintf(change->from_name, NAME_MAX_BYTES, "%s", from_name);
    (void)snprintf(change->to_name, NAME_MAX_BYTES, "%s", to_name);
    struct entry *gone = from == NULL ? NULL : folder_find(&from->now, from_name);
    if (gone != NULL) {
        gone->inode->links--;
        folder_drop(&from->now, from_name);
    }
    if (to != NULL) {
        struct entry *old = folder_find(&to->now, to_name);
        if (old != NULL) {
            old->inode->links--;
        }
        folder_put(&to->now, to_name, inode);
        inode->links++;
        (void)snprintf(inode->name, sizeof inode->name, "%s", to_name);
    }
}

static void change_settle(const struct change *change)
{
    if (change->from != NULL) {
        folder_drop(&change->from->safe, change->from_name);
    }
    if (change->to != NULL) {
        folder_put(&change->to->safe, change->to_name, change->inode);
    }
}

/* Makes durable what `take` says yes to; order among those is kept. */
static void changes_settle(bool (*take)(const struct change *change, void *arg), void *arg)
{
    unsigned left = 0;
    for (unsigned i = 0; i < disk.change_count; i++) {
        if (take(&disk.changes[i], arg)) {
            change_settle(&disk.changes[i]);
        } else {
            disk.changes[left++] = disk.changes[i];
        }
    }
    disk.change_count = left;
}

static bool touches(const struct change *change, void *arg)
{
    return change->from == arg || change->to == arg;
}

/* --- content -----------------------------------------------------------------------------------
 */

uint64_t disk_used(void)
{
    uint64_t used = 0;
    for (const struct inode *i = disk.inodes; i != NULL; i = i->next) {
        used += i->links > 0 || i->opens > 0 ? i->size : 0;
    }
    return used;
}

static bool is_full(void)
{
    return sim.now_ns < sim.full_until_ns;
}

static mx_err grow(struct inode *file, uint64_t size)
{
    if (size <= file->size) {
        return MX_OK;
    }
    if (is_full() || disk_used() + (size - file->size) > disk.capacity) {
        return MX_ERR_NOSPACE;
    }
    size_t pages = (size_t)((size + PAGE_BYTES - 1) / PAGE_BYTES);
    if (pages > file->page_cap) {
        size_t cap = mx_max_size(pages, file->page_cap * 2);
        file->pages = sim_realloc(file->pages, cap * sizeof *file->pages);
        memset(file->pages + file->page_cap, 0, (cap - file->page_cap) * sizeof *file->pages);
        file->page_cap = cap;
    }
    file->size = size;
    return MX_OK;
}

static bool all_zero(const uint8_t *bytes, size_t len)
{
    return len == 0 || (bytes[0] == 0 && memcmp(bytes, bytes + 1, len - 1) == 0);
}

size_t disk_read(const struct inode *file, void *buf, size_t len, uint64_t offset)
{
    size_t done = 0;
    if (offset >= file->size) {
        return 0;
    }
    len = (size_t)(len < file->size - offset ? len : file->size - offset);
    while (done < len) {
        size_t page = (size_t)((offset + done) / PAGE_BYTES);
        size_t at = (size_t)((offset + done) % PAGE_BYTES);
        size_t n = mx_min_size(len - done, PAGE_BYTES - at);
        if (file->pages[page] == NULL) {
            memset((char *)buf + done, 0, n);
        } else {
            memcpy((char *)buf + done, file->pages[page]->now + at, n);
        }
        done += n;
    }
    return len;
}

static struct page *page_for(struct inode *file, size_t index)
{
    if (file->pages[index] == NULL) {
        file->pages[index] = sim_alloc(sizeof(struct page));
    }
    return file->pages[index];
}

static void dirty(struct inode *file, size_t index)
{
    if (file->dirty_from == file->dirty_to) {
        file->dirty_from = index;
        file->dirty_to = index + 1;
    }
    file->dirty_from = index < file->dirty_from ? index : file->dirty_from;
    file->dirty_to = index >= file->dirty_to ? index + 1 : file->dirty_to;
}

/* Copies one page's part of a write. */
static void page_write(struct inode *file, size_t index, size_t at, const uint8_t *bytes,
                       size_t len)
{
    if (file->pages[index] == NULL && all_zero(bytes, len)) {
        return;
    }
    struct page *page = page_for(file, index);
    memcpy(page->now + at, bytes, len);
    for (size_t s = at / SECTOR_BYTES; s <= (at + len - 1) / SECTOR_BYTES; s++) {
        page->dirty |= (uint8_t)(1U << s);
    }
    dirty(file, index);
}

static void sector_settle(struct page *page, unsigned sector)
{
    memcpy(page->safe + sector * SECTOR_BYTES, page->now + sector * SECTOR_BYTES, SECTOR_BYTES);
    page->dirty &= (uint8_t) ~(1U << sector);
}

/* Durable: the sectors of [offset, offset + len). */
static void range_settle(struct inode *file, uint64_t offset, uint64_t len)
{
    for (uint64_t at = offset / SECTOR_BYTES; at < (offset + len + SECTOR_BYTES - 1) / SECTOR_BYTES;
         at++) {
        struct page *page = file->pages[at / SECTORS];
        if (page != NULL && (page->dirty & (1U << (at % SECTORS))) != 0) {
            sector_settle(page, (unsigned)(at % SECTORS));
        }
    }
    file->safe_size = file->size;
}

mx_err disk_write(struct inode *file, const void *buf, size_t len, uint64_t offset, bool dsync)
{
    mx_err err = grow(file, offset + len);
    for (size_t done = 0; !err && done < len;) {
        size_t at = (size_t)((offset + done) % PAGE_BYTES);
        size_t n = mx_min_size(len - done, PAGE_BYTES - at);
        page_write(file, (size_t)((offset + done) / PAGE_BYTES), at, (const uint8_t *)buf + done,
                   n);
        done += n;
    }
    if (!err && dsync) {
        range_settle(file, offset, len);
        oracle_durable(slice_of(buf, len));
    }
    return err;
}

void disk_write_torn(struct inode *file, const void *buf, size_t len, uint64_t offset)
{
    unsigned mode = (unsigned)sim_below(4); /* 0: nothing; 1: all; else any sectors */
    uint64_t cut = sim_below(len / SECTOR_BYTES + 1);
    if (mode == 0 || grow(file, offset + len) != MX_OK) {
        return;
    }
    for (size_t done = 0; done < len; done += SECTOR_BYTES) {
        bool take = mode == 1 || (mode == 2 ? done / SECTOR_BYTES < cut : sim_chance(2));
        size_t n = mx_min_size(SECTOR_BYTES, len - done);
        if (take) {
            (void)disk_write(file, (const uint8_t *)buf + done, n, offset + done, false);
            if (sim_chance(2)) {
                range_settle(file, offset + done, n);
            }
        }
    }
}

const char *disk_name(const struct inode *file)
{
    return file->name;
}

/* --- kills -------------------------------------------------------------------------------------
 */

static void reach(struct inode *folder)
{
    folder->reached = true;
    for (unsigned i = 0; i < folder->now.count; i++) {
        struct inode *inode = folder->now.entries[i].inode;
        if (inode->is_folder) {
            reach(inode);
        }
        inode->reached = true;
        inode->links++;
    }
}

void disk_after_kill(void)
{
    memset(disk.fds, 0, sizeof disk.fds);
    for (struct inode *i = disk.inodes; i != NULL; i = i->next) {
        i->opens = 0;
        i->locked = false;
        i->reached = false;
        i->links = 0;
    }
    reach(disk.root);
    for (unsigned i = 0; i < disk.change_count; i++) {
        /* What a later power cut may bring back. */
        const struct change *change = &disk.changes[i];
        struct inode *parts[] = {change->from, change->to, change->inode};
        for (unsigned k = 0; k < mx_countof(parts); k++) {
            if (parts[k] != NULL) {
                parts[k]->reached = true;
            }
        }
    }
    for (const struct inode *i = disk.inodes; i != NULL; i = i->next) {
        for (unsigned k = 0; k < i->safe.count; k++) {
            i->safe.entries[k].inode->reached = true;
        }
    }
    struct inode **at = &disk.inodes;
    while (*at != NULL) {
        struct inode *inode = *at;
        if (inode->reached) {
            at = &inode->next;
        } else {
            *at = inode->next;
            inode_free(inode);
        }
    }
}

static void file_cut(struct inode *file, unsigned mode)
{
    for (size_t i = file->dirty_from; i < file->dirty_to; i++) {
        struct page *page = file->pages[i];
        for (unsigned s = 0; page != NULL && s < SECTORS; s++) {
            if ((page->dirty & (1U << s)) != 0 && (mode == 1 || (mode == 2 && sim_chance(2)))) {
                sector_settle(page, s);
            }
        }
    }
    for (size_t i = 0; i < file->page_cap; i++) {
        if (file->pages[i] != NULL) {
            memcpy(file->pages[i]->now, file->pages[i]->safe, PAGE_BYTES);
            file->pages[i]->dirty = 0;
        }
    }
    file->dirty_from = file->dirty_to = 0;
    if (file->size != file->safe_size) {
        file->size = mode == 1 || (mode == 2 && sim_chance(2)) ? file->size : file->safe_size;
        file->safe_size = file->size;
    }
}

struct cut {
    unsigned mode;
    unsigned prefix;
};

static bool survives(const struct change *change, void *arg)
{
    struct cut *cut = arg;
    (void)change;
    if (cut->mode == 2) {
        return sim_chance(2); /* in any order */
    }
    return cut->prefix > 0 && cut->prefix-- > 0; /* a journal of metadata keeps the order */
}

void disk_after_power_cut(void)
{
    unsigned mode = (unsigned)sim_below(3); /* 0: nothing unsynced survives; 1: all; 2: some */
    struct cut cut = {.mode = (unsigned)sim_below(3)};
    cut.prefix = cut.mode == 0 ? 0 : (unsigned)sim_below(disk.change_count + 1);
    changes_settle(survives, &cut);
    disk.change_count = 0;
    for (struct inode *i = disk.inodes; i != NULL; i = i->next) {
        if (i->is_folder) {
            folder_copy(&i->now, &i->safe);
        } else {
            file_cut(i, mode);
        }
    }
    disk_after_kill();
}

void disk_format(uint64_t capacity)
{
    while (disk.inodes != NULL) {
        struct inode *next = disk.inodes->next;
        inode_free(disk.inodes);
        disk.inodes = next;
    }
    disk.change_count = 0;
    disk.next_number = 1;
    disk.capacity = capacity;
    memset(disk.fds, 0, sizeof disk.fds);
    disk.root = inode_new(true, "/");
}

/* --- for the tests -----------------------------------------------------------------------------
 */

bool disk_rot(void)
{
    struct inode *journal = lookup("/ringmx/journal");
    struct page *pages[4096];
    unsigned count = 0;
    for (unsigned s = 0; journal != NULL && s < journal->now.count; s++) {
        struct folder *set = &journal->now.entries[s].inode->now;
        for (unsigned f = 0; f < set->count; f++) {
            struct inode *file = set->entries[f].inode;
            for (size_t p = 0; p < file->page_cap && count < mx_countof(pages); p++) {
                if (file->pages[p] != NULL && !all_zero(file->pages[p]->now, PAGE_BYTES)) {
                    pages[count++] = file->pages[p];
                }
            }
        }
    }
    if (count == 0) {
        return false;
    }
    struct page *page = pages[sim_below(count)];
    /* What is zero is mostly what nobody looks at. */
    size_t at = (size_t)sim_below(PAGE_BYTES);
    while (page->now[at] == 0) {
        at = (at + 1) % PAGE_BYTES;
    }
    page->now[at] ^= 0x40;
    page->safe[at] = page->now[at];
    sim_say("a byte rots");
    return true;
}

static void each_below(struct inode *folder,
                       void (*each)(void *arg, const char *name, const uint8_t *bytes, size_t len),
                       void *arg, const char *path)
{
    for (unsigned i = 0; i < folder->now.count; i++) {
        struct inode *inode = folder->now.entries[i].inode;
        char name[PATH_BYTES];
        (void)snprintf(name, sizeof name, "%s/%s", path, folder->now.entries[i].name);
        if (inode->is_folder) {
            each_below(inode, each, arg, name);
            continue;
        }
        uint8_t *bytes = sim_alloc((size_t)inode->size + 1);
        size_t len = disk_read(inode, bytes, (size_t)inode->size, 0);
        each(arg, name, bytes, len);
        sim_free(bytes);
    }
}

void disk_each(const char *folder,
               void (*each)(void *arg, const char *name, const uint8_t *bytes, size_t len),
               void *arg)
{
    struct inode *inode = lookup(folder);
    if (inode != NULL) {
        each_below(inode, each, arg, "");
    }
}

struct inode *disk_file(int fd)
{
    bool ours = fd >= FD_FIRST && fd < FD_FIRST + FDS_MAX;
    return ours ? disk.fds[fd - FD_FIRST] : NULL;
}

/* --- io/sys.h ----------------------------------------------------------------------------------
 */

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
    struct inode *folder = walk(path, &last);
    if (folder == NULL) {
        return MX_ERR_NOTFOUND;
    }
    struct inode *inode = lookup(path);
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
        folder = walk(path, &last);
        inode = lookup(path);
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
    struct inode *folder = lookup(path);
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
    return err ? err : grow(file, bytes);
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
    struct inode *from_folder = walk(from, &from_name);
    struct inode *to_folder = walk(to, &to_name);
    struct inode *inode = from_folder == NULL ? NULL : lookup(from);
    if (err) {
        return err;
    }
    if (inode == NULL || to_folder == NULL) {
        return MX_ERR_NOTFOUND;
    }
    if (lookup(to) != NULL && !replace) {
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
    struct inode *folder = walk(path, &last);
    struct inode *inode = folder == NULL ? NULL : lookup(path);
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
    struct inode *folder = walk(path, &last);
    if (folder == NULL) {
        return MX_ERR_NOTFOUND;
    }
    if (lookup(path) != NULL) {
        return MX_ERR_EXISTS;
    }
    mx_err err = begin("mkdir", path);
    if (err) {
        return err;
    }
    if (is_full()) {
        return MX_ERR_NOSPACE;
    }
    if (lookup(path) != NULL) {
        return MX_ERR_EXISTS; /* by another thread meanwhile */
    }
    change_note(NULL, "", folder, last, inode_new(true, last));
    return MX_OK;
}

mx_err sys_exists(bool *out_exists, const char *path)
{
    *out_exists = lookup(path) != NULL;
    return MX_OK;
}

mx_err sys_free_bytes(uint64_t *out_bytes, const char *path)
{
    (void)path;
    uint64_t used = disk_used();
    *out_bytes = is_full() || used > disk.capacity ? 0 : disk.capacity - used;
    return MX_OK;
}

mx_err sys_list(const char *path, mx_err (*each)(void *arg, const char *name), void *arg)
{
    struct inode *folder = lookup(path);
    if (folder == NULL) {
        return MX_ERR_NOTFOUND;
    }
    pause_sometimes();
    /* A copy: others may change the folder meanwhile. */
    struct folder copy = {0};
    folder_copy(&copy, &folder->now);
    mx_err err = MX_OK;
    for (unsigned i = 0; !err && i < copy.count; i++) {
        err = each(arg, copy.entries[i].name);
    }
    sim_free(copy.entries);
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
