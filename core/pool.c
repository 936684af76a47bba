#include "core/pool.h"

#include "core/check.h"

#include <stdlib.h>
#include <string.h>

#if defined(__SANITIZE_ADDRESS__)
#define POOL_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define POOL_ASAN 1
#endif
#endif

#ifdef POOL_ASAN
#include <sanitizer/asan_interface.h>
#define POISON(ptr, len) __asan_poison_memory_region((ptr), (len))
#define UNPOISON(ptr, len) __asan_unpoison_memory_region((ptr), (len))
#else
#define POISON(ptr, len) ((void)(ptr), (void)(len))
#define UNPOISON(ptr, len) ((void)(ptr), (void)(len))
#endif

enum {
    SLAB_BYTES_TARGET = 256 * 1024,
    SLOT_ALIGN = 16,
};

struct free_slot {
    struct free_slot *next;
};

mx_err pool_init(struct pool *pool, const char *name, size_t slot_bytes, size_t slots_max)
{
    MX_ASSERT(slot_bytes > 0 && slots_max > 0);
    *pool = (struct pool){.name = name, .slots_max = slots_max};
    pool->slot_bytes = (size_t)mx_round_up(slot_bytes, SLOT_ALIGN);
    pool->slots_per_slab = mx_max_size(1, SLAB_BYTES_TARGET / pool->slot_bytes);
    pool->slots_per_slab = mx_min_size(pool->slots_per_slab, slots_max);
    pool->slab_max = (slots_max + pool->slots_per_slab - 1) / pool->slots_per_slab;
    pool->slabs = calloc(pool->slab_max, sizeof *pool->slabs);
    return pool->slabs ? MX_OK : MX_ERR_NOMEM;
}

void pool_fini(struct pool *pool)
{
    for (size_t i = 0; i < pool->slab_count; i++) {
        UNPOISON(pool->slabs[i], pool->slots_per_slab * pool->slot_bytes);
        free(pool->slabs[i]);
    }
    free(pool->slabs);
    *pool = (struct pool){0};
}

mx_err pool_limit_prepare(struct pool *pool, size_t slots_max)
{
    size_t slab_max = (slots_max + pool->slots_per_slab - 1) / pool->slots_per_slab;
    if (slab_max <= pool->slab_max) {
        return MX_OK;
    }
    void **slabs = calloc(slab_max, sizeof *slabs);
    if (slabs == NULL) {
        return MX_ERR_NOMEM;
    }
    memcpy(slabs, pool->slabs, pool->slab_count * sizeof *slabs);
    free(pool->slabs);
    pool->slabs = slabs;
    pool->slab_max = slab_max;
    return MX_OK;
}

void pool_limit(struct pool *pool, size_t slots_max)
{
    MX_ASSERT(slots_max > 0 && slots_max <= pool->slab_max * pool->slots_per_slab);
    pool->slots_max = slots_max;
}

static void *carve(struct pool *pool)
{
    if (pool->slots_made >= pool->slots_max) {
        return NULL;
    }
    size_t index = pool->slots_made % pool->slots_per_slab;
    if (index == 0) {
        size_t bytes = pool->slots_per_slab * pool->slot_bytes;
        void *slab = aligned_alloc(SLOT_ALIGN, bytes);
        if (slab == NULL) {
            return NULL;
        }
        POISON(slab, bytes);
        pool->slabs[pool->slab_count++] = slab;
    }
    char *slot = (char *)pool->slabs[pool->slab_count - 1] + index * pool->slot_bytes;
    pool->slots_made++;
    return slot;
}

bool pool_reserve(struct pool *pool, size_t count)
{
    while (pool->slots_made - pool->used < count) {
        struct free_slot *slot = carve(pool);
        if (slot == NULL) {
            return false;
        }
        UNPOISON(slot, pool->slot_bytes);
        slot->next = pool->free_list;
        pool->free_list = slot;
        POISON(slot, pool->slot_bytes);
    }
    return true;
}

void *pool_acquire(struct pool *pool)
{
    void *slot = pool->free_list;
    if (MX_UNLIKELY(pool->used >= pool->slots_max)) {
        return NULL; /* the bound was lowered, or is reached */
    }
    if (slot != NULL) {
        UNPOISON(slot, pool->slot_bytes);
        pool->free_list = ((struct free_slot *)slot)->next;
        /* The next one has been out of the cache for a whole batch of messages. */
        __builtin_prefetch(pool->free_list, 1);
    } else {
        slot = carve(pool);
        if (slot == NULL) {
            return NULL;
        }
        UNPOISON(slot, pool->slot_bytes);
    }
    pool->used++;
    if (pool->used > pool->used_peak) {
        pool->used_peak = pool->used;
    }
    return slot;
}

void *pool_acquire_zero(struct pool *pool)
{
    void *slot = pool_acquire(pool);
    if (slot) {
        memset(slot, 0, pool->slot_bytes);
    }
    return slot;
}

void pool_release(struct pool *pool, void *slot)
{
    if (slot == NULL) {
        return;
    }
    MX_ASSERT(pool->used > 0);
    pool->used--;
    if (pool->wipe) {
        explicit_bzero(slot, pool->slot_bytes);
    }
    ((struct free_slot *)slot)->next = pool->free_list;
    pool->free_list = slot;
    POISON(slot, pool->slot_bytes);
}
