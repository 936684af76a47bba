#include "route/schedule.h"

#define MINUTE_MS UINT64_C(60000)
#define HOUR_MS (60 * MINUTE_MS)
#define DAY_MS (24 * HOUR_MS)

void schedule_default(struct schedule *s)
{
    static const uint64_t retry_ms[] = {2 * MINUTE_MS,  5 * MINUTE_MS,  10 * MINUTE_MS,
                                        15 * MINUTE_MS, 30 * MINUTE_MS, HOUR_MS,
                                        2 * HOUR_MS,    DAY_MS,         3 * DAY_MS};
    *s = (struct schedule){.retry_count = mx_countof(retry_ms),
                           .notify_ms = {DAY_MS, 3 * DAY_MS},
                           .notify_count = 2,
                           .expire_ms = 5 * DAY_MS};
    for (uint32_t i = 0; i < s->retry_count; i++) {
        s->retry_ms[i] = retry_ms[i];
    }
}

static uint64_t base_wait_ms(const struct schedule *s, uint32_t attempts)
{
    uint32_t step = attempts > 0 ? attempts - 1 : 0;
    return s->retry_ms[step < s->retry_count ? step : s->retry_count - 1];
}

uint64_t schedule_longest_wait_ms(const struct schedule *s, uint32_t attempts)
{
    uint64_t base_ms = base_wait_ms(s, attempts);
    return base_ms + base_ms / 10;
}

int64_t schedule_end_ms(const struct schedule *s, const struct schedule_progress *progress)
{
    return progress->end_ms != 0 ? progress->end_ms
           : s->attempts_max > 0 ? 0
                                 : progress->arrived_ms + (int64_t)s->expire_ms;
}

struct schedule_time schedule_next(const struct schedule *s, int64_t now_ms,
                                   const struct schedule_progress *progress, uint64_t random)
{
    uint64_t base_ms = base_wait_ms(s, progress->attempts);
    uint64_t spread_ms = base_ms / 5; /* from -10 % to +10 % */
    uint64_t wait_ms = base_ms - spread_ms / 2 + (spread_ms > 0 ? random % (spread_ms + 1) : 0);
    struct schedule_time next = {.due_ms = now_ms + (int64_t)wait_ms};
    if (progress->tells_delays && progress->notified < s->notify_count) {
        int64_t notice_ms = progress->arrived_ms + (int64_t)s->notify_ms[progress->notified];
        if (notice_ms > now_ms && notice_ms < next.due_ms) {
            next = (struct schedule_time){.due_ms = notice_ms, .is_extra = true};
        }
    }
    int64_t end_ms = schedule_end_ms(s, progress);
    if (end_ms != 0 && next.due_ms > end_ms && now_ms < end_ms) {
        next = (struct schedule_time){.due_ms = end_ms};
    }
    return next;
}

bool schedule_expired(const struct schedule *s, int64_t now_ms,
                      const struct schedule_progress *progress)
{
    int64_t end_ms = schedule_end_ms(s, progress);
    return end_ms != 0 ? now_ms >= end_ms : progress->attempts >= s->attempts_max;
}

uint32_t schedule_notices_due(const struct schedule *s, int64_t now_ms, int64_t arrived_ms)
{
    uint32_t due = 0;
    while (due < s->notify_count && now_ms - arrived_ms >= (int64_t)s->notify_ms[due]) {
        due++;
    }
    return due;
}
