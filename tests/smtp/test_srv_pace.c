#include "smtp/srv_pace.h"

#include <criterion/criterion.h>

enum { RATE = 500 };
static const uint64_t grace_ns = 60 * MX_NS_PER_S;

/* Seconds until it is cut off that sends `bytes` every `gap_ns`; 0: not within an hour. */
static uint64_t lasts_s(uint64_t bytes, uint64_t gap_ns)
{
    struct srv_pace pace = {0};
    for (uint64_t at_ns = 0; at_ns < 3600 * MX_NS_PER_S; at_ns += gap_ns) {
        uint64_t left_ns = srv_pace_left_ns(&pace, RATE, grace_ns);
        if (left_ns < gap_ns) {
            return (at_ns + left_ns) / MX_NS_PER_S;
        }
        srv_pace_moved(&pace, gap_ns, bytes, RATE);
    }
    return 0;
}

Test(srv_pace, who_is_cut_off)
{
    cr_assert_eq(lasts_s(0, MX_NS_PER_S), 60, "silence");
    cr_assert_eq(lasts_s(1, MX_NS_PER_S), 60, "a byte a second");
    cr_assert_eq(lasts_s(250, MX_NS_PER_S), 119, "half of the rate lasts twice as long");
    cr_assert_eq(lasts_s(499, MX_NS_PER_S), 0, "hardly slower");
    cr_assert_eq(lasts_s(500, MX_NS_PER_S), 0, "the rate");
    cr_assert_eq(lasts_s(29500, 59 * MX_NS_PER_S), 0, "a long way in bursts");
    cr_assert_eq(lasts_s(1000000, 61 * MX_NS_PER_S), 60, "a silence longer than the grace");
}

Test(srv_pace, a_burst_earns_nothing)
{
    struct srv_pace pace = {0};
    srv_pace_moved(&pace, 0, UINT64_MAX, RATE);
    cr_assert_eq(srv_pace_left_ns(&pace, RATE, grace_ns), grace_ns);
    srv_pace_moved(&pace, 61 * MX_NS_PER_S, 0, RATE);
    cr_assert_eq(srv_pace_left_ns(&pace, RATE, grace_ns), 0);
    srv_pace_moved(&pace, 0, 10 * RATE, RATE);
    cr_assert_eq(srv_pace_left_ns(&pace, RATE, grace_ns), 9 * MX_NS_PER_S);
}

Test(srv_pace, no_rate_no_end)
{
    struct srv_pace pace = {0};
    srv_pace_moved(&pace, 1000 * MX_NS_PER_S, 0, 0);
    cr_assert_eq(srv_pace_left_ns(&pace, 0, grace_ns), UINT64_MAX);
    cr_assert_eq(pace.behind_ns, 0);
}
