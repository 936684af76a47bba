#include "core/wheel.h"

#include <criterion/criterion.h>
#include <stdlib.h>

enum { TIMERS = 2000 };

struct probe {
    struct timer timer;
    uint64_t fired_ns;
    unsigned fired;
    struct wheel *wheel;
    uint64_t again_ns; /* re-arms itself once */
};

static void fire(struct timer *timer, uint64_t now_ns)
{
    struct probe *probe = mx_container_of(timer, struct probe, timer);
    probe->fired++;
    probe->fired_ns = now_ns;
    if (probe->again_ns != 0) {
        uint64_t at_ns = probe->again_ns;
        probe->again_ns = 0;
        wheel_arm(probe->wheel, timer, at_ns);
    }
}

static uint64_t tick_ns(void)
{
    return WHEEL_TICK_MS * MX_NS_PER_MS;
}

/* Never early, at most one tick late, exactly once; over all levels, in odd steps of time. */
Test(wheel, fires_each_once_and_never_early)
{
    static struct wheel wheel;
    static struct probe probes[TIMERS];
    uint64_t now_ns = 12345678901;
    srand(7);
    wheel_init(&wheel, now_ns);
    for (unsigned i = 0; i < TIMERS; i++) {
        uint64_t range_ms = i % 3 == 0 ? 20000 : i % 3 == 1 ? 3000000 : 40000000;
        uint64_t delay_ms = (uint64_t)rand() % range_ms;
        probes[i] = (struct probe){.timer = {.fire = fire}};
        wheel_arm(&wheel, &probes[i].timer, now_ns + delay_ms * MX_NS_PER_MS);
    }
    cr_assert_eq(wheel.armed, TIMERS);
    while (wheel.armed > 0) {
        uint64_t wait_ns = wheel_wait_ns(&wheel, now_ns);
        cr_assert_neq(wait_ns, UINT64_MAX);
        now_ns += wait_ns > 0 ? wait_ns : 1;
        (void)wheel_advance(&wheel, now_ns, 10);
    }
    for (unsigned i = 0; i < TIMERS; i++) {
        cr_assert_eq(probes[i].fired, 1);
        cr_assert_geq(probes[i].fired_ns, probes[i].timer.deadline_ns);
        cr_assert_lt(probes[i].fired_ns, probes[i].timer.deadline_ns + 2 * tick_ns());
    }
    cr_assert_eq(wheel_wait_ns(&wheel, now_ns), UINT64_MAX);
}

/* By looking at every slot. */
static uint64_t wait_by_looking(const struct wheel *wheel, uint64_t now_ns)
{
    uint64_t tick = wheel->tick;
    do {
        tick++;
    } while (tick % WHEEL_SLOTS != 0 && list_empty(&wheel->near[tick % WHEEL_SLOTS]));
    uint64_t at_ns = tick * tick_ns();
    return at_ns > now_ns ? at_ns - now_ns : 0;
}

Test(wheel, waits_for_the_next_slot_with_timers)
{
    static struct wheel wheel;
    static struct probe probes[TIMERS];
    uint64_t now_ns = 0;
    srand(11);
    wheel_init(&wheel, now_ns);
    for (unsigned i = 0; i < TIMERS; i++) {
        probes[i].timer.fire = fire;
    }
    for (unsigned i = 0; i < 20000; i++) {
        struct timer *timer = &probes[rand() % 40].timer;
        uint64_t after_ms = (uint64_t)rand() % (rand() % 4 == 0 ? 100000 : 30000);
        if (rand() % 3 == 0) {
            wheel_cancel(&wheel, timer);
        } else {
            wheel_arm(&wheel, timer, now_ns + after_ms * MX_NS_PER_MS);
        }
        if (wheel.armed > 0 && list_empty(&wheel.due)) {
            cr_assert_eq(wheel_wait_ns(&wheel, now_ns), wait_by_looking(&wheel, now_ns));
        }
        now_ns += (uint64_t)rand() % (2 * tick_ns());
        (void)wheel_advance(&wheel, now_ns, 10);
    }
}

Test(wheel, cancelled_and_rearmed_timers)
{
    static struct wheel wheel;
    struct probe a = {.timer = {.fire = fire}}, b = {.timer = {.fire = fire}};
    wheel_init(&wheel, 0);
    wheel_arm(&wheel, &a.timer, 5 * tick_ns());
    wheel_arm(&wheel, &b.timer, 5 * tick_ns());
    wheel_cancel(&wheel, &a.timer);
    wheel_cancel(&wheel, &a.timer); /* harmless */
    wheel_arm(&wheel, &b.timer, 50 * tick_ns());
    cr_assert_eq(wheel.armed, 1);
    cr_assert_eq(wheel_advance(&wheel, 10 * tick_ns(), 100), 0);
    cr_assert_eq(wheel_advance(&wheel, 50 * tick_ns(), 100), 1);
    cr_assert_eq(a.fired, 0);
    cr_assert_eq(b.fired, 1);
    cr_assert_not(timer_armed(&b.timer));
}

Test(wheel, a_timer_may_arm_itself_again)
{
    static struct wheel wheel;
    struct probe a = {.timer = {.fire = fire}, .wheel = &wheel, .again_ns = 9 * tick_ns()};
    wheel_init(&wheel, 0);
    wheel_arm(&wheel, &a.timer, tick_ns());
    (void)wheel_advance(&wheel, 4 * tick_ns(), 100);
    cr_assert_eq(a.fired, 1);
    (void)wheel_advance(&wheel, 8 * tick_ns(), 100);
    cr_assert_eq(a.fired, 1);
    (void)wheel_advance(&wheel, 9 * tick_ns(), 100);
    cr_assert_eq(a.fired, 2);
}

Test(wheel, work_per_call_is_bounded)
{
    static struct wheel wheel;
    static struct probe probes[100];
    wheel_init(&wheel, 0);
    for (unsigned i = 0; i < 100; i++) {
        probes[i] = (struct probe){.timer = {.fire = fire}};
        wheel_arm(&wheel, &probes[i].timer, tick_ns());
    }
    cr_assert_eq(wheel_advance(&wheel, 2 * tick_ns(), 30), 30);
    cr_assert_eq(wheel_wait_ns(&wheel, 2 * tick_ns()), 0);
    cr_assert_eq(wheel_advance(&wheel, 2 * tick_ns(), 100), 70);
}
