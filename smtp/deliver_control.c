/* What an administrator does to the queue: deliver's part of it. */
#include "core/check.h"
#include "smtp/deliver_private.h"
#include "smtp/hop.h"
#include "smtp/relay.h"
#include "smtp/spool_index.h"

static void each_hop(struct deliver *d, void (*each)(struct hop *hop))
{
    struct list_node *node = list_first(&d->hops);
    for (; node != NULL; node = list_next(&d->hops, node)) {
        each(mx_container_of(node, struct hop, all_node));
    }
}

bool deliver_pause_has(const struct deliver_pause *pause, struct slice route)
{
    bool has = pause->all;
    for (unsigned i = 0; !has && i < pause->route_count; i++) {
        has = slice_equal(slice_of_text(pause->routes[i]), route);
    }
    return has;
}

void deliver_pause_queues(struct deliver *d)
{
    if (virtual_queues_pause(&d->queues, &d->conf.pause.queues)) {
        list_splice(&d->recalled, &d->resting);
        shard_again(d->shard);
    }
}

void deliver_pause(struct deliver *d, const struct deliver_pause *pause)
{
    d->conf.pause = *pause;
    deliver_pause_queues(d);
    each_hop(d, hop_pause);
}

static void forget_addresses(struct hop *hop)
{
    hop->resolved_ns = hop->deliver->shard->now_ns - HOP_RESOLVE_KEEP_MS * MX_NS_PER_MS;
    relay_stop_idle(hop);
    verify_conns_stop(hop);
}

void deliver_forget_addresses(struct deliver *d)
{
    each_hop(d, forget_addresses);
}

/* It neither waits for a time nor for a hop any more. */
static void unschedule(struct deliver *d, struct message *msg)
{
    MX_ASSERT(msg->active == NULL && msg->rcpts_left > 0);
    wheel_cancel(&d->shard->wheel, &msg->due);
    list_remove(&msg->wait_node);
    msg->parked_at = NULL;
}

/* --- kinds of changes --------------------------------------------------------------------------
 */

static bool is_held(const struct rcpt_state *state, int64_t at_ms)
{
    (void)at_ms;
    return state->flags & RCPT_HELD;
}

static bool is_released(const struct rcpt_state *state, int64_t at_ms)
{
    return !is_held(state, at_ms);
}

static bool is_put_off(const struct rcpt_state *state, int64_t at_ms)
{
    return state->flags & RCPT_PUT_OFF && state->due_ms == at_ms;
}

static bool expires_then(const struct rcpt_state *state, int64_t at_ms)
{
    return state->flags & RCPT_EXPIRES && state->expires_ms == at_ms;
}

static bool is_failed(const struct rcpt_state *state, int64_t at_ms)
{
    (void)at_ms;
    return state->status == RCPT_FAILED;
}

static bool is_given_up(const struct rcpt_state *state, int64_t at_ms)
{
    (void)at_ms;
    return state->flags & RCPT_GIVE_UP;
}

static void hold(struct rcpt_state *state, int64_t at_ms)
{
    (void)at_ms;
    state->flags |= RCPT_HELD;
}

/* Only flags: what is written of two states with as many attempts, the later one counts. */
static void release(struct rcpt_state *state, int64_t now_ms)
{
    state->flags = (uint8_t)((state->flags & ~RCPT_HELD) | RCPT_PUT_OFF);
    state->due_ms = now_ms;
}

static void put_off(struct rcpt_state *state, int64_t at_ms)
{
    state->due_ms = at_ms;
    state->flags = (uint8_t)((state->flags & ~RCPT_EARLY) | RCPT_PUT_OFF);
}

/* The last attempt is made then. */
static void expire(struct rcpt_state *state, int64_t at_ms)
{
    state->expires_ms = at_ms;
    state->flags |= RCPT_EXPIRES;
    state->due_ms = state->due_ms < at_ms ? state->due_ms : at_ms;
}

static void fail(struct rcpt_state *state, int64_t at_ms)
{
    (void)at_ms;
    state->status = RCPT_FAILED;
}

static void give_up(struct rcpt_state *state, int64_t now_ms)
{
    release(state, now_ms);
    state->flags |= RCPT_GIVE_UP;
}

static const struct kind {
    bool (*is_made)(const struct rcpt_state *state, int64_t at_ms);
    void (*make)(struct rcpt_state *state, int64_t at_ms);
    bool now;      /* takes effect at once */
    bool not_held; /* those that are held are left alone */
} kinds[] = {
    [CHANGE_HOLD] = {is_held, hold},
    [CHANGE_RELEASE] = {is_released, release, .now = true},
    [CHANGE_RETRY] = {is_put_off, put_off, .not_held = true},
    [CHANGE_EXPIRE] = {expires_then, expire},
    [CHANGE_CANCEL] = {is_failed, fail},
    [CHANGE_GIVE_UP] = {is_given_up, give_up, .now = true},
};

/* --- changes -----------------------------------------------------------------------------------
 */

static bool concerns(const struct deliver_change *change, const struct message *msg, uint32_t i)
{
    const struct rcpt_state *state = &msg->rcpts[i];
    return (change->rcpt == CHANGE_ALL || change->rcpt == i) && state->status == RCPT_PENDING &&
           !(kinds[change->kind].not_held && state->flags & RCPT_HELD);
}

/* How many recipients are concerned; of them, how many are not yet as they are to be. */
static uint32_t count(const struct deliver_change *change, const struct message *msg,
                      uint32_t *out_left)
{
    uint32_t concerned = 0;
    *out_left = 0;
    for (uint32_t i = 0; i < msg->rcpt_count; i++) {
        if (concerns(change, msg, i)) {
            concerned++;
            *out_left += !kinds[change->kind].is_made(&msg->rcpts[i], change->at_ms);
        }
    }
    return concerned;
}

/* Makes it in memory and writes it, a record's worth of recipients at a time. */
static void make(struct deliver *d, struct message *msg, const struct deliver_change *change,
                 int64_t at_ms)
{
    struct record_outcome marks[DELIVER_RCPTS_MAX];
    uint32_t marked = 0;
    for (uint32_t i = 0; i < msg->rcpt_count; i++) {
        if (!concerns(change, msg, i)) {
            continue;
        }
        kinds[change->kind].make(&msg->rcpts[i], at_ms);
        msg->rcpts_left -= msg->rcpts[i].status != RCPT_PENDING;
        marks[marked++] =
            (struct record_outcome){.rcpt = i,
                                    .state = msg->rcpts[i],
                                    .text = texts_get(&d->spool->texts, msg->rcpts[i].reply),
                                    .hop = texts_get(&d->spool->texts, msg->rcpts[i].hop),
                                    .queue = texts_get(&d->spool->texts, msg->rcpts[i].queue)};
        if (marked == DELIVER_RCPTS_MAX) {
            spool_mark(d->spool, msg, marks, marked);
            marked = 0;
        }
    }
    if (marked > 0) {
        spool_mark(d->spool, msg, marks, marked);
    }
}

mx_err deliver_change(struct deliver *d, struct message *msg, const struct deliver_change *change,
                      bool *made)
{
    const struct kind *kind = &kinds[change->kind];
    int64_t now_ms = d->shard->wall_ms;
    uint32_t left;
    if (msg->rcpts_left == 0) {
        return MX_ERR_AGAIN; /* it has ended but for the disk */
    }
    if (*made) {
        return msg->writes > 0 ? MX_ERR_AGAIN : MX_OK;
    }
    uint32_t concerned = count(change, msg, &left);
    if (concerned == 0) {
        return MX_ERR_UNSUPPORTED;
    }
    bool at_once = kind->now || (change->kind == CHANGE_RETRY && change->at_ms <= now_ms);
    if (left == 0 && !(change->kind == CHANGE_RETRY && at_once)) {
        return msg->writes > 0 ? MX_ERR_AGAIN : MX_OK;
    }
    if (msg->active != NULL || msg->writes > 0) {
        return MX_ERR_AGAIN; /* what is written now has to come first */
    }
    unschedule(d, msg);
    make(d, msg, change, at_once ? now_ms : change->at_ms);
    spool_index_due(d->spool, msg);
    *made = true;
    if (msg->rcpts_left > 0) {
        deliver_schedule(d, msg);
    }
    if (at_once && msg->rcpts_left > 0) {
        each_hop(d, hop_probe);
        deliver_ready(d, msg);
    }
    return change->kind == CHANGE_RETRY && at_once ? MX_OK : MX_ERR_AGAIN;
}
