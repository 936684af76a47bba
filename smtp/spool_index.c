#include "smtp/spool_index.h"

#include <stdlib.h>

mx_err spool_index_room(struct spool *spool, uint32_t handle)
{
    struct spool_block **place = &spool->blocks[handle / SPOOL_BLOCK];
    if (*place != NULL) {
        return MX_OK;
    }
    struct spool_block *block = malloc(sizeof *block);
    if (block == NULL) {
        return MX_ERR_NOMEM;
    }
    for (unsigned i = 0; i < SPOOL_BLOCK; i++) {
        block->due_ms[i] = SPOOL_NOT_THERE;
    }
    block->oldest_ms = INT64_MAX;
    block->newest_ms = INT64_MIN;
    *place = block;
    return MX_OK;
}

void spool_index_fini(struct spool *spool)
{
    for (size_t i = 0; i < SPOOL_BLOCKS_MAX; i++) {
        free(spool->blocks[i]);
        spool->blocks[i] = NULL;
    }
}

int64_t spool_due_ms(const struct message *msg)
{
    int64_t due_ms = INT64_MAX;
    for (uint32_t i = 0; i < msg->rcpt_count; i++) {
        bool waits = rcpt_waits(&msg->rcpts[i]) || msg->rcpts[i].report != 0;
        if (waits && msg->rcpts[i].due_ms < due_ms) {
            due_ms = msg->rcpts[i].due_ms;
        }
    }
    return due_ms;
}

static struct spool_block *block_of(const struct spool *spool, const struct message *msg)
{
    return spool->blocks[msg->handle / SPOOL_BLOCK];
}

static unsigned row_of(const struct message *msg)
{
    return msg->handle % SPOOL_BLOCK;
}

void spool_index_add(struct spool *spool, const struct message *msg)
{
    struct spool_block *block = block_of(spool, msg);
    unsigned row = row_of(msg);
    block->arrived_ms[row] = msg->arrived_ms;
    block->checks[row] = queue_id_check(msg->id);
    block->digests[row] = queue_digest_any;
    block->oldest_ms = msg->arrived_ms < block->oldest_ms ? msg->arrived_ms : block->oldest_ms;
    block->newest_ms = msg->arrived_ms > block->newest_ms ? msg->arrived_ms : block->newest_ms;
    spool_index_due(spool, msg);
}

void spool_index_addresses(struct spool *spool, const struct message *msg,
                           const struct envelope *env)
{
    queue_digest_of(&block_of(spool, msg)->digests[row_of(msg)], env);
}

void spool_index_due(struct spool *spool, const struct message *msg)
{
    if (list_linked(&msg->all_node)) {
        block_of(spool, msg)->due_ms[row_of(msg)] =
            msg->rcpts_left > 0 ? spool_due_ms(msg) : SPOOL_NOT_THERE;
    }
}

int64_t spool_index_due_ms(const struct spool *spool, const struct message *msg)
{
    return block_of(spool, msg)->due_ms[row_of(msg)];
}

void spool_index_remove(struct spool *spool, const struct message *msg)
{
    if (list_linked(&msg->all_node)) {
        block_of(spool, msg)->due_ms[row_of(msg)] = SPOOL_NOT_THERE;
    }
}
