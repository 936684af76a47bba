/* Shared by journal_store.c (start-up) and what runs a journal (io/journal_running.h). */
#pragma once

#include "core/list.h"
#include "io/journal.h"
#include "io/journal_format.h"
#include "io/ring.h"
#include "io/work.h"

#include <stdatomic.h>

enum { JOURNAL_PATH_MAX = 1024 };

enum segment_state {
    SEGMENT_EMPTY,    /* nothing in it; ready to be prepared */
    SEGMENT_PREPARED, /* its header says active, durably; no group yet */
    SEGMENT_ACTIVE,   /* groups go here */
    SEGMENT_SEALED,   /* no more groups */
    SEGMENT_CUT,      /* a write to it failed: its header is to say where it ends */
    SEGMENT_WIPING,   /* cut, but there is no other: what failed is overwritten, */
    SEGMENT_OPENING,  /* then its header says again that groups follow */
    SEGMENT_FREEING,  /* its header is being rewritten as free */
};

struct segment {
    struct list_node node; /* in the store's or a journal's list, oldest first */
    enum segment_state state;
    uint16_t set;
    uint32_t number; /* of the file */
    uint32_t epoch;
    uint32_t end; /* as in its header */
    uint64_t instance;
    uint64_t size;
    int fd; /* while a journal has it */
    struct list residents;
    uint64_t live_bytes;
    unsigned reads;        /* in flight */
    struct segment **deps; /* older segments that must be freed first */
    size_t dep_count, dep_cap;
    bool deps_lost; /* there was no memory to note one: all older segments must be freed first */
};

struct journal_set {
    uint16_t id;
    int lock_fd;
    bool opened;            /* a journal writes to it */
    struct list empty;      /* segments with nothing in them; for that journal */
    uint32_t next_number;   /* beyond all its files */
    uint64_t next_instance; /* beyond all its segments */
};

struct journal_store {
    char dir[JOURNAL_PATH_MAX];
    struct journal_conf conf;
    struct log *log;
    uint32_t epoch;
    bool readonly;
    bool version_conflict;
    struct journal_set sets[JOURNAL_SETS_MAX];
    unsigned set_count;
    bool set_used[JOURNAL_SETS_MAX]; /* also by others */
    atomic_uint next_set;            /* where the search for an unused id goes on */
    struct list segments;            /* with records, oldest first, until they are taken */
    size_t segment_count;
    uint32_t newest_epoch; /* of any segment */
};

/* DIR/set-%04x or a file in it; false when it does not fit. */
bool store_set_path(char *out, size_t cap, const char *dir, uint16_t set, const char *name);
bool store_segment_path(char *out, size_t cap, const char *dir, const struct segment *segment);
/* Opens a segment's file for reading and writing, with O_DIRECT if *direct and the file system
 * has it; *direct tells. */
MX_MUST_CHECK mx_err store_segment_open(const struct journal_store *store, struct segment *segment,
                                        bool *direct);
void segments_free(struct list *segments);
/* How many earlier starts have left records in a set. */
unsigned store_starts(const struct journal_store *store, uint16_t set);
/* Locks and notes a new, so far unused set. Callable from several cores' threads at once. */
MX_MUST_CHECK mx_err store_new_set(struct journal_store *store, uint16_t *out_set,
                                   int *out_lock_fd);
