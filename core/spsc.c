#include "core/spsc.h"

#include "core/check.h"

#include <stdlib.h>

mx_err spsc_init(struct spsc *ring, uint32_t capacity)
{
    MX_ASSERT(capacity > 0 && (capacity & (capacity - 1)) == 0);
    void **cells = calloc(capacity, sizeof *cells);
    if (cells == NULL) {
        return MX_ERR_NOMEM;
    }
    atomic_init(&ring->head, 0);
    atomic_init(&ring->tail, 0);
    ring->mask = capacity - 1;
    ring->cells = cells;
    return MX_OK;
}

void spsc_fini(struct spsc *ring)
{
    free(ring->cells);
    ring->cells = NULL;
}
