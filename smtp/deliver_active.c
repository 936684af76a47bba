/* Which messages are due, and their way into memory and out of it: deliver's part of it. */
#include "core/check.h"
#include "smtp/bounce.h"
#include "smtp/deliver_ask.h"
#include "smtp/deliver_private.h"
#include "smtp/hop.h"
#include "smtp/pace.h"
#include "smtp/spool_history.h"
#include "smtp/spool_index.h"

#include <stdlib.h>

/* --- due and ready -----------------------------------------------------------------------------
 */

void deliver_ready(struct deliver *d, struct message *msg)
{
    MX_ASSERT(msg->active == NULL);
    wheel_cancel(&d->shard->wheel, &msg->due);
    list_remove(&msg->wait_node);
    msg->parked_at = NULL;
    list_push_back(&d->ready, &msg->wait_node);
}

/* The timer runs by the steady clock, so its time has come: when the calendar says otherwise it was
 * set back, and the recipients' times go back with it. */
static void due_fire(struct timer *timer, uint64_t now_ns)
{
    (void)now_ns;
    struct message *msg = mx_container_of(timer, struct message, due);
    int64_t due_ms = spool_due_ms(msg);
    int64_t back_ms = due_ms - msg->deliver->shard->wall_ms;
    for (uint32_t i = 0; due_ms != INT64_MAX && back_ms > 0 && i < msg->rcpt_count; i++) {
        msg->rcpts[i].due_ms -= back_ms;
    }
    spool_index_due(msg->deliver->spool, msg);
    deliver_ready(msg->deliver, msg);
}

static uint64_t longest_wait_ms(const struct deliver *d, uint32_t attempts)
{
    uint32_t step = attempts > 0 ? attempts - 1 : 0;
    return d->longest_ms[step < SCHEDULE_STEPS_MAX ? step : SCHEDULE_STEPS_MAX - 1];
}

/* A recipient whose time is farther away than any wait was stored when the calendar was ahead, or
 * when waits were longer, unless an administrator wanted it so. */
static void cut_waits(struct deliver *d, struct message *msg)
{
    for (uint32_t i = 0; i < msg->rcpt_count; i++) {
        struct rcpt_state *state = &msg->rcpts[i];
        uint64_t longest_ms = longest_wait_ms(d, state->attempts);
        longest_ms = longest_ms > d->conf.retry_ms ? longest_ms : d->conf.retry_ms;
        if (state->flags & RCPT_THROTTLED && longest_ms < PACE_AHEAD_MAX_MS) {
            longest_ms = PACE_AHEAD_MAX_MS;
        }
        if (!(state->flags & RCPT_PUT_OFF) &&
            state->due_ms > d->shard->wall_ms + (int64_t)longest_ms) {
            state->due_ms = d->shard->wall_ms;
        }
    }
}

void deliver_schedule(struct deliver *d, struct message *msg)
{
    cut_waits(d, msg);
    int64_t due_ms = spool_due_ms(msg);
    spool_index_due(d->spool, msg);
    if (due_ms == INT64_MAX || msg->held) {
        return;
    }
    int64_t wait_ms = due_ms - d->shard->wall_ms;
    uint64_t delay_ns = wait_ms > 0 ? (uint64_t)wait_ms * MX_NS_PER_MS : 0;
    msg->due.fire = due_fire;
    shard_after(d->shard, &msg->due, delay_ns);
}

/* --- into memory -------------------------------------------------------------------------------
 */

size_t deliver_bytes_left(const struct deliver *d)
{
    size_t blocks_max = d->shard->blocks.slots_max / 10 * 7;
    size_t bytes_max = d->performance.delivery_bytes;
    if (d->active_bytes >= bytes_max || d->shard->blocks.used >= blocks_max) {
        return 0;
    }
    return mx_min_size(bytes_max - d->active_bytes,
                       (blocks_max - d->shard->blocks.used) * BLOCK_BYTES);
}

static bool has_budget(const struct deliver *d)
{
    return deliver_may_ask(d) && d->actives.used < d->performance.active_messages &&
           d->spool->writes.used < SPOOL_WRITES_HIGH && deliver_bytes_left(d) > 0;
}

/* NULL when memory is short. What it will take to note the outcomes is set aside here: once a
 * message is delivered there is no way back. */
static struct active *active_new(struct deliver *d, struct message *msg)
{
    bool room = pool_reserve(&d->spool->writes, d->active_rcpts + msg->rcpt_count);
    struct active *active = room ? pool_acquire_zero(&d->actives) : NULL;
    if (active != NULL) {
        active->deliver = d;
        active->msg = msg;
        msg->active = active;
        msg->deliver = d;
        d->active_rcpts += msg->rcpt_count;
    }
    return active;
}

static void take_bytes(struct deliver *d, size_t bytes)
{
    d->active_bytes += bytes;
    d->active_bytes_peak =
        d->active_bytes > d->active_bytes_peak ? d->active_bytes : d->active_bytes_peak;
}

static void active_account(struct active *active, size_t bytes)
{
    active->bytes += bytes;
    take_bytes(active->deliver, bytes);
}

bool active_history_take(struct active *active, size_t cap)
{
    struct deliver *d = active->deliver;
    size_t more = cap > active->history_cap ? cap - active->history_cap : 0;
    if (d->history_bytes + more > d->performance.delivery_bytes / DELIVER_HISTORY_SHARE) {
        return false;
    }
    active->history_cap += more;
    take_bytes(d, more); /* and not active->bytes, by which hops count what waits for them */
    d->history_bytes += more;
    d->history_peak = d->history_bytes > d->history_peak ? d->history_bytes : d->history_peak;
    return true;
}

/* A parked message is read back to find that there is still no room: the more there are, the rarer.
 * The hop calls it back earlier when it can. */
static uint64_t parked_ms(const struct deliver *d)
{
    uint64_t ms = HOP_PARKED_MS + d->spool->count * HOP_PARKED_EACH_MS;
    return ms < HOP_PARKED_MAX_MS ? ms : HOP_PARKED_MAX_MS;
}

/* Leaves memory: the message waits for its next time, or has ended. */
static void active_end(struct active *active)
{
    struct deliver *d = active->deliver;
    struct message *msg = active->msg;
    struct hop *park = active->park_at;
    bool no_room = active->no_room, rests = active->rests;
    MX_ASSERT(active->deliveries == 0);
    deliver_forget_answers(active);
    bounce_send(active);
    free(active->reports);
    if (active->history_grown && msg->rcpts_left > 0) {
        spool_history_write(d->spool, msg, slice_of(active->history, active->history_len));
    }
    free(active->history);
    spool_txn_free(d->spool, active->txn);
    chain_clear(&active->content, &d->shard->blocks);
    free(active->loaded);
    free(active->head);
    d->active_bytes -= active->bytes + active->history_cap;
    d->history_bytes -= active->history_cap;
    d->active_rcpts -= msg->rcpt_count;
    pool_release(&d->actives, active);
    msg->active = NULL;
    if (msg->rcpts_left > 0) {
        deliver_schedule(d, msg);
        if (no_room) {
            /* Its times stay as they are: it is due, only the hop is busy. */
            shard_after(d->shard, &msg->due, parked_ms(d) * MX_NS_PER_MS);
        }
        if (park != NULL) {
            hop_park(park, msg);
        } else if (rests) {
            list_push_back(&d->resting, &msg->wait_node);
        }
    } else {
        spool_settle_end(d->spool, msg);
    }
    if (park != NULL) {
        park->references--;
    }
}

void active_park_at(struct active *active, struct hop *hop)
{
    if (active->park_at != NULL) {
        active->park_at->references--;
    }
    active->park_at = hop;
    hop->references++;
}

void active_release(struct active *active)
{
    MX_ASSERT(active->deliveries > 0);
    if (--active->deliveries == 0) {
        active_end(active);
    }
}

/* It may be long until they are routed. Who cannot be told without asking has no queue yet. */
static void note_queues(struct deliver *d, struct message *msg, const struct txn *txn)
{
    for (uint32_t i = 0; i < msg->rcpt_count; i++) {
        struct routing_context ctx = {.image = d->image,
                                      .directory = d->directory,
                                      .vm = d->vm,
                                      .now_ms = d->shard->wall_ms,
                                      .state = &msg->rcpts[i],
                                      .schedule = &d->conf.schedule};
        const char *problem;
        const struct schedule *schedule =
            routing_schedule(&ctx, txn->rcpts[i].address, &txn->env, &problem);
        if (schedule != NULL) {
            deliver_note_queue(d, &msg->rcpts[i], schedule);
        }
    }
}

void deliver_queued(struct deliver *d, struct message *msg, struct txn *txn, struct chain *content)
{
    msg->deliver = d;
    bool now = !d->conf.pause.all && !d->stopping && msg->extent_count == 0 && has_budget(d);
    struct active *active = now ? active_new(d, msg) : NULL;
    if (active == NULL) {
        /* Later, from the disk; a large message always: its beginning is no longer in memory. */
        note_queues(d, msg, txn);
        spool_txn_free(d->spool, txn);
        chain_clear(content, &d->shard->blocks);
        deliver_ready(d, msg);
        return;
    }
    active->txn = txn;
    active->content = *content;
    active_account(active, content->bytes);
    active_dispatch(active);
}

void deliver_recovered(struct deliver *d, struct message *msg)
{
    msg->deliver = d;
    if (!d->stopping && msg->rcpts_left > 0) {
        deliver_schedule(d, msg);
    }
}

void deliver_ended(struct deliver *d, struct message *msg)
{
    (void)d;
    MX_ASSERT(msg->active == NULL);
}

/* The record cannot be used: kept, said in the log, tried again at the next start only. */
static void hold(struct active *active, mx_err err)
{
    struct message *msg = active->msg;
    struct log *log = &active->deliver->shard->log;
    struct log_line *line = log_begin(log, LOG_ERROR, "message-unreadable");
    log_qid(line, "id", msg->id);
    log_err(line, "reason", err);
    log_text(line, "effect", "it stays in the queue and is not tried again before a restart");
    log_end(log, line);
    msg->held = true;
    active_end(active);
}

/* The disk may recover, memory as well. Said once per round, not once per message. */
static void read_later(struct deliver *d, struct message *msg, mx_err err)
{
    struct log *log = &d->shard->log;
    if (d->shard->now_ns >= d->unread_quiet_ns) {
        d->unread_quiet_ns = d->shard->now_ns + DELIVER_UNREAD_MS * MX_NS_PER_MS;
        struct log_line *line = log_begin(log, LOG_ERROR, "message-not-read");
        log_qid(line, "id", msg->id);
        log_err(line, "reason", err);
        log_text(line, "effect",
                 "it stays in the queue and is tried again in a moment, perhaps others too");
        log_end(log, line);
    }
    msg->deliver = d;
    msg->due.fire = due_fire;
    shard_after(d->shard, &msg->due, DELIVER_UNREAD_MS * MX_NS_PER_MS);
}

static void load_failed(struct active *active, mx_err err)
{
    if (err == MX_ERR_DAMAGED || err == MX_ERR_SYNTAX) {
        hold(active, err);
        return;
    }
    struct deliver *d = active->deliver;
    struct message *msg = active->msg;
    active_end(active);
    read_later(d, msg, err);
}

static void *read_begin(struct active *active, struct journal_ref ref,
                        void (*done)(struct journal_read *read, mx_err err));

/* What cannot be read is not worth waiting for. */
static void history_read_done(struct journal_read *read, mx_err err)
{
    struct active *active = mx_container_of(read, struct active, read);
    struct slice old = err ? SLICE_EMPTY : spool_history_entries(read->payload);
    active->history = old.len == 0 ? NULL : malloc(old.len);
    if (active->history != NULL) {
        memcpy(active->history, old.ptr, old.len);
        active->history_len = old.len;
    }
    free(read->buf);
    active_dispatch(active);
}

static void history_load(struct active *active)
{
    const struct history *history = active->msg->history;
    active->history_left =
        history != NULL && !active_history_take(active, history->res.resident.ref.len);
    if (history == NULL || active->history_left ||
        read_begin(active, history->res.resident.ref, history_read_done) == NULL) {
        active_dispatch(active);
    }
}

static void head_read_done(struct journal_read *read, mx_err err)
{
    struct active *active = mx_container_of(read, struct active, read);
    if (err) {
        free(read->buf);
        load_failed(active, err);
        return;
    }
    struct slice content = slice_from(read->payload, RECORD_EXTENT_HEAD_BYTES);
    active->head_len = mx_min_size(content.len, DELIVER_HEAD_MAX);
    active->head = malloc(active->head_len);
    if (active->head != NULL) {
        memcpy(active->head, content.ptr, active->head_len);
    }
    free(read->buf);
    if (active->head == NULL) {
        load_failed(active, MX_ERR_NOMEM);
        return;
    }
    history_load(active);
}

static void *read_begin(struct active *active, struct journal_ref ref,
                        void (*done)(struct journal_read *read, mx_err err))
{
    size_t bytes = (size_t)mx_round_up(journal_read_bytes(ref), JOURNAL_BLOCK_BYTES);
    void *buf = aligned_alloc(JOURNAL_BLOCK_BYTES, bytes);
    if (buf != NULL) {
        active->read = (struct journal_read){.done = done, .ref = ref, .buf = buf};
        journal_read(active->deliver->spool->journal, &active->read);
    }
    return buf;
}

static void record_read_done(struct journal_read *read, mx_err err)
{
    struct active *active = mx_container_of(read, struct active, read);
    struct message *msg = active->msg;
    struct deliver *d = active->deliver;
    if (err == MX_ERR_DAMAGED && read->ref.segment != msg->res.resident.ref.segment) {
        err = MX_ERR_AGAIN; /* it was moved meanwhile */
    }
    /* From the record that was read: when the message was moved meanwhile, its copy has another
     * prefix. */
    struct record_message head = {0};
    if (!err) {
        err = record_message_head_get(&head, read->payload);
    }
    size_t prefix_bytes = record_message_prefix_bytes(&head);
    size_t content_at = prefix_bytes + msg->envelope_bytes;
    if (!err && content_at + msg->inline_bytes != read->payload.len) {
        err = MX_ERR_DAMAGED;
    }
    active->txn = err ? NULL : spool_txn_new(d->spool);
    if (!err) {
        struct slice envelope =
            slice_first(slice_from(read->payload, prefix_bytes), msg->envelope_bytes);
        err = active->txn == NULL ? MX_ERR_NOMEM : txn_decode(active->txn, envelope);
    }
    if (!err && active->txn->env.rcpt_count != msg->rcpt_count) {
        err = MX_ERR_DAMAGED;
    }
    if (err) {
        load_failed(active, err);
        return;
    }
    active->inline_content = slice_from(read->payload, content_at);
    if (msg->extent_count == 0) {
        history_load(active);
    } else if (read_begin(active, msg->extents->res.resident.ref, head_read_done) == NULL) {
        load_failed(active, MX_ERR_NOMEM);
    }
}

static void waited(struct timer *timer, uint64_t now_ns)
{
    (void)now_ns;
    struct message *msg = mx_container_of(timer, struct message, due);
    deliver_ready(msg->deliver, msg);
}

/* A report about its recipients is on its way, with the marks that say so. An outcome of another
 * attempt would say it as well, and be durable where the report is not yet: after a crash nobody
 * would make it. */
static void wait_for_report(struct deliver *d, struct message *msg)
{
    msg->deliver = d;
    msg->due.fire = waited;
    shard_after(d->shard, &msg->due, DELIVER_REPORT_WAIT_MS * MX_NS_PER_MS);
}

static void activate(struct deliver *d, struct message *msg)
{
    if (msg->undecided > 0) {
        wait_for_report(d, msg);
        return;
    }
    struct active *active = active_new(d, msg);
    if (active == NULL) {
        read_later(d, msg, MX_ERR_NOMEM);
        return;
    }
    active->loaded = read_begin(active, msg->res.resident.ref, record_read_done);
    if (active->loaded == NULL) {
        load_failed(active, MX_ERR_NOMEM);
        return;
    }
    active_account(active, msg->res.resident.ref.len);
}

/* They are due, unless they got another time meanwhile. */
static void recall(struct deliver *d)
{
    struct list_node *node;
    for (unsigned i = 0; i < DELIVER_RECALLS_MAX && (node = list_pop_front(&d->recalled)) != NULL;
         i++) {
        deliver_ready(d, mx_container_of(node, struct message, wait_node));
    }
    if (!list_empty(&d->recalled)) {
        shard_again(d->shard);
    }
}

void deliver_turn(struct shard_hook *hook)
{
    struct deliver *d = mx_container_of(hook, struct deliver, hook);
    verify_turn(&d->verify);
    if (d->stopping) {
        return;
    }
    recall(d);
    unsigned starts = d->conf.pause.all ? 0 : DELIVER_STARTS_MAX;
    for (unsigned i = 0; i < starts && !list_empty(&d->ready) && has_budget(d); i++) {
        struct list_node *node = list_pop_front(&d->ready);
        activate(d, mx_container_of(node, struct message, wait_node));
    }
    hops_run(d);
    worker_leases_turn(&d->worker_leases);
}
