#include "core/hdr.h"

#include <criterion/criterion.h>
#include <stdlib.h>

enum { VALUES = 20000 };

static int by_size(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

/* Spread over all powers of two, with many small ones and repeats. */
static uint64_t draw(void)
{
    uint64_t bits = (uint64_t)rand() << 31 ^ (uint64_t)rand();
    return (bits & HDR_VALUE_MAX) >> (unsigned)(rand() % HDR_VALUE_BITS);
}

static const unsigned per_milles[] = {0, 1, 10, 250, 500, 900, 990, 999, 1000};

static void check_against(const struct hdr *hdr, const uint64_t *sorted, size_t count)
{
    for (size_t i = 0; i < mx_countof(per_milles); i++) {
        size_t rank = (count * per_milles[i] + 999) / 1000;
        uint64_t exact = sorted[rank > 0 ? rank - 1 : 0];
        uint64_t got = hdr_quantile(hdr, per_milles[i]);
        cr_assert_geq(got, exact, "%u/1000: %lu below %lu", per_milles[i], got, exact);
        cr_assert_leq(got - exact, exact / HDR_SUB, "%u/1000: %lu for %lu", per_milles[i], got,
                      exact);
    }
    for (unsigned bits = 0; bits <= HDR_VALUE_BITS; bits++) {
        size_t below = 0;
        while (below < count && sorted[below] < UINT64_C(1) << bits) {
            below++;
        }
        cr_assert_eq(hdr_count_below_power(hdr, bits), below, "values below 2^%u", bits);
    }
}

Test(hdr, agrees_with_exact_percentiles)
{
    static struct hdr hdr;
    static uint64_t values[VALUES];
    srand(11);
    uint64_t sum = 0;
    for (size_t i = 0; i < VALUES; i++) {
        values[i] = draw();
        sum += values[i];
        hdr_add(&hdr, values[i]);
    }
    qsort(values, VALUES, sizeof values[0], by_size);
    check_against(&hdr, values, VALUES);
    cr_assert_eq(hdr_count(&hdr), VALUES);
    cr_assert_eq(hdr.sum, sum);
    cr_assert_eq(hdr.max, values[VALUES - 1]);
}

/* Few values: the rank is rounded up, as a percentile is defined. */
Test(hdr, agrees_with_few_values)
{
    for (size_t count = 1; count <= 12; count++) {
        struct hdr hdr = {0};
        uint64_t values[12];
        srand((unsigned)count);
        for (size_t i = 0; i < count; i++) {
            values[i] = draw();
            hdr_add(&hdr, values[i]);
        }
        qsort(values, count, sizeof values[0], by_size);
        check_against(&hdr, values, count);
    }
}

Test(hdr, merged_is_as_if_added_to_one)
{
    static struct hdr one, parts[3], merged;
    srand(3);
    for (size_t i = 0; i < 3000; i++) {
        uint64_t value = draw();
        hdr_add(&one, value);
        hdr_add(&parts[i % 3], value);
    }
    for (size_t i = 0; i < 3; i++) {
        hdr_merge(&merged, &parts[i]);
    }
    cr_assert_arr_eq(&merged, &one, sizeof one);
}

/* Every value is in a bucket that ends at or above it, and the one before ends below it. */
Test(hdr, buckets_follow_each_other)
{
    for (size_t i = 0; i < HDR_BUCKETS; i++) {
        uint64_t top = hdr_bucket_top(i);
        cr_assert_eq(hdr_bucket(top), i, "the end of bucket %zu", i);
        if (i + 1 < HDR_BUCKETS) {
            cr_assert_eq(hdr_bucket(top + 1), i + 1, "behind bucket %zu", i);
        }
    }
    cr_assert_eq(hdr_bucket_top(HDR_BUCKETS - 1), HDR_VALUE_MAX);
}

Test(hdr, holds_what_is_larger_than_its_buckets)
{
    struct hdr hdr = {0};
    cr_assert_eq(hdr_quantile(&hdr, 500), 0);
    hdr_add(&hdr, 7);
    hdr_add(&hdr, UINT64_MAX / 2);
    cr_assert_eq(hdr_count(&hdr), 2);
    cr_assert_eq(hdr_quantile(&hdr, 500), 7);
    cr_assert_eq(hdr_quantile(&hdr, 1000), UINT64_MAX / 2);
}
