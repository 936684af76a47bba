/* What the parts of delivery need of each other: smtp/deliver.c (life and image), _active (messages
 * in memory), _dispatch (routing and grouping), _outcome (what came of it). */
#pragma once

#include "smtp/deliver.h"

/* --- smtp/deliver_active.c */
/* Hook of the core's loop: makes what is ready active, runs the hops. */
void deliver_turn(struct shard_hook *hook);
/* Takes memory for so many bytes of its history from the budget. False: there is none; then the
 * history is not kept up, as it is a comfort only. */
bool active_history_take(struct active *active, size_t cap);
/* The message will wait at this hop when it leaves memory. */
void active_park_at(struct active *active, struct hop *hop);

/* --- smtp/deliver_dispatch.c */
/* Routes the recipients that are due and hands their deliveries to the hops. */
void active_dispatch(struct active *active);
/* For the programs about recipient i. */
struct routing_context active_routing(const struct active *active, uint32_t i);
/* Notes when the recipient is given up, for who looks at the queue. */
void deliver_note_end(struct rcpt_state *state, const struct schedule *schedule,
                      int64_t arrived_ms);
/* ... and its virtual queue, likewise. */
void deliver_note_queue(struct deliver *d, struct rcpt_state *state,
                        const struct schedule *schedule);
void delivery_free(struct delivery *delivery);

/* --- smtp/deliver_control.c */
/* After another pause, or other virtual queues: who rests for a queue that is not paused any more
 * goes on. */
void deliver_pause_queues(struct deliver *d);
