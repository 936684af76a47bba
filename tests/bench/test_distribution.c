/* Distributions and arrivals: what is parsed, what is refused, and that the draws are as promised.
 * The seeds are fixed, so no run differs from another. */
#include "bench/arrivals.h"
#include "bench/distribution.h"

#include <criterion/criterion.h>
#include <math.h>

enum { DRAWS = 200000 };

static struct distribution parsed(const char *text)
{
    struct distribution d = {0};
    cr_assert_eq(distribution_parse(&d, slice_of_text(text), 1, 1000000), MX_OK, "%s", text);
    return d;
}

Test(distribution, refuses)
{
    static const char *const wrong[] = {"",
                                        "x",
                                        "0",
                                        "1000001",
                                        "5-4",
                                        "1-",
                                        "-5",
                                        "1-2-3",
                                        "1:",
                                        ":1",
                                        "1:0",
                                        "1:1,",
                                        "1:1,2",
                                        "1:x",
                                        "lognormal:",
                                        "lognormal:5",
                                        "lognormal:0:1",
                                        "lognormal:5:0",
                                        "lognormal:5:x",
                                        "lognormal:5:1.",
                                        "lognormal:5:100"};
    for (size_t i = 0; i < mx_countof(wrong); i++) {
        struct distribution d = {.low = 77};
        cr_assert_neq(distribution_parse(&d, slice_of_text(wrong[i]), 1, 1000000), MX_OK, "%s",
                      wrong[i]);
        cr_assert_eq(d.low, 77, "%s changed the result", wrong[i]);
    }
    char many[DISTRIBUTION_VALUES_MAX * 4 + 8] = "1:1";
    for (unsigned i = 0; i < DISTRIBUTION_VALUES_MAX; i++) {
        strcat(many, ",1:1");
    }
    struct distribution d;
    cr_assert_eq(distribution_parse(&d, slice_of_text(many), 1, 9), MX_ERR_LIMIT);
}

Test(distribution, fixed_and_even)
{
    struct dice dice = {.state = 1};
    struct distribution fixed = parsed("42"), even = parsed("10-13");
    unsigned seen[4] = {0};
    for (unsigned i = 0; i < 4000; i++) {
        cr_assert_eq(distribution_draw(&fixed, &dice), 42);
        uint64_t value = distribution_draw(&even, &dice);
        cr_assert(value >= 10 && value <= 13);
        seen[value - 10]++;
    }
    for (unsigned i = 0; i < 4; i++) {
        cr_assert(seen[i] > 850 && seen[i] < 1150, "%u of 4000", seen[i]);
    }
}

Test(distribution, table_in_proportion)
{
    struct dice dice = {.state = 2};
    struct distribution d = parsed("1:90,5:9,100:1");
    unsigned ones = 0, fives = 0, hundreds = 0;
    for (unsigned i = 0; i < DRAWS; i++) {
        uint64_t value = distribution_draw(&d, &dice);
        ones += value == 1;
        fives += value == 5;
        hundreds += value == 100;
    }
    cr_assert_eq(ones + fives + hundreds, DRAWS);
    cr_assert_float_eq((double)ones / DRAWS, 0.9, 0.005);
    cr_assert_float_eq((double)fives / DRAWS, 0.09, 0.005);
    cr_assert_float_eq((double)hundreds / DRAWS, 0.01, 0.002);
}

Test(distribution, lognormal_has_its_median_and_sigma)
{
    struct dice dice = {.state = 3};
    struct distribution d = parsed("lognormal:8000:1.5");
    unsigned below = 0, within = 0;
    for (unsigned i = 0; i < DRAWS; i++) {
        uint64_t value = distribution_draw(&d, &dice);
        cr_assert(value >= 1 && value <= 1000000);
        below += value < 8000;
        within += fabs(log((double)value / 8000)) < 1.5; /* one sigma */
    }
    cr_assert_float_eq((double)below / DRAWS, 0.5, 0.005);
    cr_assert_float_eq((double)within / DRAWS, 0.6827, 0.005);
}

Test(distribution, octaves_are_equally_full)
{
    struct dice dice = {.state = 4};
    struct distribution d = parsed("1-1024");
    unsigned large = 0;
    d.kind = DISTRIBUTION_OCTAVES;
    for (unsigned i = 0; i < DRAWS; i++) {
        uint64_t value = distribution_draw(&d, &dice);
        cr_assert(value >= 1 && value <= 1024);
        large += value > 512;
    }
    cr_assert_float_eq((double)large / DRAWS, 1.0 / 11, 0.005);
}

Test(arrivals, constant_keeps_its_distance)
{
    struct arrivals a;
    struct dice dice = {.state = 5};
    arrivals_begin(&a, ARRIVALS_CONSTANT, 3, 1000);
    for (unsigned i = 0; i < 3000; i++) {
        uint64_t due_ns = arrivals_take(&a, &dice), wanted_ns = 1000 + i * 1000000000ULL / 3;
        cr_assert(due_ns + 1 >= wanted_ns && due_ns <= wanted_ns + 1, "arrival %u", i);
    }
    cr_assert_eq(arrivals_overdue(&a, 1000), 0);
    cr_assert_eq(arrivals_overdue(&a, 2000 + 1001 * MX_NS_PER_S), 4);
}

/* One that is due at the very end of the time may not begin any more, and is not missing. */
Test(arrivals, what_is_due_at_the_end_is_not_overdue)
{
    static const uint64_t rates[] = {1, 3, 7, 100, 1000, 3333, 999983};
    struct dice dice = {.state = 5};
    for (size_t r = 0; r < mx_countof(rates); r++) {
        struct arrivals a;
        uint64_t from_ns = 3600 * MX_NS_PER_S + 17, end_ns = from_ns + MX_NS_PER_S;
        arrivals_begin(&a, ARRIVALS_CONSTANT, rates[r], from_ns);
        for (uint64_t i = 0; i < rates[r]; i++) {
            cr_assert(arrivals_take(&a, &dice) < end_ns);
        }
        cr_assert_eq(arrivals_overdue(&a, end_ns), 0, "rate %u", (unsigned)rates[r]);
        cr_assert_eq(arrivals_overdue(&a, end_ns + 2), 1, "rate %u", (unsigned)rates[r]);
    }
}

Test(arrivals, poisson_has_its_rate_and_spread)
{
    struct arrivals a;
    struct dice dice = {.state = 6};
    double sum = 0, squares = 0;
    uint64_t before_ns = 0;
    arrivals_begin(&a, ARRIVALS_POISSON, 1000, 0);
    (void)arrivals_take(&a, &dice);
    for (unsigned i = 0; i < DRAWS; i++) {
        uint64_t due_ns = arrivals_take(&a, &dice);
        double gap = (double)(due_ns - before_ns) / 1e6;
        before_ns = due_ns;
        sum += gap;
        squares += gap * gap;
    }
    double mean = sum / DRAWS;
    cr_assert_float_eq(mean, 1.0, 0.01); /* ms */
    cr_assert_float_eq(sqrt(squares / DRAWS - mean * mean), 1.0, 0.02);
}

Test(arrivals, another_rate_from_now_on)
{
    struct arrivals a;
    struct dice dice = {.state = 7};
    arrivals_begin(&a, ARRIVALS_CONSTANT, 1, 0);
    (void)arrivals_take(&a, &dice);
    arrivals_rate(&a, 1000, 5000000); /* the next was due in a second */
    cr_assert_eq(arrivals_take(&a, &dice), 6000000);
    cr_assert_eq(arrivals_take(&a, &dice), 7000000);
}
