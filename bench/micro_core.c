/* Timers, hashes, pools, counters of rates. */
#include "bench/micro.h"
#include "core/check.h"
#include "core/hash.h"
#include "core/pool.h"
#include "core/rate_table.h"
#include "core/wheel.h"

#include <stdlib.h>

enum {
    TIMERS = 4096,
    SLOTS = 1000,
    HASHED_BYTES = 4096,
    HASHES = 100,
    SLOT_BYTES = 256,
    RATES = 1000
};

struct core {
    struct wheel wheel;
    struct timer timers[TIMERS];
    unsigned fired;
    struct pool pool;
    void *slots[SLOTS];
    struct rate_table *rates;
    uint8_t bytes[HASHED_BYTES];
    uint64_t hash;
};

static const uint64_t begin_ns = 1000 * MX_NS_PER_S;

static void fire(struct timer *timer, uint64_t now_ns)
{
    MX_ASSERT(timer->deadline_ns <= now_ns);
}

static void *make(uint64_t size)
{
    struct core *core = micro_take(sizeof *core);
    (void)size;
    for (unsigned i = 0; i < TIMERS; i++) {
        core->timers[i].fire = fire;
    }
    for (unsigned i = 0; i < HASHED_BYTES; i++) {
        core->bytes[i] = (uint8_t)(i * 31 >> 3);
    }
    core->hash = hash_checksum(slice_of(core->bytes, HASHED_BYTES));
    MX_ASSERT(pool_init(&core->pool, "micro", SLOT_BYTES, SLOTS) == MX_OK);
    MX_ASSERT(rate_table_new(&core->rates, RATE_TABLE_BUCKETS, 7) == MX_OK);
    wheel_init(&core->wheel, begin_ns);
    return core;
}

static void end(void *state)
{
    struct core *core = state;
    pool_fini(&core->pool);
    rate_table_free(core->rates);
    free(core);
}

/* --- timers ------------------------------------------------------------------------------------
 */

static void ready_wheel(void *state)
{
    struct core *core = state;
    for (unsigned i = 0; i < TIMERS; i++) {
        wheel_cancel(&core->wheel, &core->timers[i]);
    }
    wheel_init(&core->wheel, begin_ns);
}

/* Deadlines as sessions have them: within five minutes. */
static uint64_t deadline_ns(unsigned i)
{
    return begin_ns + (uint64_t)(i * 2654435761u % 300000) * MX_NS_PER_MS;
}

/* As a session does with every read: the timer that is armed moves. */
static void run_rearm(void *state)
{
    struct core *core = state;
    for (unsigned i = 0; i < TIMERS; i++) {
        wheel_arm(&core->wheel, &core->timers[i % 64], deadline_ns(i));
    }
    MX_ASSERT(core->wheel.armed == 64);
}

static void run_cancel(void *state)
{
    struct core *core = state;
    for (unsigned i = 0; i < TIMERS; i++) {
        wheel_arm(&core->wheel, &core->timers[i], deadline_ns(i));
        wheel_cancel(&core->wheel, &core->timers[i]);
    }
    MX_ASSERT(core->wheel.armed == 0);
}

static void ready_fire(void *state)
{
    struct core *core = state;
    ready_wheel(core);
    for (unsigned i = 0; i < TIMERS; i++) {
        wheel_arm(&core->wheel, &core->timers[i], deadline_ns(i));
    }
}

static void run_fire(void *state)
{
    struct core *core = state;
    size_t fired = 0;
    uint64_t now_ns = begin_ns;
    for (; now_ns < begin_ns + 301 * MX_NS_PER_S; now_ns += WHEEL_TICK_MS * MX_NS_PER_MS) {
        fired += wheel_advance(&core->wheel, now_ns, TIMERS);
    }
    MX_ASSERT(fired == TIMERS && core->wheel.armed == 0);
}

/* Idle sessions: nothing is due for long, and every turn of a loop asks. */
static void ready_wait(void *state)
{
    struct core *core = state;
    ready_wheel(core);
    for (unsigned i = 0; i < TIMERS; i++) {
        wheel_arm(&core->wheel, &core->timers[i],
                  begin_ns + 300 * MX_NS_PER_S + i % 1000 * MX_NS_PER_MS);
    }
}

static void run_wait(void *state)
{
    struct core *core = state;
    uint64_t shortest_ns = UINT64_MAX;
    for (unsigned i = 0; i < TIMERS; i++) {
        uint64_t wait_ns = wheel_wait_ns(&core->wheel, begin_ns + i);
        shortest_ns = wait_ns < shortest_ns ? wait_ns : shortest_ns;
    }
    MX_ASSERT(shortest_ns > MX_NS_PER_S);
}

/* --- memory ------------------------------------------------------------------------------------
 */

static void run_pool(void *state)
{
    struct core *core = state;
    for (unsigned i = 0; i < SLOTS; i++) {
        core->slots[i] = pool_acquire(&core->pool);
        MX_ASSERT(core->slots[i] != NULL);
    }
    for (unsigned i = 0; i < SLOTS; i++) {
        pool_release(&core->pool, core->slots[i]);
    }
}

static void run_checksum(void *state)
{
    struct core *core = state;
    for (unsigned i = 0; i < HASHES; i++) {
        MX_ASSERT(hash_checksum(slice_of(core->bytes, HASHED_BYTES)) == core->hash);
    }
}

/* Keys as long as those of a sender's domain and a recipient. */
static void run_rates(void *state)
{
    enum { KEY_BYTES = 96 };
    struct core *core = state;
    struct rate rate = rate_of(1000000, 1000);
    for (unsigned i = 0; i < RATES; i++) {
        bool forgotten;
        uint64_t key = rate_table_key(core->rates, slice_of(core->bytes + i, KEY_BYTES));
        MX_ASSERT(rate_table_take(core->rates, key, &rate, begin_ns, &forgotten) == 0);
    }
}

static const struct micro items[] = {
    {"wheel-rearm", "an armed timer moved", TIMERS, 0, false, make, ready_wheel, run_rearm, end},
    {"wheel-cancel", "a timer armed and cancelled", TIMERS, 0, false, make, ready_wheel, run_cancel,
     end},
    {"wheel-fire", "a timer fired, its part of the ticks until then", TIMERS, 0, false, make,
     ready_fire, run_fire, end},
    {"wheel-wait", "how long until the next timer, which is far", TIMERS, 0, false, make,
     ready_wait, run_wait, end},
    {"pool", "a slot taken and given back", SLOTS, 0, false, make, NULL, run_pool, end},
    {"rate-take", "one taken of a rate by key, all cores together", RATES, 0, false, make, NULL,
     run_rates, end},
    {"checksum-4k", "XXH3 of 4 KiB", HASHES, 0, false, make, NULL, run_checksum, end},
};
const struct micro_group micro_core = {items, mx_countof(items)};
