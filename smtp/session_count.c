#include "smtp/session_count.h"

#include "core/check.h"

#include <stdatomic.h>
#include <stdlib.h>

enum { LINE_BYTES = 64, PER_LINE = LINE_BYTES / sizeof(uint32_t) };

struct session_count {
    unsigned cores;
    uint32_t listeners;
    size_t stride; /* counters per core, whole cache lines: index 0 is the sum over its listeners */
    _Atomic uint32_t *cells;
};

mx_err session_count_new(struct session_count **out_count, unsigned cores, uint32_t listeners)
{
    struct session_count *count = calloc(1, sizeof *count);
    if (count == NULL) {
        return MX_ERR_NOMEM;
    }
    count->cores = cores;
    count->listeners = listeners;
    count->stride = (size_t)mx_round_up(listeners + 1, PER_LINE);
    count->cells = aligned_alloc(LINE_BYTES, cores * count->stride * sizeof *count->cells);
    if (count->cells == NULL) {
        free(count);
        return MX_ERR_NOMEM;
    }
    for (size_t i = 0; i < cores * count->stride; i++) {
        atomic_init(&count->cells[i], 0);
    }
    *out_count = count;
    return MX_OK;
}

void session_count_free(struct session_count *count)
{
    if (count != NULL) {
        free(count->cells);
        free(count);
    }
}

static void add(_Atomic uint32_t *cell, int change)
{
    uint32_t value = atomic_load_explicit(cell, memory_order_relaxed);
    MX_ASSERT(change > 0 || value > 0);
    atomic_store_explicit(cell, value + (uint32_t)change, memory_order_relaxed);
}

void session_count_add(struct session_count *count, unsigned core, uint32_t listener, int change)
{
    MX_ASSERT(core < count->cores && listener < count->listeners);
    add(&count->cells[core * count->stride], change);
    add(&count->cells[core * count->stride + 1 + listener], change);
}

static uint32_t sum(const struct session_count *count, size_t column)
{
    uint32_t total = 0;
    for (unsigned core = 0; core < count->cores; core++) {
        total += atomic_load_explicit(&count->cells[core * count->stride + column],
                                      memory_order_relaxed);
    }
    return total;
}

uint32_t session_count_of(const struct session_count *count, uint32_t listener)
{
    return sum(count, 1 + (size_t)listener);
}

uint32_t session_count_all(const struct session_count *count)
{
    return sum(count, 0);
}
