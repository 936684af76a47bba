/* Counting for statistics: plain additions to memory of one thread. What the program itself needs
 * to know (queue lengths, pools) is never counted with these: a build with RINGMX_NO_COUNTING
 * leaves them out, to measure what they cost. */
#pragma once

#include "core/base.h"

static inline bool count_is_on(void)
{
#ifdef RINGMX_NO_COUNTING
    return false;
#else
    return true;
#endif
}

static inline void count_add(uint64_t *counter, uint64_t n)
{
#ifdef RINGMX_NO_COUNTING
    (void)counter;
    (void)n;
#else
    *counter += n;
#endif
}

static inline void count_one(uint64_t *counter)
{
    count_add(counter, 1);
}

static inline void count_max(uint64_t *longest, uint64_t value)
{
#ifdef RINGMX_NO_COUNTING
    (void)longest;
    (void)value;
#else
    *longest = value > *longest ? value : *longest;
#endif
}
