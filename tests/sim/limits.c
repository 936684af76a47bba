#include "tests/sim/limits.h"

#include "smtp/deliver.h"

static bool some, paused;
static uint32_t busy_before;

static const struct queue_conf queues[] = {
    {.name = {(const uint8_t *)LIMITS_QUEUE, 3}, .workers = LIMITS_WORKERS}};
static const struct quota_conf quotas[] = {
    {.name = {(const uint8_t *)"queued", 6}, .id = 1, .messages_max = LIMITS_QUEUED}};
static struct throttle_conf throttles[] = {
    {.name = {(const uint8_t *)"leaving", 7}, .id = 1, .parts = LIMIT_RCPT_DOMAIN}};

void limits_reset(bool on)
{
    some = on;
    throttles[0].rate = rate_of(4, 2000);
}

bool limits_set(void)
{
    return some;
}

void limits_image(struct image *image)
{
    if (some) {
        image->queues = queues;
        image->queue_count = mx_countof(queues);
        image->traffic = (struct limits_conf){.quotas = quotas,
                                              .quota_count = mx_countof(quotas),
                                              .throttles = throttles,
                                              .throttle_count = mx_countof(throttles)};
    }
}

uint32_t limits_busy(const struct deliver *d)
{
    uint32_t busy = 0;
    for (unsigned i = 0; some && i < QUEUE_SLOTS; i++) {
        const struct queue_slot *slot = &d->queues.slots[i];
        busy += slot->name_len == queues[0].name.len ? slot->used : 0;
    }
    return busy;
}

void limits_pause(bool yes)
{
    paused = yes;
    busy_before = UINT32_MAX;
}

bool limits_rest(uint32_t busy)
{
    bool rests = !paused || busy <= busy_before;
    busy_before = busy;
    return rests;
}
