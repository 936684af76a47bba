#include "admin/object_id.h"

static const char digits[] = "abcdefghijklmnopqrstuvwxyz792013";

enum {
    SEQUENCE_BITS = 12,
    DIGITS_MAX = 13,
};

/* 2024-01-01T00:00:00Z: 41 bits of milliseconds reach to 2093. */
#define EPOCH_MS INT64_C(1704067200000)

void put_object_id(struct writer *w, uint64_t id)
{
    char text[DIGITS_MAX];
    size_t at = DIGITS_MAX;
    do {
        text[--at] = digits[id & 31];
        id >>= 5;
    } while (id);
    put_bytes(w, text + at, DIGITS_MAX - at);
}

mx_err object_id_parse(uint64_t *out_id, struct slice text)
{
    if (text.len == 0 || text.len > DIGITS_MAX) {
        return MX_ERR_SYNTAX;
    }
    uint64_t id = 0;
    for (size_t i = 0; i < text.len; i++) {
        const char *found = text.ptr[i] ? strchr(digits, text.ptr[i]) : NULL;
        if (!found || id > (UINT64_C(1) << 63) / 32 - 1) {
            return MX_ERR_SYNTAX;
        }
        id = id << 5 | (uint64_t)(found - digits);
    }
    *out_id = id;
    return MX_OK;
}

int64_t object_id_wall_ms(uint64_t id)
{
    uint64_t ms = id >> (OBJECT_NODE_BITS + SEQUENCE_BITS);
    return ms == 0 ? 0 : (int64_t)ms + EPOCH_MS;
}

uint64_t object_id_next(uint64_t last, int64_t wall_ms, uint32_t node)
{
    uint64_t mask = ((UINT64_C(1) << OBJECT_NODE_BITS) - 1) << SEQUENCE_BITS;
    uint64_t ms = wall_ms > EPOCH_MS ? (uint64_t)(wall_ms - EPOCH_MS) : 0;
    uint64_t node_bits = (uint64_t)node << SEQUENCE_BITS & mask;
    uint64_t next = ms << (OBJECT_NODE_BITS + SEQUENCE_BITS) | node_bits;
    if (next > last) {
        return next;
    }
    uint64_t last_ms = last >> (OBJECT_NODE_BITS + SEQUENCE_BITS);
    uint64_t sequence = (last & ((UINT64_C(1) << SEQUENCE_BITS) - 1)) + 1;
    if (sequence >> SEQUENCE_BITS) {
        sequence = 0;
        last_ms++;
    }
    next = last_ms << (OBJECT_NODE_BITS + SEQUENCE_BITS) | node_bits | sequence;
    return next > last ? next : next + (UINT64_C(1) << (OBJECT_NODE_BITS + SEQUENCE_BITS));
}
