#include "core/block.h"

#include "core/check.h"

static struct block *block_acquire(struct pool *blocks)
{
    struct block *block = pool_acquire(blocks);
    if (block) {
        block->next = NULL;
        block->len = 0;
        block->start = 0;
    }
    return block;
}

/* Takes count blocks or none. */
static struct block *acquire_list(struct pool *blocks, size_t count)
{
    struct block *list = NULL;
    for (size_t i = 0; i < count; i++) {
        struct block *block = block_acquire(blocks);
        if (block == NULL) {
            while (list) {
                struct block *next = list->next;
                pool_release(blocks, list);
                list = next;
            }
            return NULL;
        }
        block->next = list;
        list = block;
    }
    return list;
}

mx_err chain_append(struct chain *chain, struct pool *blocks, struct slice bytes)
{
    size_t room = chain->tail ? BLOCK_DATA - chain->tail->len : 0;
    struct block *more = NULL;
    if (bytes.len > room) {
        more = acquire_list(blocks, (bytes.len - room + BLOCK_DATA - 1) / BLOCK_DATA);
        if (more == NULL) {
            return MX_ERR_NOMEM;
        }
    }
    chain->bytes += bytes.len;
    while (bytes.len > 0) {
        if (room == 0) {
            struct block *block = more;
            more = block->next;
            block->next = NULL;
            if (chain->tail) {
                chain->tail->next = block;
            } else {
                chain->head = block;
            }
            chain->tail = block;
            room = BLOCK_DATA;
        }
        size_t n = mx_min_size(room, bytes.len);
        memcpy(chain->tail->data + chain->tail->len, bytes.ptr, n);
        chain->tail->len += (uint32_t)n;
        bytes = slice_from(bytes, n);
        room -= n;
    }
    MX_ASSERT(more == NULL);
    return MX_OK;
}

void chain_consume(struct chain *chain, struct pool *blocks, size_t len)
{
    MX_ASSERT(len <= chain->bytes);
    chain->bytes -= len;
    while (len > 0) {
        struct block *block = chain->head;
        size_t n = mx_min_size(len, block->len - block->start);
        block->start += (uint32_t)n;
        len -= n;
        if (block->start == block->len) {
            chain->head = block->next;
            if (chain->head == NULL) {
                chain->tail = NULL;
            }
            pool_release(blocks, block);
        }
    }
}

void chain_clear(struct chain *chain, struct pool *blocks)
{
    struct block *block = chain->head;
    while (block) {
        struct block *next = block->next;
        pool_release(blocks, block);
        block = next;
    }
    *chain = (struct chain){0};
}
