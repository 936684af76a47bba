#include "route/image.h"
#include "route/schedule.h"

#include <criterion/criterion.h>
#define MINUTE INT64_C(60000)
#define HOUR (60 * MINUTE)
#define DAY (24 * HOUR)

static uint64_t spread(uint64_t n)
{
    return n * UINT64_C(0x9e3779b97f4a7c15);
}

/* Half of the jitter's range: none. */
static uint64_t middle(int64_t step_ms)
{
    return (uint64_t)step_ms / 10;
}

/* Whatever the jitter, no wait is longer than the longest one; a stored time beyond it is a lie. */
Test(schedule, longest_wait)
{
    struct schedule s;
    schedule_default(&s);
    s.expire_ms = UINT64_MAX / 4;
    for (uint32_t attempts = 0; attempts < 40; attempts++) {
        uint64_t longest = schedule_longest_wait_ms(&s, attempts), seen = 0;
        for (uint64_t random = 0; random < 4000; random++) {
            struct schedule_progress p = {.attempts = attempts};
            struct schedule_time next = schedule_next(&s, 1000, &p, spread(random));
            uint64_t wait = (uint64_t)(next.due_ms - 1000);
            cr_assert(next.due_ms > 1000 && wait <= longest);
            seen = wait > seen ? wait : seen;
        }
        cr_assert(seen > longest - longest / 50); /* and it is no wild guess */
    }
}

Test(schedule, steps_jitter_and_end)
{
    static const int64_t minutes[] = {2, 5, 10, 15, 30, 60, 120, 1440, 4320, 4320};
    struct schedule s;
    schedule_default(&s);
    for (uint32_t attempts = 1; attempts <= 8; attempts++) {
        struct schedule_progress p = {.arrived_ms = 1000000, .attempts = attempts};
        int64_t step_ms = minutes[attempts - 1] * MINUTE, least = INT64_MAX, most = 0;
        for (uint64_t r = 0; r < 5000; r++) {
            int64_t wait_ms = schedule_next(&s, 1000000, &p, spread(r)).due_ms - 1000000;
            least = wait_ms < least ? wait_ms : least;
            most = wait_ms > most ? wait_ms : most;
        }
        cr_assert_geq(least, step_ms - step_ms / 10);
        cr_assert_leq(most, step_ms + step_ms / 10);
        cr_assert_gt(most - least, step_ms / 10); /* they do spread */
    }
    /* The last attempt is at the expiry, not behind it. */
    struct schedule_progress p = {.attempts = 9};
    cr_assert_eq(schedule_next(&s, 4 * DAY, &p, 0).due_ms, 5 * DAY);
    cr_assert_not(schedule_expired(&s, 5 * DAY - 1, &p));
    cr_assert(schedule_expired(&s, 5 * DAY, &p));
    cr_assert_eq(schedule_end_ms(&s, &p), 5 * DAY);
    /* Somebody may have set another end. */
    p.end_ms = DAY;
    cr_assert(schedule_expired(&s, DAY, &p));
    cr_assert_not(schedule_expired(&s, DAY - 1, &p));
    cr_assert_eq(schedule_next(&s, DAY - 1, &p, 0).due_ms, DAY);
}

/* A whole life, step by step: what the operator wrote is what happens, and delay reports are on
 * time whatever the steps are. */
Test(schedule, life)
{
    static const struct {
        const char *name;
        struct schedule schedule;
        bool tells_delays;
        int64_t attempts[12]; /* ages in minutes; 0 ends */
        unsigned extra;       /* bits: which of them are for a report alone */
    } lives[] = {
        {"by time, reports in between",
         {.retry_ms = {2 * MINUTE, 10 * MINUTE, HOUR},
          .retry_count = 3,
          .notify_ms = {30 * MINUTE, 3 * HOUR},
          .notify_count = 2,
          .expire_ms = 4 * HOUR},
         true,
         {2, 12, 30, 90, 150, 180, 240},
         1 << 2 | 1 << 5},
        {"the same for who wants no reports",
         {.retry_ms = {2 * MINUTE, 10 * MINUTE, HOUR},
          .retry_count = 3,
          .notify_ms = {30 * MINUTE, 3 * HOUR},
          .notify_count = 2,
          .expire_ms = 4 * HOUR},
         false,
         {2, 12, 72, 132, 192, 240},
         0},
        {"by attempts: the report costs none",
         {.retry_ms = {15 * MINUTE, 30 * MINUTE},
          .retry_count = 2,
          .notify_ms = {20 * MINUTE},
          .notify_count = 1,
          .attempts_max = 4},
         true,
         {15, 20, 50, 80},
         1 << 1},
    };
    for (size_t i = 0; i < mx_countof(lives); i++) {
        const struct schedule *s = &lives[i].schedule;
        int64_t now = 0;
        uint32_t n = 0;
        bool extra = false;
        struct schedule_progress p = {.tells_delays = lives[i].tells_delays};
        for (;;) { /* the attempt at `now` fails */
            p.attempts += !extra;
            if (schedule_expired(s, now, &p)) {
                break;
            }
            p.notified = schedule_notices_due(s, now, 0);
            uint32_t step = p.attempts - 1 < s->retry_count ? p.attempts - 1 : s->retry_count - 1;
            struct schedule_time next =
                schedule_next(s, now, &p, middle((int64_t)s->retry_ms[step]));
            extra = next.is_extra;
            now = next.due_ms;
            cr_assert_eq(now, lives[i].attempts[n] * MINUTE, "%s: attempt %u at %lld min",
                         lives[i].name, n, (long long)(now / MINUTE));
            cr_assert_eq(extra, lives[i].extra >> n & 1, "%s: attempt %u", lives[i].name, n);
            n++;
        }
        cr_assert_eq(lives[i].attempts[n], 0, "%s: ends after %u", lives[i].name, n);
    }
}

/* After a long silence all reports that were due are one. */
Test(schedule, notices_due)
{
    struct schedule s;
    schedule_default(&s);
    cr_assert_eq(schedule_notices_due(&s, DAY - 1, 0), 0);
    cr_assert_eq(schedule_notices_due(&s, DAY, 0), 1);
    cr_assert_eq(schedule_notices_due(&s, 3 * DAY - 1, 0), 1);
    cr_assert_eq(schedule_notices_due(&s, 4 * DAY, 0), 2);
    cr_assert_eq(schedule_notices_due(&s, -DAY, 0), 0); /* the calendar was set back */
}

Test(schedule, attempts)
{
    struct schedule s;
    schedule_default(&s);
    s.attempts_max = 3;
    struct schedule_progress p = {.arrived_ms = 7, .attempts = 2};
    cr_assert_not(schedule_expired(&s, 100 * DAY, &p));
    cr_assert_eq(schedule_end_ms(&s, &p), 0);
    p.attempts = 3;
    cr_assert(schedule_expired(&s, 8, &p));
    p.end_ms = 9; /* an end that was set goes first */
    cr_assert_not(schedule_expired(&s, 8, &p));
}

Test(schedule, by_name)
{
    struct schedule list[2];
    schedule_default(&list[0]);
    schedule_default(&list[1]);
    list[0].name = SLICE_LITERAL("local");
    list[1].name = SLICE_LITERAL("remote");
    struct image image = {.schedules = list, .schedule_count = 2};
    cr_assert(image_schedule(&image, SLICE_LITERAL("remote")) == &list[1]);
    cr_assert_null(image_schedule(&image, SLICE_LITERAL("Remote")));
    cr_assert_null(image_schedule(&image, SLICE_EMPTY));
}
