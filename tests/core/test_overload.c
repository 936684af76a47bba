#include "core/overload.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

/* So many readings; the level afterwards. */
static unsigned after(struct overload_state *state, enum overload_resource resource, uint64_t value,
                      uint64_t threshold, unsigned readings)
{
    for (unsigned i = 0; i < readings; i++) {
        (void)overload_step(state, resource, value, threshold);
    }
    return state->level;
}

Test(overload, use_enters_at_once_and_in_order)
{
    struct overload_state state = {0};
    cr_assert_eq(after(&state, OVERLOAD_DESCRIPTORS, 899, 1000, 1), OVERLOAD_NONE);
    cr_assert_eq(after(&state, OVERLOAD_DESCRIPTORS, 900, 1000, 1), OVERLOAD_STRAINED);
    cr_assert_eq(after(&state, OVERLOAD_DESCRIPTORS, 999, 1000, 1), OVERLOAD_STRAINED);
    cr_assert_eq(after(&state, OVERLOAD_DESCRIPTORS, 1000, 1000, 1), OVERLOAD_REFUSING);
    struct overload_state jump = {0};
    cr_assert(overload_step(&jump, OVERLOAD_QUEUE_BYTES, UINT64_C(1) << 60, UINT64_C(1) << 50));
    cr_assert_eq(jump.level, OVERLOAD_REFUSING);
}

Test(overload, use_is_left_below_a_lower_mark_after_calm)
{
    struct overload_state state = {.level = OVERLOAD_REFUSING};
    cr_assert_eq(after(&state, OVERLOAD_MEMORY, 950, 1000, 100), OVERLOAD_REFUSING);
    cr_assert_eq(after(&state, OVERLOAD_MEMORY, 949, 1000, OVERLOAD_CALM - 1), OVERLOAD_REFUSING);
    cr_assert_eq(after(&state, OVERLOAD_MEMORY, 950, 1000, 1),
                 OVERLOAD_REFUSING); /* not calm after all */
    cr_assert_eq(after(&state, OVERLOAD_MEMORY, 949, 1000, OVERLOAD_CALM - 1), OVERLOAD_REFUSING);
    cr_assert_eq(after(&state, OVERLOAD_MEMORY, 949, 1000, 1), OVERLOAD_STRAINED);
    cr_assert_eq(after(&state, OVERLOAD_MEMORY, 850, 1000, 100), OVERLOAD_STRAINED);
    cr_assert_eq(after(&state, OVERLOAD_MEMORY, 849, 1000, OVERLOAD_CALM), OVERLOAD_NONE);
}

Test(overload, what_is_left_counts_the_other_way)
{
    struct overload_state state = {0};
    cr_assert_eq(after(&state, OVERLOAD_DISK_BYTES, 2000, 1000, 1), OVERLOAD_NONE);
    cr_assert_eq(after(&state, OVERLOAD_DISK_BYTES, 1999, 1000, 1), OVERLOAD_STRAINED);
    cr_assert_eq(after(&state, OVERLOAD_DISK_BYTES, 1000, 1000, 1), OVERLOAD_STRAINED);
    cr_assert_eq(after(&state, OVERLOAD_DISK_BYTES, 999, 1000, 1), OVERLOAD_REFUSING);
    cr_assert_eq(after(&state, OVERLOAD_DISK_BYTES, 1249, 1000, 100), OVERLOAD_REFUSING);
    cr_assert_eq(after(&state, OVERLOAD_DISK_BYTES, 1250, 1000, OVERLOAD_CALM), OVERLOAD_STRAINED);
    cr_assert_eq(after(&state, OVERLOAD_DISK_BYTES, 2249, 1000, 100), OVERLOAD_STRAINED);
    cr_assert_eq(after(&state, OVERLOAD_DISK_BYTES, 2250, 1000, OVERLOAD_CALM), OVERLOAD_NONE);
}

/* Nothing used is never too much, and nothing left is never enough, whatever the threshold. */
Test(overload, extremes_of_every_resource_and_threshold)
{
    static const uint64_t thresholds[] = {1, 2, 9, 10, 99, 100, 101, UINT64_C(1) << 50};
    for (unsigned r = 0; r < OVERLOAD_RESOURCES; r++) {
        bool rest = r == OVERLOAD_DISK_BYTES || r == OVERLOAD_DISK_INODES;
        for (size_t i = 0; i < mx_countof(thresholds); i++) {
            struct overload_state state = {0};
            cr_assert_eq(after(&state, r, rest ? UINT64_MAX : 0, thresholds[i], 1), OVERLOAD_NONE);
            cr_assert_eq(after(&state, r, rest ? 0 : UINT64_MAX, thresholds[i], 1),
                         OVERLOAD_REFUSING);
            cr_assert_eq(after(&state, r, rest ? UINT64_MAX : 0, thresholds[i], OVERLOAD_CALM),
                         OVERLOAD_NONE);
        }
    }
}

/* Random gauges: a change is told exactly when there is one, a worse level comes at once, a better
 * one never sooner than OVERLOAD_CALM readings after the last change or the last bad reading. */
Test(overload, random_walks_do_not_flap)
{
    srand(11);
    for (unsigned r = 0; r < OVERLOAD_RESOURCES; r++) {
        struct overload_state state = {0};
        unsigned since = OVERLOAD_CALM;
        unsigned changes = 0;
        for (unsigned i = 0; i < 20000; i++) {
            unsigned before = state.level;
            bool changed = overload_step(&state, r, (uint64_t)(rand() % 2500), 1000);
            cr_assert_eq(changed, state.level != before);
            since++;
            if (changed) {
                cr_assert(state.level > before || since >= OVERLOAD_CALM);
                since = 0;
                changes++;
            }
        }
        cr_assert_gt(changes, 0);
    }
}

Test(overload, names_are_told_apart)
{
    for (unsigned r = 0; r < OVERLOAD_RESOURCES; r++) {
        for (unsigned other = 0; other < r; other++) {
            cr_assert_str_neq(overload_text(r)->name, overload_text(other)->name);
            cr_assert_str_neq(overload_text(r)->said, overload_text(other)->said);
        }
        cr_assert_eq(strncmp(overload_text(r)->said, "overload: ", 10), 0);
        cr_assert_gt(strlen(overload_text(r)->advice), 0);
    }
}
