/* What the parts of the simulated disk share: disk.c (content and names), disk_crash.c (what
 * survives), disk_sys.c (io/sys.h). */
#pragma once

#include "tests/sim/disk.h"
#include "tests/sim/sim.h"

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

/* A folder that is being listed; the process may die meanwhile. */
struct listing {
    struct listing *next;
    struct folder names;
};

struct disk {
    struct inode *inodes;
    struct inode *root;
    unsigned next_number;
    uint64_t capacity;
    struct inode *fds[FDS_MAX];
    struct change *changes;
    unsigned change_count, change_cap;
    struct listing *listings;
};
extern struct disk disk;

struct inode *inode_new(bool is_folder, const char *name);
void inode_free(struct inode *inode);
void folder_copy(struct folder *to, const struct folder *from);
/* What is in a folder now; ends with listing_free, or with the process. */
struct listing *listing_new(const struct inode *folder);
void listing_free(struct listing *listing);
/* The folder that holds the last part of path, and that part; NULL when there is none. */
struct inode *disk_walk(const char *path, const char **out_last);
struct inode *disk_lookup(const char *path);
/* One change of names, unsynced: from and to may be NULL. */
void change_note(struct inode *from, const char *from_name, struct inode *to, const char *to_name,
                 struct inode *inode);
/* Makes durable what `take` says yes to; order among those is kept. */
void changes_settle(bool (*take)(const struct change *change, void *arg), void *arg);
bool disk_is_full(void);
/* Makes the file at least this long. */
mx_err disk_grow(struct inode *file, uint64_t size);
/* Durable: one sector; the sectors of [offset, offset + len). */
void sector_settle(struct page *page, unsigned sector);
void range_settle(struct inode *file, uint64_t offset, uint64_t len);
bool all_zero(const uint8_t *bytes, size_t len);
