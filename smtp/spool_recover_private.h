/* Shared by spool_recover.c (finding) and spool_adopt.c (taking over). */
#pragma once

#include "smtp/spool_recover.h"

struct found_extent {
    struct found_extent *next;
    struct record_extent head;
    struct journal_ref ref;
};

/* One message that the scan has met. Small: there may be millions. */
struct entry {
    struct qid id;
    struct journal_ref ref; /* newest MESSAGE record; segment NULL: only extents so far */
    int64_t arrived_ms;
    uint64_t body_bytes;
    uint32_t rcpt_count;
    uint32_t prefix_bytes, envelope_bytes, inline_bytes, extent_count;
    uint32_t next;            /* of its part: index + 1, 0 = last */
    struct rcpt_state *rcpts; /* NULL for a single recipient */
    struct rcpt_state one;
    uint64_t *charges; /* keys of quotas; NULL: none */
    uint32_t charge_count;
    struct found_extent *extents;
    struct journal_ref history; /* of the highest number; segment NULL: none */
    uint32_t history_number;
    bool incomplete;
};

struct spool_part {
    struct spool_recovery *recovery;
    struct journal_part segments;
    uint32_t first; /* entry not yet taken over: index + 1, 0 = none is left */
    uint64_t messages;
    uint16_t sets[JOURNAL_SETS_MAX];
    unsigned set_count;
};

struct spool_recovery {
    struct journal_store *store;
    struct spool_recover_conf conf;
    struct texts texts; /* of the states: last replies */
    struct entry *entries;
    size_t entry_count, entry_cap;
    uint32_t *slots; /* index + 1 into entries */
    size_t slot_mask;
    uint16_t set_parent[JOURNAL_SETS_MAX]; /* union-find */
    unsigned core_of_set[JOURNAL_SETS_MAX];
    struct spool_part *parts;
    unsigned cores;
};

static inline struct rcpt_state *entry_rcpts(struct entry *entry)
{
    return entry->rcpts != NULL ? entry->rcpts : &entry->one;
}

/* A recipient waits for an outcome. */
bool entry_alive(const struct entry *entry);
