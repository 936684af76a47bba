/* What the answers take that a core keeps for expressions (smtp/dns_answers, smtp/key_answers):
 * those of all its sessions, deliveries and questions together. One message may have a megabyte of
 * them, so there is no room for each to have its most.
 *
 * Answers of mail that waits (for a connection, a worker, a report) rest: they are kept in case
 * they are of use again, and forgotten, those that have rested longest first, as soon as somebody
 * needs the memory. So however much mail waits, and however long, it takes no room from others. */
#pragma once

#include "core/list.h"

enum {
    ANSWER_MEMORY_MAX = 16 << 20, /* bytes of a core; over it nothing more is answered */
};

struct answer_memory {
    size_t used, peak;
    size_t resting;      /* of used: forgotten when there is need */
    struct list at_rest; /* struct answer_share, which has rested longest first */
};

/* What the answers of one question, message or delivery take. */
struct answer_share {
    struct answer_memory *memory; /* NULL: not counted */
    size_t bytes;
    struct list_node rest_node;
    void (*forget)(struct answer_share *share); /* gives all bytes back */
};

void answer_memory_init(struct answer_memory *memory);
/* False: there is no room; nothing is noted. What rests gives way. share: awake. */
bool answer_memory_take(struct answer_share *share, size_t bytes);
void answer_memory_give(struct answer_share *share, size_t bytes);
/* Nobody is looking at them, and nothing is asked. */
void answer_memory_rest(struct answer_share *share);
/* Somebody looks at them: they stay. Harmless when they do not rest. */
void answer_memory_wake(struct answer_share *share);
/* What can wait, waits; the rest is for what has begun. memory NULL: never. */
bool answer_memory_is_low(const struct answer_memory *memory);
