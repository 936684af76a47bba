/* Rates, "count per period": the generic cell rate algorithm (ITU-T I.371, appendix I). A counter
 * is one number, the time at which nothing of what was taken is left to be made up for. As a
 * bucket: it holds `count`, which may be taken at once, and gets one back every period / count. So
 * in any stretch of time t at most count + t * count / period are taken, and a counter whose time
 * has come is like one that was never used: it may be forgotten.
 *
 * What is refused costs nothing, so a client that keeps trying is not held for longer. Pure; any
 * clock that does not go backwards, in nanoseconds, below 2^62. */
#pragma once

#include "core/base.h"

#define RATE_PERIOD_MS_MAX (UINT64_C(366) * 86400 * 1000)

enum { RATE_COUNT_MAX = 1000000 };

struct rate {
    uint64_t each_ns;  /* between two at a steady pace, rounded up: never more than was said */
    uint64_t burst_ns; /* how far ahead of the clock the counter may be when one more is taken */
};

/* count: 1 to RATE_COUNT_MAX; period_ms: 1 to RATE_PERIOD_MS_MAX. */
struct rate rate_of(uint32_t count, uint64_t period_ms);

/* How long until one may be taken; 0: now. full_ns: the counter, 0 when it is new. */
static inline uint64_t rate_wait_ns(const struct rate *rate, uint64_t full_ns, uint64_t now_ns)
{
    uint64_t from_ns = now_ns + rate->burst_ns;
    return full_ns > from_ns ? full_ns - from_ns : 0;
}

/* The counter after one more was taken. */
static inline uint64_t rate_after(const struct rate *rate, uint64_t full_ns, uint64_t now_ns)
{
    return (full_ns > now_ns ? full_ns : now_ns) + rate->each_ns;
}

/* The counter after one was given back that had been taken from it. */
static inline uint64_t rate_before(const struct rate *rate, uint64_t full_ns)
{
    return full_ns > rate->each_ns ? full_ns - rate->each_ns : 0;
}

/* Takes one, if it may be. Returns 0, or how many nanoseconds until then; nothing has changed then.
 */
MX_MUST_CHECK uint64_t rate_take(uint64_t *full_ns, const struct rate *rate, uint64_t now_ns);
