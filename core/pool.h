/* Fixed-size slots with an upper bound. Memory grows by slabs up to the bound and is kept until
 * pool_fini, so a slot address stays valid memory for the pool's life. Single-threaded.
 * Sanitizer builds poison free slots, so a use after release is found. */
#pragma once

#include "core/err.h"

struct pool {
    const char *name; /* static text, for statistics */
    void *free_list;
    void **slabs;
    size_t slot_bytes;
    size_t slots_per_slab;
    size_t slab_count;
    size_t slab_max;
    size_t slots_max;
    size_t slots_made; /* slots carved so far */
    size_t used;
    size_t used_peak;
    bool wipe; /* slots are zeroed when they are given back: they hold secrets */
};

/* slot_bytes is rounded up to 16. slots_max is a hard bound. Allocates only the slab directory. */
MX_MUST_CHECK mx_err pool_init(struct pool *pool, const char *name, size_t slot_bytes,
                               size_t slots_max);
/* Frees all memory. A zeroed pool is fine. */
void pool_fini(struct pool *pool);
/* Makes sure that the next `count` slots can be had. False when the bound or memory does not allow
 * it. */
bool pool_reserve(struct pool *pool, size_t count);
/* A slot with undefined content, or NULL when the bound is reached or memory is out. */
void *pool_acquire(struct pool *pool);
/* A zeroed slot, or NULL. */
void *pool_acquire_zero(struct pool *pool);
/* Gives a slot back; NULL is ignored. */
void pool_release(struct pool *pool, void *slot);
