/* Workers of virtual queues that have fewer than there are cores. Where each core can have a part,
 * it has it for good (smtp/virtual_queue.h); of fewer, the core that the queue's name hashes to
 * lends them (smtp/lending.h), one delivery at a time, and asks them back while others wait. So a
 * limit is what it says, on any number of cores.
 *
 * What cannot be told now stays as numbers and is told later. A worker that comes for a queue that
 * is not leased any more goes back at once. While a change of the configuration reaches the cores,
 * deliveries that are under way end as they began. */
#pragma once

#include "core/wheel.h"
#include "smtp/lending.h"
#include "smtp/tour.h"
#include "smtp/virtual_queue.h"

struct deliver;

enum { WORKER_ASK_AGAIN_MS = 1000, WORKER_TELL_AGAIN_MS = 100 };

/* What this core has of one queue. */
struct worker_lease {
    uint64_t key; /* of its name; 0: it is not leased */
    uint32_t lent;
    uint32_t recalled; /* asked back since the last turn */
    uint32_t owed;     /* asked back: given as soon as nobody works with them */
    bool asked;
    uint64_t asked_ns;
};

/* A queue whose workers this core lends. */
struct worker_owner {
    uint64_t key; /* 0: a free place */
    struct lending lending;
    struct worker_untold {
        uint16_t granted, recalled;
    } * untold; /* by core */
};

struct worker_leases {
    struct deliver *d;
    struct tours tours;
    struct worker_lease slots[QUEUE_SLOTS]; /* as the queues' */
    struct worker_owner owners[QUEUE_SLOTS];
    void *memory;    /* of the owners' cores */
    uint32_t leased; /* bit per slot */
    struct timer again;
};

/* MX_ERR_NOMEM. */
MX_MUST_CHECK mx_err worker_leases_open(struct worker_leases *leases, struct deliver *d);
void worker_leases_close(struct worker_leases *leases); /* a zeroed one is fine */
/* After virtual_queues_switch. */
void worker_leases_switch(struct worker_leases *leases, const struct image *image);
/* Once per turn, when the hops have had theirs: asks for what is missing, gives what is over. */
void worker_leases_turn(struct worker_leases *leases);
