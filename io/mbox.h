/* Messages between threads: for every pair of threads one bounded single-producer ring. Behind the
 * cores 0..count-1 the management loop has the number `count`, and its worker `count + 1`. A
 * message is owned by the receiver when mbox_send succeeded; the receiver calls msg->free_fn (or
 * keeps it). Wake-ups happen only when the receiver sleeps. */
#pragma once

#include "core/err.h"

struct shard;
struct mbox_hub;

enum { MBOX_CELLS = 1024, MBOX_OTHERS = 2 /* threads that are no cores */ };

struct mbox_msg {
    void (*receive)(struct mbox_msg *msg,
                    struct shard *at); /* runs in the receiver's thread;
                                          at is NULL in a thread without a shard */
};

/* A hub for `cores` cores plus the management threads. */
MX_MUST_CHECK mx_err mbox_hub_new(struct mbox_hub **out_hub, unsigned cores);
void mbox_hub_free(struct mbox_hub *hub);
/* Registers how thread `index` is woken: by its ring (cores) or its eventfd (management). NULL and
 * -1 end it: after the call no other thread uses the former one, so it may be closed, while the
 * others go on sending. */
struct ring;
void mbox_attach_ring(struct mbox_hub *hub, unsigned index, struct ring *ring);
void mbox_attach_eventfd(struct mbox_hub *hub, unsigned index, int eventfd);
/* From thread `from` to thread `to`. MX_ERR_AGAIN when the ring is full: the caller keeps msg. */
MX_MUST_CHECK mx_err mbox_send(struct mbox_hub *hub, unsigned from, unsigned to,
                               struct mbox_msg *msg);
/* Delivers what waits for thread `index`; returns how many. */
unsigned mbox_drain(struct mbox_hub *hub, unsigned index, struct shard *at, unsigned max);
/* Announces that `index` is about to wait; returns false if something is there already. */
bool mbox_sleep(struct mbox_hub *hub, unsigned index);
void mbox_awake(struct mbox_hub *hub, unsigned index);
