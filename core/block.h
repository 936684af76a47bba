/* Chains of fixed-size blocks: reply output, message bodies, parked input. The blocks come from a
 * pool whose bound is the memory budget of a core. */
#pragma once

#include "core/pool.h"
#include "core/slice.h"

enum { BLOCK_BYTES = 4096 };

struct block {
    struct block *next;
    uint32_t len;   /* bytes used */
    uint32_t start; /* bytes consumed from the front */
    uint8_t data[BLOCK_BYTES - 16];
};

enum { BLOCK_DATA = sizeof(((struct block *)0)->data) };

struct chain {
    struct block *head;
    struct block *tail;
    size_t bytes; /* unconsumed bytes in all blocks */
};

/* Copies bytes to the end. MX_ERR_NOMEM when the pool is empty: the chain is as before. */
MX_MUST_CHECK mx_err chain_append(struct chain *chain, struct pool *blocks, struct slice bytes);
/* Drops len bytes from the front and releases blocks that became empty. */
void chain_consume(struct chain *chain, struct pool *blocks, size_t len);
/* Releases everything; the chain is then empty and usable. A zeroed chain is fine. */
void chain_clear(struct chain *chain, struct pool *blocks);
/* Unread part of one block. */
static inline struct slice block_slice(const struct block *block)
{
    return slice_of(block->data + block->start, block->len - block->start);
}
