/* The virtual queues of one core: how many deliveries of each may be under way. Pure.
 *
 * A queue keeps its slot as long as it is in the image or deliveries of it are left, so a change of
 * the configuration moves nobody. A queue that is gone ends with the bound that it had. */
#pragma once

#include "core/err.h"
#include "route/image.h"

enum { QUEUE_SLOTS = 2 * IMAGE_QUEUES_MAX }; /* those of the image, and as many that are ending */

struct queue_slot {
    uint8_t name[QUEUE_NAME_MAX];
    uint8_t name_len;
    bool in_image;
    uint32_t workers; /* share of this core, or what it was lent (smtp/worker_lease.h) */
    uint32_t used;
    uint32_t waiting; /* at hops */
};

struct virtual_queues {
    struct queue_slot slots[QUEUE_SLOTS];
    uint32_t open;   /* bit per slot: has a worker that is free, and is not paused */
    uint32_t paused; /* likewise: nothing begins */
    uint8_t of_image[IMAGE_QUEUES_MAX];
    uint8_t next_of_image[IMAGE_QUEUES_MAX]; /* of the image that is prepared */
};

/* Without any image: one queue without a bound. */
void virtual_queues_init(struct virtual_queues *queues);
/* Finds slots for the queues of an image. MX_ERR_LIMIT: too many queues that are gone still have
 * deliveries. Changes nothing that matters until virtual_queues_switch. */
MX_MUST_CHECK mx_err virtual_queues_prepare(struct virtual_queues *queues,
                                            const struct image *image);
/* core: number of this core out of `cores`. */
void virtual_queues_switch(struct virtual_queues *queues, const struct image *image, unsigned core,
                           unsigned cores);
/* Those with these names are paused, the others are not; to be told again after a switch. True when
 * one goes on that was paused. */
struct queue_names {
    unsigned count;
    char names[IMAGE_QUEUES_MAX][QUEUE_NAME_MAX + 1];
};
MX_MUST_CHECK bool virtual_queues_pause(struct virtual_queues *queues,
                                        const struct queue_names *paused);
static inline bool virtual_queue_is_paused(const struct virtual_queues *queues, unsigned slot)
{
    return queues->paused >> slot & 1;
}
/* Another number of workers here. */
void virtual_queue_resize(struct virtual_queues *queues, unsigned slot, uint32_t workers);
/* The slot of a schedule's queue. */
static inline unsigned virtual_queue_slot(const struct virtual_queues *queues,
                                          const struct image *image,
                                          const struct schedule *schedule)
{
    return schedule != NULL && schedule->queue < image->queue_count
               ? queues->of_image[schedule->queue]
               : 0;
}
/* Takes a free worker; there has to be one. */
void virtual_queue_take(struct virtual_queues *queues, unsigned slot);
/* True when that was the first free one: who waits can go on. */
MX_MUST_CHECK bool virtual_queue_release(struct virtual_queues *queues, unsigned slot);
