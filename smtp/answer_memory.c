#include "smtp/answer_memory.h"

#include "core/check.h"

void answer_memory_init(struct answer_memory *memory)
{
    *memory = (struct answer_memory){0};
    list_init(&memory->at_rest);
}

static void forget_longest(struct answer_memory *memory)
{
    struct answer_share *share =
        mx_container_of(list_first(&memory->at_rest), struct answer_share, rest_node);
    answer_memory_wake(share);
    share->forget(share);
    MX_ASSERT(share->bytes == 0);
}

bool answer_memory_take(struct answer_share *share, size_t bytes)
{
    struct answer_memory *memory = share->memory;
    MX_ASSERT(!list_linked(&share->rest_node));
    if (memory == NULL) {
        return true;
    }
    while (bytes > ANSWER_MEMORY_MAX - memory->used && !list_empty(&memory->at_rest)) {
        forget_longest(memory);
    }
    if (bytes > ANSWER_MEMORY_MAX - memory->used) {
        return false;
    }
    share->bytes += bytes;
    memory->used += bytes;
    memory->peak = memory->used > memory->peak ? memory->used : memory->peak;
    return true;
}

void answer_memory_give(struct answer_share *share, size_t bytes)
{
    MX_ASSERT(!list_linked(&share->rest_node));
    if (share->memory != NULL) {
        share->bytes -= bytes;
        share->memory->used -= bytes;
    }
}

void answer_memory_rest(struct answer_share *share)
{
    if (share->memory != NULL && share->bytes > 0 && !list_linked(&share->rest_node)) {
        list_push_back(&share->memory->at_rest, &share->rest_node);
        share->memory->resting += share->bytes;
    }
}

void answer_memory_wake(struct answer_share *share)
{
    if (list_linked(&share->rest_node)) {
        list_remove(&share->rest_node);
        share->memory->resting -= share->bytes;
    }
}

bool answer_memory_is_low(const struct answer_memory *memory)
{
    return memory != NULL && memory->used - memory->resting > ANSWER_MEMORY_MAX / 2;
}
