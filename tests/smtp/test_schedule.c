#include "smtp/schedule.h"

#include <criterion/criterion.h>

/* Whatever the jitter, no wait is longer than the longest one; a stored time beyond it is a lie. */
Test(schedule, longest_wait)
{
    struct schedule s;
    schedule_default(&s);
    s.expire_ms = UINT64_MAX / 4;
    for (uint32_t attempts = 0; attempts < 40; attempts++) {
        uint64_t longest = schedule_longest_wait_ms(&s, attempts), seen = 0;
        for (uint64_t random = 0; random < 4000; random++) {
            int64_t next =
                schedule_next_ms(&s, 1000, 0, attempts, random * UINT64_C(0x9e3779b97f4a7c15));
            cr_assert(next > 1000 && (uint64_t)(next - 1000) <= longest);
            seen = (uint64_t)(next - 1000) > seen ? (uint64_t)(next - 1000) : seen;
        }
        cr_assert(seen > longest - longest / 50); /* and it is no wild guess */
    }
}
