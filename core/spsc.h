/* Bounded ring of pointers between one producer thread and one consumer thread, with the sleeping
 * flag of the consumer. These are the only atomics on the mail path.
 *
 * Sleeping protocol: the consumer announces (spsc_sleep) and looks once more before it waits; the
 * producer pushes and then looks at the flag (spsc_wants_wake). Both sides use sequentially
 * consistent operations there, so at least one of them sees the other. */
#pragma once

#include "core/err.h"

#include <stdatomic.h>

struct spsc {
    _Alignas(64) _Atomic uint32_t head; /* written by the consumer */
    _Alignas(64) _Atomic uint32_t tail; /* written by the producer */
    _Alignas(64) uint32_t mask;
    void **cells;
};

/* capacity is a power of two. */
MX_MUST_CHECK mx_err spsc_init(struct spsc *ring, uint32_t capacity);
void spsc_fini(struct spsc *ring);

/* False when full: the producer keeps the item. */
static inline bool spsc_push(struct spsc *ring, void *item)
{
    uint32_t tail = atomic_load_explicit(&ring->tail, memory_order_relaxed);
    uint32_t head = atomic_load_explicit(&ring->head, memory_order_acquire);
    if (tail - head > ring->mask) {
        return false;
    }
    ring->cells[tail & ring->mask] = item;
    atomic_store_explicit(&ring->tail, tail + 1, memory_order_seq_cst);
    return true;
}

/* NULL when empty. */
static inline void *spsc_pop(struct spsc *ring)
{
    uint32_t head = atomic_load_explicit(&ring->head, memory_order_relaxed);
    uint32_t tail = atomic_load_explicit(&ring->tail, memory_order_seq_cst);
    if (head == tail) {
        return NULL;
    }
    void *item = ring->cells[head & ring->mask];
    atomic_store_explicit(&ring->head, head + 1, memory_order_release);
    return item;
}

static inline bool spsc_empty(struct spsc *ring)
{
    return atomic_load_explicit(&ring->head, memory_order_seq_cst) ==
           atomic_load_explicit(&ring->tail, memory_order_seq_cst);
}
