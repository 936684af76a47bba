/* What a core's loop is doing, written by the loop and read by management's threads: the one thing
 * that is known about a core without asking it. Single writer, relaxed: the reader
 * wants to know what holds a core up, not the order of things. */
#pragma once

#include "core/base.h"

#include <stdatomic.h>

/* The steps of a turn (io/shard.h), in their order. */
enum pulse_step {
    PULSE_WAITING, /* in the kernel, for something to happen */
    PULSE_COMPLETIONS,
    PULSE_JOBS,
    PULSE_TIMERS,
    PULSE_MESSAGES,
    PULSE_STREAMS,
    PULSE_HOOKS, /* journal, schedulers */
    PULSE_OUTPUT,
    PULSE_STEPS
};

struct pulse {
    _Atomic uint64_t began_ns;  /* of the present turn, monotonic */
    _Atomic uint64_t synced_ns; /* when something last became durable, monotonic; 0: never */
    _Atomic uint32_t step;      /* enum pulse_step */
};

static inline void pulse_set(struct pulse *pulse, enum pulse_step step)
{
    atomic_store_explicit(&pulse->step, (uint32_t)step, memory_order_relaxed);
}

static inline void pulse_begin(struct pulse *pulse, uint64_t now_ns)
{
    atomic_store_explicit(&pulse->began_ns, now_ns, memory_order_relaxed);
}

static inline void pulse_synced(struct pulse *pulse, uint64_t now_ns)
{
    atomic_store_explicit(&pulse->synced_ns, now_ns, memory_order_relaxed);
}

/* From any thread. */
static inline uint64_t pulse_synced_ns(const struct pulse *pulse)
{
    return atomic_load_explicit(&pulse->synced_ns, memory_order_relaxed);
}

/* From any thread. How long the present turn has been at work, in ns; 0 while it waits. */
static inline uint64_t pulse_busy_ns(const struct pulse *pulse, uint64_t now_ns,
                                     enum pulse_step *out_step)
{
    uint32_t step = atomic_load_explicit(&pulse->step, memory_order_relaxed);
    uint64_t began_ns = atomic_load_explicit(&pulse->began_ns, memory_order_relaxed);
    *out_step = step < PULSE_STEPS ? (enum pulse_step)step : PULSE_WAITING;
    return *out_step == PULSE_WAITING || now_ns < began_ns ? 0 : now_ns - began_ns;
}
