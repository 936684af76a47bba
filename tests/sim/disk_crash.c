/* What is left of the disk after a kill, after a power cut, and in time. */
#include "core/check.h"
#include "tests/sim/disk_inside.h"

enum { HEADER_BYTES = 64 /* of a segment's header that say something */ };

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
    while (disk.listings != NULL) {
        listing_free(disk.listings);
    }
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

void disk_resize(uint64_t capacity)
{
    disk.capacity = capacity;
}

enum disk_rot disk_rot(void)
{
    struct inode *journal = disk_lookup("/ringmx/journal");
    struct page *pages[4096];
    bool header[mx_countof(pages)];
    unsigned count = 0;
    for (unsigned s = 0; journal != NULL && s < journal->now.count; s++) {
        struct folder *set = &journal->now.entries[s].inode->now;
        for (unsigned f = 0; f < set->count; f++) {
            struct inode *file = set->entries[f].inode;
            for (size_t p = 0; p < file->page_cap && count < mx_countof(pages); p++) {
                if (file->pages[p] != NULL && !all_zero(file->pages[p]->now, PAGE_BYTES)) {
                    header[count] = p == 0;
                    pages[count++] = file->pages[p];
                }
            }
        }
    }
    if (count == 0) {
        return ROT_NOTHING;
    }
    unsigned n = (unsigned)sim_below(count);
    for (unsigned i = sim_chance(3) ? count : 0; i > 0 && !header[n]; i--) {
        n = (n + 1) % count;
    }
    struct page *page = pages[n];
    /* What is zero is mostly what nobody looks at. */
    size_t at = (size_t)sim_below(header[n] ? HEADER_BYTES : PAGE_BYTES);
    while (page->now[at] == 0) {
        at = (at + 1) % PAGE_BYTES;
    }
    page->now[at] ^= 0x40;
    page->safe[at] = page->now[at];
    sim_say("a byte rots in a segment's %s", header[n] ? "header" : "records");
    return header[n] ? ROT_HEADER : ROT_RECORDS;
}
