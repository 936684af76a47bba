/* Counters of core/rate by key, of the whole process, without locks: a bounded table that all
 * threads change by compare and swap. Who asks is answered at once and waits for nobody.
 *
 * A counter that is full again says nothing and is written over. When all places of a key's bucket
 * count, the one that is nearest to being full again is given up, and the caller told: what is
 * forgotten is what was used least, so nobody gets rid of a counter that he has used up by filling
 * the table, and nobody is refused for what others do.
 *
 * Between threads: whoever takes a place over first takes its counter away, so nobody counts there
 * any more, then writes the key, then the counter. Threads that make a counter for the same key at
 * the same instant make several; the fullest holds, so each thread but one takes one too many. */
#pragma once

#include "core/err.h"
#include "core/rate.h"
#include "core/slice.h"

struct rate_table;

enum {
    RATE_TABLE_WAYS = 16,
    RATE_TABLE_BUCKETS = 64 * 1024, /* 16 MiB, of which exists what was used */
};

/* buckets: a power of two. seed: of the keys' hashes, unknown to clients. MX_ERR_NOMEM. */
MX_MUST_CHECK mx_err rate_table_new(struct rate_table **out_table, size_t buckets, uint64_t seed);
void rate_table_free(struct rate_table *table); /* NULL is fine */
/* The key of some bytes: 64 bits, so two of a million share one once in 30 million tables. */
uint64_t rate_table_key(const struct rate_table *table, struct slice bytes);
/* Takes one from the counter of the key. Returns 0, or nanoseconds until there is one; nothing has
 * changed then. *out_forgotten: another key's counter was given up for it. */
MX_MUST_CHECK uint64_t rate_table_take(struct rate_table *table, uint64_t key,
                                       const struct rate *rate, uint64_t now_ns,
                                       bool *out_forgotten);
/* Gives back what was taken. */
void rate_table_give(struct rate_table *table, uint64_t key, const struct rate *rate);
/* How far the key's counter is ahead of the clock, in nanoseconds; 0: not. */
uint64_t rate_table_ahead(struct rate_table *table, uint64_t key, uint64_t now_ns);
/* A line that moves at the rate's pace, whatever its burst: the time of the next place in it, which
 * is taken; from_ns at the earliest. */
MX_MUST_CHECK uint64_t rate_table_line(struct rate_table *table, uint64_t key,
                                       const struct rate *rate, uint64_t from_ns);
