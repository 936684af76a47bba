/* What an administrator does to the queue: deliver's part of it. */
#include "core/check.h"
#include "smtp/hop.h"
#include "smtp/relay.h"

static void each_hop(struct deliver *d, void (*each)(struct hop *hop))
{
    struct list_node *node = list_first(&d->hops);
    for (; node != NULL; node = list_next(&d->hops, node)) {
        each(mx_container_of(node, struct hop, all_node));
    }
}

void deliver_pause(struct deliver *d)
{
    d->conf.paused = true;
    each_hop(d, hop_pause);
}

void deliver_resume(struct deliver *d)
{
    d->conf.paused = false;
    each_hop(d, hop_busy);
}

static void forget_addresses(struct hop *hop)
{
    hop->resolved_ns = hop->deliver->shard->now_ns - HOP_RESOLVE_KEEP_MS * MX_NS_PER_MS;
    relay_stop_idle(hop);
}

void deliver_forget_addresses(struct deliver *d)
{
    each_hop(d, forget_addresses);
}

/* Writes the states of the recipients that were pending, a record's worth of them at a time. */
static void mark_pending(struct deliver *d, struct message *msg,
                         void (*change)(struct rcpt_state *state, int64_t due_ms), int64_t due_ms)
{
    struct record_outcome marks[DELIVER_RCPTS_MAX];
    uint32_t count = 0;
    for (uint32_t i = 0; i < msg->rcpt_count; i++) {
        if (msg->rcpts[i].status != RCPT_PENDING) {
            continue;
        }
        change(&msg->rcpts[i], due_ms);
        marks[count++] = (struct record_outcome){.rcpt = i, .state = msg->rcpts[i]};
        if (count == DELIVER_RCPTS_MAX) {
            spool_mark(d->spool, msg, marks, count);
            count = 0;
        }
    }
    if (count > 0) {
        spool_mark(d->spool, msg, marks, count);
    }
}

static void set_failed(struct rcpt_state *state, int64_t unused)
{
    (void)unused;
    state->status = RCPT_FAILED;
}

static void set_due(struct rcpt_state *state, int64_t due_ms)
{
    state->due_ms = due_ms;
    state->flags |= RCPT_PUT_OFF;
}

/* It neither waits for a time nor for a hop any more. */
static void unschedule(struct deliver *d, struct message *msg)
{
    MX_ASSERT(msg->active == NULL && msg->rcpts_left > 0);
    wheel_cancel(&d->shard->wheel, &msg->due);
    list_remove(&msg->wait_node);
    msg->parked_at = NULL;
}

void deliver_cancel_message(struct deliver *d, struct message *msg)
{
    unschedule(d, msg);
    msg->rcpts_left = 0;
    mark_pending(d, msg, set_failed, 0);
}

void deliver_reschedule(struct deliver *d, struct message *msg, int64_t due_ms)
{
    unschedule(d, msg);
    bool now = due_ms <= d->shard->wall_ms;
    mark_pending(d, msg, set_due, now ? d->shard->wall_ms : due_ms);
    deliver_schedule(d, msg);
    if (now) {
        each_hop(d, hop_probe);
        deliver_ready(d, msg);
    }
}
