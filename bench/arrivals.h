/* When the messages of an open loop begin: at even distances or as a Poisson process, whether or
 * not the server keeps up. Latency is counted from these times. Pure. */
#pragma once

#include "bench/dice.h"

enum arrivals_kind { ARRIVALS_NONE, ARRIVALS_CONSTANT, ARRIVALS_POISSON };

enum { ARRIVALS_RATE_MAX = 10000000 };

struct arrivals {
    enum arrivals_kind kind; /* ARRIVALS_NONE: a closed loop */
    double gap_ns;
    uint64_t next_ns;
    double part_ns; /* of a nanosecond, on top: odd rates do not drift */
};

/* rate: in a second, 1..ARRIVALS_RATE_MAX. The first arrival is due at from_ns. */
void arrivals_begin(struct arrivals *arrivals, enum arrivals_kind kind, uint64_t rate,
                    uint64_t from_ns);
/* Another rate from now on; what was due before stays due. */
void arrivals_rate(struct arrivals *arrivals, uint64_t rate, uint64_t now_ns);
static inline uint64_t arrivals_due_ns(const struct arrivals *arrivals)
{
    return arrivals->next_ns;
}
/* The arrival that is due next is taken; returns when it was due. */
uint64_t arrivals_take(struct arrivals *arrivals, struct dice *dice);
/* How many were due before now_ns and are not taken; for a Poisson process the expected number. */
uint64_t arrivals_overdue(const struct arrivals *arrivals, uint64_t now_ns);
