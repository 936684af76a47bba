#include "bench/arrivals.h"

#include "bench/distribution.h"

#include <math.h>

static const double ROUNDING_NS = 0.5; /* of a sum of gaps that are no whole numbers */

void arrivals_begin(struct arrivals *arrivals, enum arrivals_kind kind, uint64_t rate,
                    uint64_t from_ns)
{
    *arrivals = (struct arrivals){
        .kind = kind, .gap_ns = (double)MX_NS_PER_S / (double)rate, .next_ns = from_ns};
}

void arrivals_rate(struct arrivals *arrivals, uint64_t rate, uint64_t now_ns)
{
    arrivals->gap_ns = (double)MX_NS_PER_S / (double)rate;
    uint64_t latest_ns = now_ns + (uint64_t)arrivals->gap_ns;
    if (arrivals->next_ns > latest_ns) {
        arrivals->next_ns = latest_ns;
    }
}

uint64_t arrivals_take(struct arrivals *arrivals, struct dice *dice)
{
    uint64_t due_ns = arrivals_due_ns(arrivals);
    bool poisson = arrivals->kind == ARRIVALS_POISSON;
    arrivals->part_ns += poisson ? -log(dice_unit(dice)) * arrivals->gap_ns : arrivals->gap_ns;
    uint64_t whole_ns = (uint64_t)arrivals->part_ns;
    arrivals->next_ns += whole_ns;
    arrivals->part_ns -= (double)whole_ns;
    return due_ns;
}

uint64_t arrivals_overdue(const struct arrivals *arrivals, uint64_t now_ns)
{
    double late_ns = (double)(int64_t)(now_ns - arrivals->next_ns) - arrivals->part_ns;
    return late_ns <= ROUNDING_NS ? 0 : (uint64_t)ceil((late_ns - ROUNDING_NS) / arrivals->gap_ns);
}
