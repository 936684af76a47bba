#include "core/check.h"
#include "tests/sim/disk_inside.h"
#include "tests/sim/oracle.h"

#include <stdio.h>
#include <stdlib.h>

struct disk disk;

/* --- inodes and folders ------------------------------------------------------------------------
 */

struct inode *inode_new(bool is_folder, const char *name)
{
    struct inode *inode = sim_alloc(sizeof *inode);
    inode->number = disk.next_number++;
    inode->is_folder = is_folder;
    (void)snprintf(inode->name, sizeof inode->name, "%s", name);
    inode->next = disk.inodes;
    disk.inodes = inode;
    return inode;
}

void inode_free(struct inode *inode)
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

void folder_copy(struct folder *to, const struct folder *from)
{
    to->count = 0;
    for (unsigned i = 0; i < from->count; i++) {
        folder_put(to, from->entries[i].name, from->entries[i].inode);
    }
}

struct listing *listing_new(const struct inode *folder)
{
    struct listing *listing = sim_alloc(sizeof *listing);
    folder_copy(&listing->names, &folder->now);
    listing->next = disk.listings;
    disk.listings = listing;
    return listing;
}

void listing_free(struct listing *listing)
{
    struct listing **at = &disk.listings;
    while (*at != listing) {
        at = &(*at)->next;
    }
    *at = listing->next;
    sim_free(listing->names.entries);
    sim_free(listing);
}

/* The folder that holds the last part of path, and that part. */
struct inode *disk_walk(const char *path, const char **out_last)
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

struct inode *disk_lookup(const char *path)
{
    const char *last;
    struct inode *folder = disk_walk(path, &last);
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

void change_note(struct inode *from, const char *from_name, struct inode *to, const char *to_name,
                 struct inode *inode)
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
void changes_settle(bool (*take)(const struct change *change, void *arg), void *arg)
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

bool disk_is_full(void)
{
    return sim.now_ns < sim.full_until_ns;
}

mx_err disk_grow(struct inode *file, uint64_t size)
{
    if (size <= file->size) {
        return MX_OK;
    }
    if (disk_is_full() || disk_used() + (size - file->size) > disk.capacity) {
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

bool all_zero(const uint8_t *bytes, size_t len)
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

void sector_settle(struct page *page, unsigned sector)
{
    memcpy(page->safe + sector * SECTOR_BYTES, page->now + sector * SECTOR_BYTES, SECTOR_BYTES);
    page->dirty &= (uint8_t) ~(1U << sector);
}

/* Durable: the sectors of [offset, offset + len). */
void range_settle(struct inode *file, uint64_t offset, uint64_t len)
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
    mx_err err = disk_grow(file, offset + len);
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
    if (mode == 0 || disk_grow(file, offset + len) != MX_OK) {
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

/* --- for the tests
 */

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
    struct inode *inode = disk_lookup(folder);
    if (inode != NULL) {
        each_below(inode, each, arg, "");
    }
}

struct inode *disk_file(int fd)
{
    bool ours = fd >= FD_FIRST && fd < FD_FIRST + FDS_MAX;
    return ours ? disk.fds[fd - FD_FIRST] : NULL;
}
