/* When to try again, when to tell the sender, when to give up: one MtaDeliverySchedule. Pure;
 * intervals in ms, times as wall time in ms. */
#pragma once

#include "core/slice.h"

enum { SCHEDULE_STEPS_MAX = 32, SCHEDULE_ATTEMPTS_MAX = 250 };

struct schedule {
    struct slice name;
    uint32_t queue;                        /* position of its virtual queue in image->queues */
    uint64_t retry_ms[SCHEDULE_STEPS_MAX]; /* the last one repeats */
    uint32_t retry_count;
    uint64_t notify_ms[SCHEDULE_STEPS_MAX]; /* age at which delay DSNs are due, ascending */
    uint32_t notify_count;
    uint64_t expire_ms;    /* age at which a temporary failure becomes final, or: */
    uint32_t attempts_max; /* after so many attempts it does; 0: expire_ms decides */
};

/* What has happened to a recipient so far. */
struct schedule_progress {
    int64_t arrived_ms;
    int64_t end_ms;    /* 0: as the schedule says, else when it is given up */
    uint32_t attempts; /* made, >= 1 */
    uint32_t notified; /* of notify_ms, those that are done with */
    bool tells_delays; /* somebody wants delay DSNs */
};

struct schedule_time {
    int64_t due_ms;
    bool is_extra; /* only because a delay DSN is due then: it does not count as a step */
};

/* 2m 5m 10m 15m 30m 1h 2h 1d 3d; notify 1d 3d; expiry 5 d. */
void schedule_default(struct schedule *s);
/* The next attempt: now + step with +-10 % jitter taken from random; earlier when a delay DSN is
 * due before, as what it says has to be true then; never past expiry (the last attempt happens at
 * expiry). */
struct schedule_time schedule_next(const struct schedule *s, int64_t now_ms,
                                   const struct schedule_progress *progress, uint64_t random);
/* No wait after so many attempts is longer. */
uint64_t schedule_longest_wait_ms(const struct schedule *s, uint32_t attempts);
/* True when a failure now is final; progress->attempts counts it. */
bool schedule_expired(const struct schedule *s, int64_t now_ms,
                      const struct schedule_progress *progress);
/* How many of notify_ms have passed; above what was notified so far, a delay DSN is due. */
uint32_t schedule_notices_due(const struct schedule *s, int64_t now_ms, int64_t arrived_ms);
/* When it is given up; 0 when that depends on the attempts alone. */
int64_t schedule_end_ms(const struct schedule *s, const struct schedule_progress *progress);
