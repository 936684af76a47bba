/* What the answers take that a core keeps for expressions (smtp/dns_answers, smtp/key_answers):
 * those of all its sessions, deliveries and questions together. One message may have a megabyte of
 * them, so there is no room for each to have its most. */
#pragma once

#include "core/base.h"

enum {
    ANSWER_MEMORY_MAX = 16 << 20, /* bytes of a core; over it nothing more is answered */
};

struct answer_memory {
    size_t used, peak;
};

/* False: there is no room; nothing is noted. NULL: not counted. */
static inline bool answer_memory_take(struct answer_memory *memory, size_t bytes)
{
    if (memory == NULL) {
        return true;
    }
    if (bytes > ANSWER_MEMORY_MAX - memory->used) {
        return false;
    }
    memory->used += bytes;
    memory->peak = memory->used > memory->peak ? memory->used : memory->peak;
    return true;
}

static inline void answer_memory_give(struct answer_memory *memory, size_t bytes)
{
    if (memory != NULL) {
        memory->used -= bytes;
    }
}

/* What can wait, waits; the rest is for what has begun. */
static inline bool answer_memory_is_low(const struct answer_memory *memory)
{
    return memory != NULL && memory->used > ANSWER_MEMORY_MAX / 2;
}
