/* Messages that visit cores, one after the other, and are never lost: what cannot be sent now (the
 * other core's mailbox is full) waits here and is sent in a moment. Who sends one gives it away; it
 * begins a block of its own (free). A core that is ending frees what comes: whatever it would have
 * counted ends with the process. */
#pragma once

#include "core/list.h"
#include "core/wheel.h"
#include "io/mbox.h"

struct shard;
struct tour;

enum { TOUR_RETRY_MS = 5 };

struct tours {
    struct shard *shard;
    struct list waiting;
    struct timer again;
    unsigned self, cores;
    bool stopping;
};

struct tour {
    struct mbox_msg msg; /* first: the block begins here */
    struct list_node node;
    unsigned to;
    /* At the core that it was sent to; its service is there. */
    void (*arrive)(struct tour *tour, struct shard *at);
};

void tours_open(struct tours *tours, struct shard *shard);
/* From now on nothing is sent: it is freed. */
void tours_stop(struct tours *tours);
void tours_close(struct tours *tours); /* a zeroed one is fine */
/* To core `to`; to this one: it arrives in a moment. */
void tours_send(struct tours *tours, struct tour *tour, unsigned to);
/* The core that counts what has this key. */
static inline unsigned tours_owner(const struct tours *tours, uint64_t key)
{
    return (unsigned)(key % tours->cores);
}
