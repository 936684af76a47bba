#include "io/journal_index.h"

#include "core/check.h"
#include "core/hash.h"

#include <stdlib.h>

struct segment_index *segment_index_new(struct segment *segment)
{
    struct segment_index *index = calloc(1, sizeof *index);
    if (index == NULL) {
        return NULL;
    }
    index->segment = segment;
    index->cap = segment->size / 4 < JOURNAL_INDEX_MAX ? (size_t)(segment->size / 4)
                                                       : (size_t)JOURNAL_INDEX_MAX;
    index->cap = index->cap / JF_BLOCK_BYTES * JF_BLOCK_BYTES;
    index->bytes = aligned_alloc(JF_BLOCK_BYTES, index->cap + JF_BLOCK_BYTES);
    if (index->bytes == NULL) {
        free(index);
        return NULL;
    }
    return index;
}

void segment_index_free(struct segment_index *index)
{
    if (index != NULL) {
        free(index->bytes);
        free(index);
    }
}

bool segment_index_add(struct segment_index *index, const struct journal_ops *ops,
                       struct slice group, uint64_t at)
{
    struct writer w = {.buf = index->bytes, .len = index->len, .cap = index->cap};
    struct jf_record record;
    size_t next = 0, payload_at;
    while (jf_group_next(group, &next, &record, &payload_at)) {
        struct slice payload = slice_first(slice_from(group, payload_at), record.len);
        struct slice kept = slice_first(payload, ops->indexed(record.type, payload));
        jf_index_add(&w, (uint32_t)(at + payload_at), payload.ptr - JF_RECORD_HEADER_BYTES, kept);
        index->records++;
    }
    index->groups++;
    index->len = w.len;
    return !w.overflow;
}

uint64_t segment_index_bytes(const struct segment_index *index)
{
    return mx_round_up(index->len, JF_BLOCK_BYTES) + JOURNAL_INDEX_TRAILER_BYTES;
}

void segment_index_write(struct segment_index *index, struct ring *ring,
                         void (*done)(struct op *op, const struct op_result *result))
{
    const struct segment *segment = index->segment;
    uint64_t bytes = segment_index_bytes(index);
    struct jf_index trailer = {
        .set = segment->set,
        .epoch = segment->epoch,
        .instance = segment->instance,
        .length = (uint32_t)index->len,
        .records = index->records,
        .groups = index->groups,
        .checksum = hash_checksum(slice_of(index->bytes, index->len)),
    };
    memset(index->bytes + index->len, 0, (size_t)bytes - index->len);
    jf_index_put(index->bytes + bytes - JF_BLOCK_BYTES, &trailer);
    index->op.done = done;
    /* Not synced: an index that did not become durable is recognized by its checksum. */
    ring_write(ring, &index->op, segment->fd, index->bytes, (uint32_t)bytes, segment->size - bytes,
               false);
}
