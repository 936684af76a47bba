#include "bench/wake_heap.h"

#include "core/check.h"

#include <stdlib.h>

mx_err wake_heap_init(struct wake_heap *heap, uint32_t cap)
{
    heap->wakes = calloc(cap > 0 ? cap : 1, sizeof(struct wake *));
    heap->count = 0;
    heap->cap = cap;
    return heap->wakes == NULL ? MX_ERR_NOMEM : MX_OK;
}

void wake_heap_fini(struct wake_heap *heap)
{
    free(heap->wakes);
    *heap = (struct wake_heap){0};
}

static void put(struct wake_heap *heap, uint32_t at, struct wake *wake)
{
    heap->wakes[at] = wake;
    wake->place = at + 1;
}

static void sift_up(struct wake_heap *heap, uint32_t at, struct wake *wake)
{
    while (at > 0 && heap->wakes[(at - 1) / 2]->at_ns > wake->at_ns) {
        put(heap, at, heap->wakes[(at - 1) / 2]);
        at = (at - 1) / 2;
    }
    put(heap, at, wake);
}

static void sift_down(struct wake_heap *heap, uint32_t at, struct wake *wake)
{
    for (;;) {
        uint32_t child = 2 * at + 1;
        if (child + 1 < heap->count && heap->wakes[child + 1]->at_ns < heap->wakes[child]->at_ns) {
            child++;
        }
        if (child >= heap->count || heap->wakes[child]->at_ns >= wake->at_ns) {
            break;
        }
        put(heap, at, heap->wakes[child]);
        at = child;
    }
    put(heap, at, wake);
}

void wake_heap_remove(struct wake_heap *heap, struct wake *wake)
{
    if (wake->place == 0) {
        return;
    }
    uint32_t at = wake->place - 1;
    struct wake *last = heap->wakes[--heap->count];
    wake->place = 0;
    if (last != wake) {
        sift_up(heap, at, last);
        sift_down(heap, last->place - 1, last);
    }
}

void wake_heap_add(struct wake_heap *heap, struct wake *wake, uint64_t at_ns)
{
    wake_heap_remove(heap, wake);
    MX_ASSERT(heap->count < heap->cap);
    wake->at_ns = at_ns;
    sift_up(heap, heap->count++, wake);
}

struct wake *wake_heap_first(const struct wake_heap *heap)
{
    return heap->count > 0 ? heap->wakes[0] : NULL;
}
