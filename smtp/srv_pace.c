#include "smtp/srv_pace.h"

enum { BYTES_MAX = 1 << 30 }; /* at a time; keeps the product in range */

void srv_pace_moved(struct srv_pace *pace, uint64_t waited_ns, uint64_t bytes, uint64_t rate)
{
    if (rate == 0) {
        pace->behind_ns = 0;
        return;
    }
    uint64_t paid_ns = (bytes < BYTES_MAX ? bytes : BYTES_MAX) * MX_NS_PER_S / rate;
    uint64_t behind_ns = pace->behind_ns + waited_ns;
    pace->behind_ns = behind_ns > paid_ns ? behind_ns - paid_ns : 0;
}

uint64_t srv_pace_left_ns(const struct srv_pace *pace, uint64_t rate, uint64_t grace_ns)
{
    if (rate == 0) {
        return UINT64_MAX;
    }
    return grace_ns > pace->behind_ns ? grace_ns - pace->behind_ns : 0;
}
