/* When the messages of an open loop begin: at even distances or as a Poisson process, whether or
 * not the server keeps up. Latency is counted from these times. Pure. */
#pragma once

#include "bench/dice.h"

enum arrivals_kind { ARRIVALS_NONE, ARRIVALS_CONSTANT, ARRIVALS_POISSON };

enum { ARRIVALS_RATE_MAX = 10000000 };

struct arrivals {
    enum arrivals_kind kind; /* ARRIVALS_NONE: a closed loop */
    double gap_ns;
    double next_ns; /* a double, so that odd rates do not drift */
};

/* rate: in a second, 1..ARRIVALS_RATE_MAX. The first arrival is due at from_ns. */
void arrivals_begin(struct arrivals *arrivals, enum arrivals_kind kind, uint64_t rate,
                    uint64_t from_ns);
/* Another rate from now on; what was due before stays due. */
void arrivals_rate(struct arrivals *arrivals, uint64_t rate, uint64_t now_ns);
static inline uint64_t arrivals_due_ns(const struct arrivals *arrivals)
{
    return (uint64_t)arrivals->next_ns;
}
/* The arrival that is due next is taken; returns when it was due. */
uint64_t arrivals_take(struct arrivals *arrivals, struct dice *dice);
/* How many are due by now_ns and not taken; for a Poisson process the expected number. */
uint64_t arrivals_overdue(const struct arrivals *arrivals, uint64_t now_ns);
