#include "bench/arrivals.h"

#include "bench/distribution.h"

#include <math.h>

void arrivals_begin(struct arrivals *arrivals, enum arrivals_kind kind, uint64_t rate,
                    uint64_t from_ns)
{
    *arrivals = (struct arrivals){
        .kind = kind, .gap_ns = (double)MX_NS_PER_S / (double)rate, .next_ns = (double)from_ns};
}

void arrivals_rate(struct arrivals *arrivals, uint64_t rate, uint64_t now_ns)
{
    arrivals->gap_ns = (double)MX_NS_PER_S / (double)rate;
    if (arrivals->next_ns > (double)now_ns + arrivals->gap_ns) {
        arrivals->next_ns = (double)now_ns + arrivals->gap_ns;
    }
}

uint64_t arrivals_take(struct arrivals *arrivals, struct dice *dice)
{
    uint64_t due_ns = arrivals_due_ns(arrivals);
    bool poisson = arrivals->kind == ARRIVALS_POISSON;
    arrivals->next_ns += poisson ? -log(dice_unit(dice)) * arrivals->gap_ns : arrivals->gap_ns;
    return due_ns;
}

uint64_t arrivals_overdue(const struct arrivals *arrivals, uint64_t now_ns)
{
    double late_ns = (double)now_ns - arrivals->next_ns;
    return late_ns < 0 ? 0 : 1 + (uint64_t)(late_ns / arrivals->gap_ns);
}
