/* Hierarchical timer wheel: O(1) arm and cancel, one per core. Time is a parameter; ticks are
 * WHEEL_TICK_MS. Timers never fire early; they fire at most one tick late plus the caller's delay.
 * Two levels of 256 slots reach 6.8 hours; later deadlines wait in an overflow list that is looked
 * through once per turn of the upper level. */
#pragma once

#include "core/list.h"

enum {
    WHEEL_TICK_MS = 100,
    WHEEL_SLOTS = 256,
};

struct timer {
    struct list_node node; /* not linked = not armed */
    uint64_t deadline_ns;  /* monotonic */
    void (*fire)(struct timer *timer, uint64_t now_ns);
};

struct wheel {
    uint64_t tick; /* the last tick that was processed */
    size_t armed;
    struct list near[WHEEL_SLOTS];
    uint64_t marks[WHEEL_SLOTS / 64]; /* near slots with timers, or that had some */
    struct list far[WHEEL_SLOTS];
    struct list overflow;
    struct list due; /* expired, not yet fired (bounded work per turn) */
};

void wheel_init(struct wheel *wheel, uint64_t now_ns);
/* Arms or re-arms. timer->fire must be set. The timer belongs to the caller and must outlive it. */
void wheel_arm(struct wheel *wheel, struct timer *timer, uint64_t deadline_ns);
/* Harmless on a timer that is not armed. */
void wheel_cancel(struct wheel *wheel, struct timer *timer);
static inline bool timer_armed(const struct timer *timer)
{
    return list_linked(&timer->node);
}
/* Fires what is due, at most max_fire timers; a fire function may arm and cancel any timer.
 * Returns the number fired; what remains due fires at the next call. */
size_t wheel_advance(struct wheel *wheel, uint64_t now_ns, size_t max_fire);
/* Nanoseconds until the next call to wheel_advance is needed: 0 = something is due,
 * UINT64_MAX = nothing is armed. Bounded by one turn of the near level (25.6 s). Asked in every
 * turn of a loop, so it costs the same however far the next timer is. */
uint64_t wheel_wait_ns(struct wheel *wheel, uint64_t now_ns);
