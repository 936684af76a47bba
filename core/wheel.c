#include "core/wheel.h"

#include "core/check.h"

#include <string.h>

#define TICK_NS (WHEEL_TICK_MS * MX_NS_PER_MS)

void wheel_init(struct wheel *wheel, uint64_t now_ns)
{
    wheel->tick = now_ns / TICK_NS;
    wheel->armed = 0;
    for (unsigned i = 0; i < WHEEL_SLOTS; i++) {
        list_init(&wheel->near[i]);
        list_init(&wheel->far[i]);
    }
    memset(wheel->marks, 0, sizeof wheel->marks);
    list_init(&wheel->overflow);
    list_init(&wheel->due);
}

static void near_push(struct wheel *wheel, struct timer *timer, unsigned slot)
{
    list_push_back(&wheel->near[slot], &timer->node);
    wheel->marks[slot / 64] |= UINT64_C(1) << slot % 64;
}

/* The first slot with timers, from `slot` on; WHEEL_SLOTS: none. */
static unsigned near_next(struct wheel *wheel, unsigned slot)
{
    while (slot < WHEEL_SLOTS) {
        uint64_t marks = wheel->marks[slot / 64] >> slot % 64;
        if (marks == 0) {
            slot = (slot / 64 + 1) * 64;
            continue;
        }
        slot += (unsigned)__builtin_ctzll(marks);
        if (!list_empty(&wheel->near[slot])) {
            return slot;
        }
        wheel->marks[slot / 64] &= ~(UINT64_C(1) << slot % 64); /* all were cancelled */
    }
    return WHEEL_SLOTS;
}

/* Puts a timer where its tick belongs; ticks that have passed go to the due list. */
static void place(struct wheel *wheel, struct timer *timer)
{
    /* Rounded up: a timer may be late, never early. */
    uint64_t tick = timer->deadline_ns / TICK_NS + (timer->deadline_ns % TICK_NS != 0);
    if (tick <= wheel->tick) {
        list_push_back(&wheel->due, &timer->node);
    } else if (tick - wheel->tick < WHEEL_SLOTS) {
        near_push(wheel, timer, tick % WHEEL_SLOTS);
    } else if (tick / WHEEL_SLOTS - wheel->tick / WHEEL_SLOTS < WHEEL_SLOTS) {
        list_push_back(&wheel->far[tick / WHEEL_SLOTS % WHEEL_SLOTS], &timer->node);
    } else {
        list_push_back(&wheel->overflow, &timer->node);
    }
}

void wheel_arm(struct wheel *wheel, struct timer *timer, uint64_t deadline_ns)
{
    MX_ASSERT(timer->fire != NULL);
    wheel_cancel(wheel, timer);
    timer->deadline_ns = deadline_ns;
    place(wheel, timer);
    wheel->armed++;
}

void wheel_cancel(struct wheel *wheel, struct timer *timer)
{
    if (timer_armed(timer)) {
        list_remove(&timer->node);
        MX_ASSERT(wheel->armed > 0);
        wheel->armed--;
    }
}

static void replace_all(struct wheel *wheel, struct list *from)
{
    struct list moving;
    list_init(&moving);
    list_splice(&moving, from);
    struct list_node *node;
    while ((node = list_pop_front(&moving)) != NULL) {
        place(wheel, mx_container_of(node, struct timer, node));
    }
}

static void step(struct wheel *wheel)
{
    wheel->tick++;
    if (wheel->tick % WHEEL_SLOTS == 0) {
        uint64_t turn = wheel->tick / WHEEL_SLOTS;
        if (turn % WHEEL_SLOTS == 0) {
            replace_all(wheel, &wheel->overflow);
        }
        replace_all(wheel, &wheel->far[turn % WHEEL_SLOTS]);
    }
    list_splice(&wheel->due, &wheel->near[wheel->tick % WHEEL_SLOTS]);
}

size_t wheel_advance(struct wheel *wheel, uint64_t now_ns, size_t max_fire)
{
    uint64_t target = now_ns / TICK_NS;
    if (wheel->armed == 0 && target > wheel->tick) {
        wheel->tick = target; /* nothing to find on the way */
    }
    while (wheel->tick < target) {
        step(wheel);
    }
    size_t fired = 0;
    struct list_node *node;
    while (fired < max_fire && (node = list_pop_front(&wheel->due)) != NULL) {
        struct timer *timer = mx_container_of(node, struct timer, node);
        wheel->armed--;
        fired++;
        timer->fire(timer, now_ns);
    }
    return fired;
}

uint64_t wheel_wait_ns(struct wheel *wheel, uint64_t now_ns)
{
    if (!list_empty(&wheel->due)) {
        return 0;
    }
    if (wheel->armed == 0) {
        return UINT64_MAX;
    }
    unsigned slot = wheel->tick % WHEEL_SLOTS;
    uint64_t at_ns = (wheel->tick + near_next(wheel, slot + 1) - slot) * TICK_NS;
    return at_ns > now_ns ? at_ns - now_ns : 0;
}
