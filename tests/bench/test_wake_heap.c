/* The heap of waiting sessions against the obvious: the smallest of all that wait. */
#include "bench/dice.h"
#include "bench/wake_heap.h"

#include <criterion/criterion.h>

enum { WAKES = 40, STEPS = 20000 };

Test(wake_heap, first_is_the_earliest)
{
    struct wake wakes[WAKES] = {{0}};
    struct wake_heap heap;
    struct dice dice = {.state = 1};
    cr_assert_eq(wake_heap_init(&heap, WAKES), MX_OK);
    for (unsigned step = 0; step < STEPS; step++) {
        struct wake *wake = &wakes[dice_below(&dice, WAKES)];
        if (dice_below(&dice, 3) == 0) {
            wake_heap_remove(&heap, wake);
        } else {
            wake_heap_add(&heap, wake, dice_below(&dice, 1000));
        }
        uint64_t least = UINT64_MAX;
        uint32_t count = 0;
        for (unsigned i = 0; i < WAKES; i++) {
            if (wakes[i].place > 0) {
                count++;
                least = wakes[i].at_ns < least ? wakes[i].at_ns : least;
            }
        }
        cr_assert_eq(heap.count, count);
        struct wake *first = wake_heap_first(&heap);
        cr_assert_eq(first == NULL, count == 0);
        cr_assert(first == NULL || first->at_ns == least, "step %u", step);
    }
    uint64_t before = 0;
    for (struct wake *first; (first = wake_heap_first(&heap)) != NULL;) {
        cr_assert_geq(first->at_ns, before);
        before = first->at_ns;
        wake_heap_remove(&heap, first);
    }
    wake_heap_fini(&heap);
}
