#include "core/rate.h"

#include "core/check.h"

struct rate rate_of(uint32_t count, uint64_t period_ms)
{
    MX_ASSERT(count >= 1 && count <= RATE_COUNT_MAX);
    MX_ASSERT(period_ms >= 1 && period_ms <= RATE_PERIOD_MS_MAX);
    uint64_t each_ns = (period_ms * MX_NS_PER_MS + count - 1) / count;
    return (struct rate){.each_ns = each_ns, .burst_ns = (count - 1) * each_ns};
}

uint64_t rate_take(uint64_t *full_ns, const struct rate *rate, uint64_t now_ns)
{
    uint64_t wait_ns = rate_wait_ns(rate, *full_ns, now_ns);
    if (wait_ns == 0) {
        *full_ns = rate_after(rate, *full_ns, now_ns);
    }
    return wait_ns;
}
