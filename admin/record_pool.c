#include "admin/record_pool.h"

#include <stdlib.h>
#include <string.h>

#if defined(__SANITIZE_ADDRESS__)
#define RECORD_POOL_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define RECORD_POOL_ASAN 1
#endif
#endif

#ifdef RECORD_POOL_ASAN
enum { SMALL_MAX = 0 };
#else
enum { SMALL_MAX = RECORD_SMALL_MAX };
#endif

struct chunk {
    _Alignas(16) struct list_node node;
    _Alignas(16) uint8_t bytes[];
};

void record_pool_init(struct record_pool *pool)
{
    *pool = (struct record_pool){0};
    list_init(&pool->chunks);
}

void record_pool_free(struct record_pool *pool)
{
    struct list_node *node;
    while ((node = list_pop_front(&pool->chunks)) != NULL) {
        free(mx_container_of(node, struct chunk, node));
    }
    record_pool_init(pool);
}

static void *chunk_new(struct record_pool *pool, size_t bytes)
{
    struct chunk *chunk = malloc(sizeof *chunk + bytes);
    if (chunk == NULL) {
        return NULL;
    }
    chunk->node = (struct list_node){0};
    list_push_back(&pool->chunks, &chunk->node);
    return chunk->bytes;
}

static void *take(struct record_pool *pool, size_t size)
{
    if (size > SMALL_MAX) {
        return chunk_new(pool, size);
    }
    void *record = pool->free[size / RECORD_GRAIN];
    if (record != NULL) {
        memcpy(&pool->free[size / RECORD_GRAIN], record, sizeof(void *));
        return record;
    }
    if (pool->left < size) {
        pool->at = chunk_new(pool, RECORD_CHUNK_BYTES);
        pool->left = pool->at == NULL ? 0 : RECORD_CHUNK_BYTES;
        if (pool->at == NULL) {
            return NULL;
        }
    }
    record = pool->at;
    pool->at += size;
    pool->left -= size;
    return record;
}

static size_t size_of(size_t bytes)
{
    return mx_round_up(mx_max_size(bytes, sizeof(void *)), RECORD_GRAIN);
}

void *record_take(struct record_pool *pool, size_t bytes)
{
    void *record = take(pool, size_of(bytes));
    pool->live += record != NULL;
    return record;
}

void record_return(struct record_pool *pool, void *record, size_t bytes)
{
    size_t size = size_of(bytes);
    pool->live--;
    if (size > SMALL_MAX) {
        struct chunk *chunk = mx_container_of(record, struct chunk, bytes);
        list_remove(&chunk->node);
        free(chunk);
        return;
    }
    memcpy(record, &pool->free[size / RECORD_GRAIN], sizeof(void *));
    pool->free[size / RECORD_GRAIN] = record;
    if (pool->live == 0) {
        record_pool_free(pool);
    }
}
