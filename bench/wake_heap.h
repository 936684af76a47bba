/* Sessions that wait for a time, the earliest first. Finer than the wheel of a core, whose ticks
 * are 100 ms. Fixed memory, no allocation after the start. */
#pragma once

#include "core/err.h"

#include <stdint.h>

struct wake {
    uint64_t at_ns;
    uint32_t place; /* in the heap + 1; 0 = does not wait */
};

struct wake_heap {
    struct wake **wakes;
    uint32_t count, cap;
};

MX_MUST_CHECK mx_err wake_heap_init(struct wake_heap *heap, uint32_t cap);
void wake_heap_fini(struct wake_heap *heap);
/* Arms, also again. At most cap at a time. The wake is the caller's and outlives its waiting. */
void wake_heap_add(struct wake_heap *heap, struct wake *wake, uint64_t at_ns);
void wake_heap_remove(struct wake_heap *heap,
                      struct wake *wake); /* harmless when it does not wait */
/* The earliest, or NULL. */
struct wake *wake_heap_first(const struct wake_heap *heap);
