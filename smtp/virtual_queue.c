#include "smtp/virtual_queue.h"

#include "core/check.h"

#include <string.h>

static uint32_t bit(unsigned slot)
{
    return UINT32_C(1) << slot;
}

static void note_open(struct virtual_queues *queues, unsigned slot)
{
    const struct queue_slot *s = &queues->slots[slot];
    bool is_open = s->used < s->workers && !virtual_queue_is_paused(queues, slot);
    queues->open = is_open ? queues->open | bit(slot) : queues->open & ~bit(slot);
}

void virtual_queues_init(struct virtual_queues *queues)
{
    *queues = (struct virtual_queues){0};
    queues->slots[0] = (struct queue_slot){.in_image = true, .workers = UINT32_MAX};
    note_open(queues, 0);
}

static bool is_called(const struct queue_slot *slot, struct slice name)
{
    return slice_equal(slice_of(slot->name, slot->name_len), name);
}

static bool is_free(const struct queue_slot *slot)
{
    return !slot->in_image && slot->used == 0 && slot->waiting == 0;
}

/* QUEUE_SLOTS when there is none. Slots in `taken` are not free any more. */
static unsigned find_slot(const struct virtual_queues *queues, struct slice name, uint32_t taken)
{
    unsigned found = QUEUE_SLOTS;
    for (unsigned i = 0; i < QUEUE_SLOTS; i++) {
        const struct queue_slot *slot = &queues->slots[i];
        bool is_its = slot->name_len > 0 && is_called(slot, name) && !(taken & bit(i));
        if (is_its && !is_free(slot)) {
            return i;
        }
        if (found == QUEUE_SLOTS && is_free(slot) && !(taken & bit(i))) {
            found = i;
        }
    }
    return found;
}

mx_err virtual_queues_prepare(struct virtual_queues *queues, const struct image *image)
{
    uint32_t taken = 0;
    MX_ASSERT(image->queue_count <= IMAGE_QUEUES_MAX);
    /* Those that have one first, so that no new one gets it. */
    for (unsigned round = 0; round < 2; round++) {
        for (uint32_t i = 0; i < image->queue_count; i++) {
            if (round == 1 && queues->next_of_image[i] != QUEUE_SLOTS) {
                continue;
            }
            unsigned slot = find_slot(queues, image->queues[i].name, taken);
            bool has_it = slot < QUEUE_SLOTS && !is_free(&queues->slots[slot]);
            if (round == 1 && slot == QUEUE_SLOTS) {
                return MX_ERR_LIMIT;
            }
            queues->next_of_image[i] = (uint8_t)(round == 1 || has_it ? slot : QUEUE_SLOTS);
            taken |= queues->next_of_image[i] < QUEUE_SLOTS ? bit(queues->next_of_image[i]) : 0;
        }
    }
    return MX_OK;
}

static uint32_t share_of(uint32_t workers, unsigned core, unsigned cores)
{
    uint32_t share = workers / cores + (core < workers % cores);
    return share > 0 ? share : 1;
}

void virtual_queues_switch(struct virtual_queues *queues, const struct image *image, unsigned core,
                           unsigned cores)
{
    for (unsigned i = 0; i < QUEUE_SLOTS; i++) {
        queues->slots[i].in_image = i == 0 && image->queue_count == 0;
    }
    if (image->queue_count == 0) {
        queues->slots[0].workers = UINT32_MAX;
        queues->slots[0].name_len = 0;
        note_open(queues, 0);
    }
    for (uint32_t i = 0; i < image->queue_count; i++) {
        struct slice name = image->queues[i].name;
        unsigned at = queues->next_of_image[i];
        struct queue_slot *slot = &queues->slots[at];
        MX_ASSERT(name.len <= QUEUE_NAME_MAX);
        memcpy(slot->name, name.ptr, name.len);
        slot->name_len = (uint8_t)name.len;
        slot->in_image = true;
        slot->workers = share_of(image->queues[i].workers, core, cores);
        queues->of_image[i] = (uint8_t)at;
        note_open(queues, at);
    }
}

bool virtual_queues_pause(struct virtual_queues *queues, const struct queue_names *paused)
{
    uint32_t before = queues->paused;
    queues->paused = 0;
    for (unsigned slot = 0; slot < QUEUE_SLOTS; slot++) {
        const struct queue_slot *s = &queues->slots[slot];
        for (unsigned i = 0; s->in_image && i < paused->count; i++) {
            queues->paused |= is_called(s, slice_of_text(paused->names[i])) ? bit(slot) : 0;
        }
        note_open(queues, slot);
    }
    return (before & ~queues->paused) != 0;
}

void virtual_queue_resize(struct virtual_queues *queues, unsigned slot, uint32_t workers)
{
    queues->slots[slot].workers = workers;
    note_open(queues, slot);
}

void virtual_queue_take(struct virtual_queues *queues, unsigned slot)
{
    MX_ASSERT(queues->open & bit(slot));
    queues->slots[slot].used++;
    note_open(queues, slot);
}

bool virtual_queue_release(struct virtual_queues *queues, unsigned slot)
{
    bool was_open = queues->open & bit(slot);
    MX_ASSERT(queues->slots[slot].used > 0);
    queues->slots[slot].used--;
    note_open(queues, slot);
    return !was_open && (queues->open & bit(slot)) != 0;
}
