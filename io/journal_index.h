/* The index that a full segment gets at its end (io/journal_format.h): collected in memory while
 * the segment is active, written once. */
#pragma once

#include "io/journal_private.h"

enum {
    JOURNAL_INDEX_MAX = 16 * 1024 * 1024, /* entries; a segment that needs more gets no index */
    JOURNAL_INDEX_RECORD_BYTES = 256,     /* room kept for each record of the next group */
    /* The last block of a segment is the trailer's, also where no index will be, and never a
     * group's: content could pass for a trailer there, and hide all records of the segment. */
    JOURNAL_INDEX_TRAILER_BYTES = JF_BLOCK_BYTES,
};

struct segment_index {
    struct segment *segment;
    uint8_t *bytes; /* entries, and behind them room for zeros and the trailer */
    size_t len, cap;
    uint32_t records;
    uint64_t groups;
    struct op op; /* of the writing */
    void *owner;
};

/* NULL: no memory, so no index. */
struct segment_index *segment_index_new(struct segment *segment);
void segment_index_free(struct segment_index *index);
/* Adds the records of a sealed group that lies at `at` of the file. False: too many. */
bool segment_index_add(struct segment_index *index, const struct journal_ops *ops,
                       struct slice group, uint64_t at);
/* What it takes at the end of the segment now. */
uint64_t segment_index_bytes(const struct segment_index *index);
/* Completes it and begins the write; done is called by the ring. */
void segment_index_write(struct segment_index *index, struct ring *ring,
                         void (*done)(struct op *op, const struct op_result *result));
