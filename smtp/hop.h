/* A next hop of one core: its queue, its health, its connections. A hop is a route of the image. */
#pragma once

#include "smtp/deliver.h"

/* A hop for a route, with copies of its texts; NULL when memory is out. Not yet in d->hops. domain:
 * of a hop for one domain's mail hosts, else empty. */
struct hop *hop_new(struct deliver *d, const struct route_conf *route, struct slice hostname,
                    struct slice domain);
/* Of one that nothing refers to. */
void hop_free(struct hop *hop);
/* Something waits here that might go on: hop_run in this turn. */
void hop_busy(struct hop *hop);
/* hop_run for all that are busy. */
void hops_run(struct deliver *d);
/* True when the hop serves exactly this route under this name of ours. */
bool hop_is_for(const struct hop *hop, const struct route_conf *route, struct slice hostname);
/* Its route has changed or is gone: transactions on their way end as they would, everything else is
 * given back to be routed anew. Freed by hop_run when nothing is left. */
void hop_retire(struct hop *hop);
/* Takes a delivery into the queue. False: no room, the caller parks the message. */
bool hop_submit(struct hop *hop, struct delivery *delivery);
/* Puts a message that waits for this hop aside (without content). */
void hop_park(struct hop *hop, struct message *msg);
/* Number of the virtual queue (slot) whose turn it is: something of it waits here, and it has a
 * worker free. Negative: none. */
int hop_ready_queue(const struct hop *hop);
/* Next delivery of that queue, or NULL; takes no worker. */
struct delivery *hop_take_of(struct hop *hop, unsigned queue);
/* Next delivery that may begin, with a worker of its queue until it is done, dropped or given back;
 * or NULL. */
struct delivery *hop_take(struct hop *hop);
/* Next delivery, whatever its queue's workers do, or NULL; takes no worker. */
struct delivery *hop_take_any(struct hop *hop);
/* Gives a worker back. */
void hop_worker_free(struct deliver *d, unsigned queue);
/* Puts a delivery back to the front. */
void hop_give_back(struct hop *hop, struct delivery *delivery);
/* A delivery, taken out of the queue, waits until the DNS has answered what its strategies ask. */
void hop_ask(struct hop *hop, struct delivery *delivery);
/* It has: back to the front of the queue, or given up where that rests. */
void hop_ask_done(struct hop *hop, struct delivery *delivery);
/* Starts what can be started: batches or connections. Frees a retired hop that nothing refers to,
 * so this is the last thing that a caller does with it. */
void hop_run(struct hop *hop);
/* The host is unusable: every waiting delivery gets the outcome, the hop is down until a probe
 * succeeds. Told to the other cores. */
void hop_failed(struct hop *hop, const struct outcome *problem);
/* The host answered as it should. Told to the other cores when it was down. */
void hop_works(struct hop *hop);
/* True when the hop is down and no probe is due: deliveries would fail. */
bool hop_is_down(const struct hop *hop);
/* When it is down, the next message is let through to see whether the host is back. */
void hop_probe(struct hop *hop);
/* deliver->conf.pause has changed: gives back what waits here, or goes on. */
void hop_pause(struct hop *hop);
void hop_stop(struct hop *hop);
