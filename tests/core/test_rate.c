#include "core/rate.h"

#include <criterion/criterion.h>
#include <stdlib.h>

enum { TRIES = 4000, ROUNDS = 200 };

#define CLOCK_END_NS (UINT64_C(1) << 61)

static uint64_t draw(uint64_t below)
{
    return ((uint64_t)rand() << 31 ^ (uint64_t)rand()) % below;
}

/* The same as a bucket: `level` is what may be taken, in units of 1 / each_ns of one. */
struct bucket {
    uint64_t each_ns, level, capacity, at_ns;
};

static void fill(struct bucket *bucket, uint64_t now_ns)
{
    uint64_t room = bucket->capacity - bucket->level;
    uint64_t gained = now_ns - bucket->at_ns;
    bucket->level += gained < room ? gained : room;
    bucket->at_ns = now_ns;
}

static bool pour(struct bucket *bucket, uint64_t now_ns)
{
    fill(bucket, now_ns);
    if (bucket->level < bucket->each_ns) {
        return false;
    }
    bucket->level -= bucket->each_ns;
    return true;
}

/* Steps of the clock from nothing to several periods, mostly about the pace of the rate. */
static uint64_t step_ns(const struct rate *rate, uint64_t period_ns)
{
    switch (rand() % 8) {
    case 0:
        return 0;
    case 1:
        return draw(3 * period_ns);
    case 2:
        return rate->each_ns;
    default:
        return draw(2 * rate->each_ns);
    }
}

static void against_a_bucket(uint32_t count, uint64_t period_ms)
{
    struct rate rate = rate_of(count, period_ms);
    uint64_t now_ns = draw(UINT64_C(1) << 50), full_ns = 0;
    struct bucket bucket = {rate.each_ns, count * rate.each_ns, count * rate.each_ns, now_ns};
    for (unsigned i = 0; i < TRIES && now_ns < CLOCK_END_NS; i++) {
        now_ns += step_ns(&rate, period_ms * MX_NS_PER_MS);
        uint64_t before = full_ns;
        uint64_t wait_ns = rate_take(&full_ns, &rate, now_ns);
        cr_assert_eq(wait_ns == 0, pour(&bucket, now_ns), "%u per %lu ms, try %u", count,
                     (unsigned long)period_ms, i);
        if (wait_ns > 0) {
            cr_assert_eq(full_ns, before, "what is refused costs nothing");
            cr_assert_eq(wait_ns, rate.each_ns - bucket.level, "the time until the next");
        } else if (rand() % 16 == 0) {
            full_ns = rate_before(&rate, full_ns);
            bucket.level += bucket.each_ns;
        }
    }
}

Test(rate, is_a_bucket_for_random_clocks)
{
    srand(7);
    for (unsigned i = 0; i < ROUNDS; i++) {
        uint32_t count = (uint32_t)(1 + draw(rand() % 2 == 0 ? 10 : RATE_COUNT_MAX));
        against_a_bucket(count, 1 + draw(rand() % 2 == 0 ? 1000 : RATE_PERIOD_MS_MAX));
    }
}

/* What the header promises of every stretch of time, checked over all pairs of accepted ones. */
Test(rate, no_stretch_of_time_has_more_than_count_and_what_came_back)
{
    enum { TAKEN_MAX = 600 };
    srand(11);
    for (unsigned round = 0; round < 20; round++) {
        uint32_t count = (uint32_t)(1 + draw(20));
        uint64_t period_ns = (1 + draw(5000)) * MX_NS_PER_MS;
        struct rate rate = rate_of(count, period_ns / MX_NS_PER_MS);
        uint64_t taken_ns[TAKEN_MAX];
        uint64_t now_ns = 1, full_ns = 0;
        for (unsigned taken = 0; taken < TAKEN_MAX;) {
            now_ns += step_ns(&rate, period_ns);
            if (rate_take(&full_ns, &rate, now_ns) == 0) {
                taken_ns[taken++] = now_ns;
            }
        }
        for (unsigned from = 0; from < TAKEN_MAX; from++) {
            for (unsigned to = from; to < TAKEN_MAX; to++) {
                uint64_t most = count + (taken_ns[to] - taken_ns[from]) * count / period_ns;
                cr_assert_leq(to - from + 1, most, "%u per %lu ns", count,
                              (unsigned long)period_ns);
            }
        }
    }
}

Test(rate, count_at_once_then_one_by_one)
{
    struct rate rate = rate_of(3, 1000);
    uint64_t full_ns = 0, now_ns = 5 * MX_NS_PER_S;
    for (unsigned i = 0; i < 3; i++) {
        cr_assert_eq(rate_take(&full_ns, &rate, now_ns), 0);
    }
    cr_assert_eq(rate_take(&full_ns, &rate, now_ns), 333333334);
    cr_assert_eq(rate_take(&full_ns, &rate, now_ns + 333333333), 1);
    cr_assert_eq(rate_take(&full_ns, &rate, now_ns + 333333334), 0);
    cr_assert_neq(rate_take(&full_ns, &rate, now_ns + 333333334), 0);
}

Test(rate, one_per_period)
{
    struct rate rate = rate_of(1, RATE_PERIOD_MS_MAX);
    uint64_t full_ns = 0;
    cr_assert_eq(rate_take(&full_ns, &rate, 1), 0);
    cr_assert_eq(rate_take(&full_ns, &rate, 1), RATE_PERIOD_MS_MAX * MX_NS_PER_MS);
    cr_assert_eq(rate_take(&full_ns, &rate, 1 + RATE_PERIOD_MS_MAX * MX_NS_PER_MS), 0);
}

Test(rate, giving_back_never_goes_below_new)
{
    struct rate rate = rate_of(2, 1000);
    cr_assert_eq(rate_before(&rate, 0), 0);
    cr_assert_eq(rate_before(&rate, rate.each_ns), 0);
    cr_assert_eq(rate_before(&rate, rate.each_ns + 5), 5);
}
