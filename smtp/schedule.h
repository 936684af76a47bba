/* When to try again, when to tell the sender, when to give up. Pure; intervals in ms. */
#pragma once

#include "core/base.h"

enum { SCHEDULE_STEPS_MAX = 32 };

struct schedule {
    uint64_t retry_ms[SCHEDULE_STEPS_MAX]; /* the last one repeats */
    uint32_t retry_count;
    uint64_t notify_ms[SCHEDULE_STEPS_MAX]; /* age at which delay DSNs are due */
    uint32_t notify_count;
    uint64_t expire_ms; /* age at which a temporary failure becomes final */
};

/* 2m 5m 10m 15m 30m 1h 2h 1d 3d; notify 1d 3d; expiry 5 d. */
void schedule_default(struct schedule *s);
/* Wall time of the next attempt: now + step with +-10 % jitter taken from random; never past expiry
 * of a message that arrived at arrived_ms (the last attempt happens at expiry). attempts = attempts
 * made so far, >= 1. */
int64_t schedule_next_ms(const struct schedule *s, int64_t now_ms, int64_t arrived_ms,
                         uint32_t attempts, uint64_t random);
/* No wait after so many attempts is longer. */
uint64_t schedule_longest_wait_ms(const struct schedule *s, uint32_t attempts);
bool schedule_expired(const struct schedule *s, int64_t now_ms, int64_t arrived_ms);
/* True when a delay DSN is due: notified = how many were sent so far. */
bool schedule_notify_due(const struct schedule *s, int64_t now_ms, int64_t arrived_ms,
                         uint32_t notified);
