#include "core/rate_table.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

enum { SEED = 7 };

static struct rate_table *table;

static void setup(void)
{
    cr_assert(rate_table_new(&table, 4, SEED) == MX_OK);
}

static void teardown(void)
{
    rate_table_free(table);
}

TestSuite(rate_table, .init = setup, .fini = teardown);

static uint64_t key_of(uint64_t number)
{
    return rate_table_key(table, slice_of(&number, sizeof number));
}

static uint64_t take(uint64_t key, const struct rate *rate, uint64_t now_ns)
{
    bool forgotten;
    uint64_t wait_ns = rate_table_take(table, key, rate, now_ns, &forgotten);
    cr_assert_not(forgotten);
    return wait_ns;
}

/* Fewer keys than a bucket has places: each is like a counter of its own. */
Test(rate_table, keys_have_counters_of_their_own)
{
    enum { KEYS = RATE_TABLE_WAYS, TRIES = 20000 };
    uint64_t plain[KEYS] = {0}, now_ns = 1;
    struct rate rate = rate_of(3, 1000);
    srand(3);
    for (unsigned i = 0; i < TRIES; i++) {
        unsigned number = (unsigned)rand() % KEYS;
        now_ns += (uint64_t)rand() % (2 * rate.each_ns / KEYS);
        uint64_t expected = rate_take(&plain[number], &rate, now_ns);
        cr_assert_eq(take(key_of(number), &rate, now_ns), expected);
        if (expected == 0 && rand() % 8 == 0) {
            plain[number] = rate_before(&rate, plain[number]);
            rate_table_give(table, key_of(number), &rate);
        }
    }
}

Test(rate_table, full_counters_are_written_over)
{
    struct rate rate = rate_of(1, 1);
    for (uint64_t number = 0; number < 1000; number++) {
        cr_assert_eq(take(key_of(number), &rate, (number + 1) * MX_NS_PER_MS), 0);
    }
}

/* A crowd of keys that were used once does not wash out one that is used up. */
Test(rate_table, a_full_table_forgets_what_was_used_least)
{
    struct rate rate = rate_of(10, 10000);
    unsigned forgotten_count = 0;
    uint64_t used_up = key_of(0);
    for (unsigned i = 0; i < 10; i++) {
        cr_assert_eq(take(used_up, &rate, 1), 0);
    }
    for (uint64_t number = 1; number < 5000; number++) {
        bool forgotten;
        cr_assert_eq(rate_table_take(table, key_of(number), &rate, 1, &forgotten), 0);
        forgotten_count += forgotten;
    }
    cr_assert_gt(forgotten_count, 4000);
    cr_assert_eq(take(used_up, &rate, 1), MX_NS_PER_S);
}

Test(rate_table, giving_back_to_what_is_forgotten_is_harmless)
{
    struct rate rate = rate_of(1, 1000);
    rate_table_give(table, key_of(1), &rate);
    cr_assert_eq(take(key_of(1), &rate, 1), 0);
    cr_assert_eq(take(key_of(1), &rate, 1), MX_NS_PER_S);
    rate_table_give(table, key_of(1), &rate);
    cr_assert_eq(take(key_of(1), &rate, 1), 0);
}

Test(rate_table, seeds_make_other_keys)
{
    struct rate_table *other;
    uint64_t number = 5;
    cr_assert(rate_table_new(&other, 4, SEED + 1) == MX_OK);
    cr_assert_neq(rate_table_key(other, slice_of(&number, sizeof number)), key_of(number));
    rate_table_free(other);
}

/* Places in a line are one step apart, none before the time that is asked for; a line that nobody
 * has stood in for long begins at the clock. */
Test(rate_table, line)
{
    const struct rate rate = rate_of(10, 1000); /* 100 ms each */
    const uint64_t step = UINT64_C(100) * 1000000, start = UINT64_C(1000) * step;
    uint64_t key = key_of(1);
    cr_assert_eq(rate_table_ahead(table, key, start), 0);
    cr_assert_eq(rate_table_line(table, key, &rate, start + 5), start + 5);
    cr_assert_eq(rate_table_ahead(table, key, start), step + 5);
    for (uint64_t i = 1; i < 100; i++) {
        cr_assert_eq(rate_table_line(table, key, &rate, start), start + 5 + i * step);
    }
    cr_assert_eq(rate_table_ahead(table, key_of(2), start), 0, "of another key");
    uint64_t later = start + 200 * step;
    cr_assert_eq(rate_table_ahead(table, key, later), 0);
    cr_assert_eq(rate_table_line(table, key, &rate, later), later);
}

/* More keys than places: somebody's line is given up, never without an answer. */
Test(rate_table, lines_of_many)
{
    const struct rate rate = rate_of(1, 1000);
    for (uint64_t i = 0; i < UINT64_C(100) * RATE_TABLE_WAYS; i++) {
        cr_assert_eq(rate_table_line(table, key_of(i), &rate, i), i);
        cr_assert_geq(rate_table_ahead(table, key_of(i), i), rate.each_ns);
    }
}
