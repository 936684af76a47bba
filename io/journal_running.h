/* An open journal, shared by what runs it: journal.c (life, turns, reading), journal_segments.c
 * (the life of segments), journal_commit.c (groups and commits). One thread (its shard). */
#pragma once

#include "io/journal_index.h"
#include "io/journal_private.h"
#include "io/shard.h"

/* Records that form or are being written. */
struct group {
    uint8_t *bytes; /* conf.group_bytes, aligned */
    size_t len;
    uint32_t records, counted;
    bool urgent;
    uint64_t oldest_ns; /* of the first lazy record */
    struct list appends;
};

struct journal {
    struct journal_store *store;
    struct shard *shard;
    const struct journal_ops *ops;
    void *arg;
    struct shard_hook hook;
    uint16_t set;           /* that we write */
    int lock_fd;            /* of a set of our own making, else -1 */
    uint64_t next_sequence; /* of queue ids */
    uint64_t next_instance;
    uint32_t next_number;
    struct list segments; /* all but the empty ones, oldest first */
    struct list adopting; /* older ones, until journal_adopted */
    unsigned adopting_count;
    struct list empty;
    unsigned empty_count, segment_count;
    struct segment *active, *prepared;
    uint64_t active_at;          /* where the next group goes */
    uint64_t sequence;           /* of the next group in the active segment */
    struct segment_index *index; /* of the active segment, or NULL: it gets none */
    unsigned index_writes;
    struct group groups[2];
    struct group *forming, *flying;
    struct op write_op;
    bool flush_wanted;
    struct list waiters;
    /* one header block at a time is being written */
    struct op header_op;
    uint8_t *header; /* two aligned blocks: header and blank */
    uint32_t header_bytes;
    struct segment *header_of;
    struct segment *cut; /* nothing is written before its header says where it ends */
    unsigned cut_tries;
    struct timer cut_retry;
    bool check_free; /* some segment may have become free */
    /* making segments */
    struct work_job make_job;
    struct segment *making;
    uint64_t make_bytes;
    mx_err make_err;
    bool make_first; /* ignore the disk reserve */
    bool make_later; /* not before journal_adopted */
    mx_err full;     /* why no segment could be made last time */
    struct timer make_retry;
    struct timer lazy; /* ends the wait of lazy records */
    bool broken;       /* the last write failed and no segment is ready */
    bool direct;
    unsigned reads;
    uint64_t expected; /* messages that will end with an outcome */
    struct journal_tuning tuning;
    struct journal_stats stats;
};

/* --- io/journal.c */
void journal_trouble(struct journal *j, const char *event, const struct segment *segment,
                     mx_err err, const char *effect);
/* Those that wait for room look again. */
void journal_wake_waiters(struct journal *j);

/* --- io/journal_segments.c */
/* Wires up; the rest is zeroed. */
void journal_segments_init(struct journal *j);
/* At the start, blocking: takes over the empty segments of the set, and makes the first ones. */
MX_MUST_CHECK mx_err journal_take_empty(struct journal *j, struct journal_set *set);
MX_MUST_CHECK mx_err journal_make_first(struct journal *j);
/* Makes the next segment, unless there are enough. */
void journal_make_start(struct journal *j);
/* One step each of freeing and preparing segments, and of moving what lives in old ones. */
void journal_step_segments(struct journal *j);
void journal_step_evict(struct journal *j);

/* --- io/journal_commit.c */
void journal_commit_init(struct journal *j);
void journal_group_reset(struct group *group);
/* Room in the segments that are ready, and how much of it is kept for outcomes alone. */
uint64_t journal_room_bytes(const struct journal *j);
uint64_t journal_last_kept_bytes(const struct journal *j);
bool journal_group_due(const struct journal *j);
/* Writes the forming group; later, when there is no segment for it yet. */
void journal_group_write(struct journal *j);
void journal_index_drop(struct journal *j);
