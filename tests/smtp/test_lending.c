#include "smtp/lending.h"

#include <criterion/criterion.h>
#include <string.h>

enum { CORES = 4 };

static void run(struct lending *lending, unsigned grants[CORES], unsigned recalls[CORES])
{
    unsigned core;
    enum lending_act act;
    while ((act = lending_next(lending, &core)) != LENDING_NOTHING) {
        ++*(act == LENDING_GRANT ? &grants[core] : &recalls[core]);
    }
}

static void ask(struct lending *lending, unsigned core, uint16_t wants, uint64_t now_ns)
{
    struct lending_report report = {.asks = true, .wants = wants};
    lending_report(lending, core, &report, now_ns);
}

static void give(struct lending *lending, unsigned core, uint16_t returned, uint64_t now_ns)
{
    struct lending_report report = {.returned = returned};
    lending_report(lending, core, &report, now_ns);
}

/* A window that has grown to its limit. */
static void open_wide(struct lending *lending, struct lending_core cores[CORES], unsigned limit)
{
    memset(cores, 0, CORES * sizeof *cores);
    lending_init(lending, cores, CORES, limit);
    lending_report(lending, 0, &(struct lending_report){.successes = 1000000}, 0);
    cr_assert_eq(lending->window, limit);
}

Test(lending, begins_small_and_grows_by_one_for_each_round)
{
    struct lending_core cores[CORES] = {0};
    struct lending lending;
    lending_init(&lending, cores, CORES, 20);
    cr_assert_eq(lending.window, LENDING_FIRST);
    lending_report(&lending, 1, &(struct lending_report){.successes = 4}, 0);
    cr_assert_eq(lending.window, 5);
    lending_report(&lending, 2, &(struct lending_report){.successes = 1}, 0);
    cr_assert_eq(lending.window, 6);
    lending_report(&lending, 2, &(struct lending_report){.successes = 6 + 7}, 0);
    cr_assert_eq(lending.window, 8);
    lending_init(&lending, cores, CORES, 3);
    cr_assert_eq(lending.window, 3);
    lending_limit(&lending, 9); /* an administrator's word */
    cr_assert_eq(lending.window, 9);
    lending_limit(&lending, 4);
    cr_assert_eq(lending.window, 4);
}

Test(lending, halves_once_for_failures_at_a_time_and_rests)
{
    struct lending_core cores[CORES];
    struct lending lending;
    unsigned grants[CORES] = {0}, recalls[CORES] = {0};
    struct lending_report failure = {.failures = 1};
    uint64_t now_ns = 1000 * MX_NS_PER_MS;
    open_wide(&lending, cores, 16);
    ask(&lending, 0, 16, now_ns);
    run(&lending, grants, recalls);
    cr_assert_eq(grants[0], 16);
    lending_report(&lending, 0, &failure, now_ns);
    lending_report(&lending, 1, &failure, now_ns + 1);
    cr_assert_eq(lending.window, 8);
    run(&lending, grants, recalls);
    cr_assert_eq(recalls[0], 8);
    now_ns += (LENDING_SHRINK_MS + 1) * MX_NS_PER_MS;
    lending_report(&lending, 0, &failure, now_ns);
    cr_assert_eq(lending.window, 4);
    lending_report(&lending, 0, &(struct lending_report){.successes = 100}, now_ns + 1);
    cr_assert_eq(lending.window, 4);
    now_ns += (LENDING_CALM_MS + 1) * MX_NS_PER_MS;
    lending_report(&lending, 0, &(struct lending_report){.successes = 4}, now_ns);
    cr_assert_eq(lending.window, 5);
}

Test(lending, all_get_an_equal_part)
{
    struct lending_core cores[CORES];
    struct lending lending;
    unsigned grants[CORES] = {0}, recalls[CORES] = {0};
    open_wide(&lending, cores, 12);
    ask(&lending, 0, 100, 0);
    run(&lending, grants, recalls);
    cr_assert_eq(grants[0], 12);
    ask(&lending, 1, 100, 0);
    ask(&lending, 3, 2, 0);
    run(&lending, grants, recalls);
    cr_assert_eq(recalls[0], 6, "%u", recalls[0]);
    give(&lending, 0, 6, 0);
    run(&lending, grants, recalls);
    cr_assert_eq(grants[1], 4);
    cr_assert_eq(grants[3], 2);
}

/* One slot, four cores: whoever waits has it before anyone has it twice. */
Test(lending, fewer_slots_than_cores_go_round)
{
    struct lending_core cores[CORES];
    struct lending lending;
    unsigned grants[CORES] = {0}, recalls[CORES] = {0};
    open_wide(&lending, cores, 1);
    for (unsigned i = 0; i < CORES; i++) {
        ask(&lending, i, 5, 0);
    }
    for (unsigned turn = 0; turn < 40; turn++) {
        run(&lending, grants, recalls);
        unsigned holder = 0;
        while (cores[holder].lent == 0) {
            holder++;
        }
        cr_assert_eq(cores[holder].recalled, 1, "nobody asks it back");
        give(&lending, holder, 1, 0);
        ask(&lending, holder, 5, 0);
    }
    for (unsigned i = 0; i < CORES; i++) {
        cr_assert_eq(grants[i], 10);
    }
}

/* Whatever cores do: never more than the limit, nothing is lost, and nobody waits for ever. */
Test(lending, random_cores)
{
    uint64_t random = 88172645463325252u;
    struct lending_core cores[CORES] = {0};
    struct lending lending;
    unsigned lent[CORES] = {0}, to_return[CORES] = {0};
    uint64_t now_ns = 1;
    lending_init(&lending, cores, CORES, 10);
    for (unsigned step = 0; step < 200000; step++) {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        unsigned core = random % CORES, what = (random >> 8) % 8;
        struct lending_report report = {0};
        now_ns += random % (50 * MX_NS_PER_MS);
        if (what < 3) {
            report.asks = true;
            report.wants = (uint16_t)((random >> 16) % 8);
        } else if (what < 6) {
            unsigned due = to_return[core] > 0 ? to_return[core] : lent[core];
            report.returned = (uint16_t)(due > 0 ? 1 + (random >> 16) % due : 0);
            report.successes = (uint32_t)((random >> 24) % 20);
        } else if (what == 6) {
            report.failures = (random >> 16) % 4 == 0;
        } else {
            lending_limit(&lending, 1 + (unsigned)((random >> 16) % 12));
        }
        lent[core] -= report.returned;
        to_return[core] -= to_return[core] < report.returned ? to_return[core] : report.returned;
        lending_report(&lending, core, &report, now_ns);
        unsigned grants[CORES] = {0}, recalls[CORES] = {0}, before = lending.lent, all = 0;
        run(&lending, grants, recalls);
        for (unsigned i = 0; i < CORES; i++) {
            lent[i] += grants[i];
            to_return[i] += recalls[i];
            all += lent[i];
            cr_assert_eq(cores[i].lent, lent[i]);
            cr_assert(to_return[i] <= lent[i], "more is asked back than there is");
        }
        cr_assert_eq(lending.lent, all);
        cr_assert(lending.lent <= lending.window || lending.lent <= before, "more than the window");
        cr_assert(lending.window >= 1 && lending.window <= lending.limit);
    }
}
