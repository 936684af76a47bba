#include "smtp/deliver.h"

#include "core/check.h"
#include "io/random.h"
#include "io/tls.h"
#include "smtp/bounce.h"
#include "smtp/deliver_ask.h"
#include "smtp/expand.h"
#include "smtp/hop.h"
#include "smtp/mx_hops.h"
#include "smtp/relay.h"
#include "smtp/slots.h"

#include <stdlib.h>

static void activate(struct deliver *d, struct message *msg);

uint64_t deliver_random(struct deliver *d)
{
    /* xorshift64*: jitter needs spread, not secrecy. */
    d->random ^= d->random >> 12;
    d->random ^= d->random << 25;
    d->random ^= d->random >> 27;
    return d->random * UINT64_C(2685821657736338717);
}

struct outcome deliver_problem(struct slice text, struct slice command)
{
    return (struct outcome){.kind = OUTCOME_TEMPORARY,
                            .status = {4, 4, 1},
                            .host_fault = true,
                            .text = text,
                            .command = command};
}

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

/* When its earliest recipient is due; INT64_MAX when none waits. */
int64_t deliver_due_ms(const struct message *msg)
{
    int64_t due_ms = INT64_MAX;
    for (uint32_t i = 0; i < msg->rcpt_count; i++) {
        if (rcpt_waits(&msg->rcpts[i]) && msg->rcpts[i].due_ms < due_ms) {
            due_ms = msg->rcpts[i].due_ms;
        }
    }
    return due_ms;
}

/* The timer runs by the steady clock, so its time has come: when the calendar says otherwise it was
 * set back, and the recipients' times go back with it. */
static void due_fire(struct timer *timer, uint64_t now_ns)
{
    (void)now_ns;
    struct message *msg = mx_container_of(timer, struct message, due);
    int64_t due_ms = deliver_due_ms(msg);
    int64_t back_ms = due_ms - msg->deliver->shard->wall_ms;
    for (uint32_t i = 0; due_ms != INT64_MAX && back_ms > 0 && i < msg->rcpt_count; i++) {
        msg->rcpts[i].due_ms -= back_ms;
    }
    deliver_ready(msg->deliver, msg);
}

static uint64_t longest_wait_ms(const struct deliver *d, uint32_t attempts)
{
    uint32_t step = attempts > 0 ? attempts - 1 : 0;
    return d->longest_ms[step < SCHEDULE_STEPS_MAX ? step : SCHEDULE_STEPS_MAX - 1];
}

/* Whichever schedule it has. */
static void find_longest_waits(struct deliver *d, const struct image *image)
{
    for (uint32_t i = 0; i < SCHEDULE_STEPS_MAX; i++) {
        d->longest_ms[i] = schedule_longest_wait_ms(&d->conf.schedule, i + 1);
        for (uint32_t k = 0; k < image->schedule_count; k++) {
            uint64_t longest_ms = schedule_longest_wait_ms(&image->schedules[k], i + 1);
            d->longest_ms[i] = longest_ms > d->longest_ms[i] ? longest_ms : d->longest_ms[i];
        }
    }
}

/* A recipient whose time is farther away than any wait was stored when the calendar was ahead, or
 * when waits were longer, unless an administrator wanted it so. */
static void cut_waits(struct deliver *d, struct message *msg)
{
    for (uint32_t i = 0; i < msg->rcpt_count; i++) {
        struct rcpt_state *state = &msg->rcpts[i];
        uint64_t longest_ms = longest_wait_ms(d, state->attempts);
        longest_ms = longest_ms > d->conf.retry_ms ? longest_ms : d->conf.retry_ms;
        if (!(state->flags & RCPT_PUT_OFF) &&
            state->due_ms > d->shard->wall_ms + (int64_t)longest_ms) {
            state->due_ms = d->shard->wall_ms;
        }
    }
}

void deliver_schedule(struct deliver *d, struct message *msg)
{
    cut_waits(d, msg);
    int64_t due_ms = deliver_due_ms(msg);
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
    return d->actives.used < d->performance.active_messages &&
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

static void active_account(struct active *active, size_t bytes)
{
    active->bytes += bytes;
    active->deliver->active_bytes += bytes;
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
    bool no_room = active->no_room;
    MX_ASSERT(active->deliveries == 0);
    deliver_forget_answers(active);
    spool_txn_free(d->spool, active->txn);
    chain_clear(&active->content, &d->shard->blocks);
    free(active->loaded);
    free(active->head);
    d->active_bytes -= active->bytes;
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
        }
    } else {
        spool_settle_end(d->spool, msg);
    }
    if (park != NULL) {
        park->references--;
    }
}

void active_release(struct active *active)
{
    MX_ASSERT(active->deliveries > 0);
    if (--active->deliveries == 0) {
        active_end(active);
    }
}

void deliver_queued(struct deliver *d, struct message *msg, struct txn *txn, struct chain *content)
{
    msg->deliver = d;
    bool now = !d->conf.pause.all && !d->stopping && msg->extent_count == 0 && has_budget(d);
    struct active *active = now ? active_new(d, msg) : NULL;
    if (active == NULL) {
        /* Later, from the disk; a large message always: its beginning is no longer in memory. */
        spool_txn_free(d->spool, txn);
        chain_clear(content, &d->shard->blocks);
        deliver_ready(d, msg);
        return;
    }
    active->txn = txn;
    active->content = *content;
    active_account(active, content->bytes);
    deliver_dispatch(active);
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
    deliver_dispatch(active);
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
        deliver_dispatch(active);
    } else if (read_begin(active, msg->extents->res.resident.ref, head_read_done) == NULL) {
        load_failed(active, MX_ERR_NOMEM);
    }
}

static void activate(struct deliver *d, struct message *msg)
{
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

static void turn(struct shard_hook *hook)
{
    struct deliver *d = mx_container_of(hook, struct deliver, hook);
    verify_turn(&d->verify);
    if (d->stopping) {
        return;
    }
    unsigned starts = d->conf.pause.all ? 0 : DELIVER_STARTS_MAX;
    for (unsigned i = 0; i < starts && !list_empty(&d->ready) && has_budget(d); i++) {
        struct list_node *node = list_pop_front(&d->ready);
        activate(d, mx_container_of(node, struct message, wait_node));
    }
    hops_run(d);
}

/* --- routing and grouping ----------------------------------------------------------------------
 */

/* Deliveries of one message under construction, one per hop and virtual queue. */
struct grouping {
    struct delivery *list[64];
    unsigned count;
};

static struct delivery *delivery_new(struct active *active, struct hop *hop, unsigned queue,
                                     uint32_t rcpts_max)
{
    struct delivery *delivery = calloc(1, sizeof *delivery + rcpts_max * sizeof delivery->rcpts[0]);
    if (delivery != NULL) {
        delivery->active = active;
        delivery->hop = hop;
        delivery->queue = (uint8_t)queue;
        hop->references++;
        active->deliveries++;
    }
    return delivery;
}

struct delivery *delivery_split(struct delivery *delivery, const uint32_t *positions,
                                uint32_t count)
{
    struct delivery *other = delivery_new(delivery->active, delivery->hop, delivery->queue, count);
    if (other == NULL) {
        return NULL;
    }
    uint32_t kept = 0;
    for (uint32_t i = 0; i < delivery->rcpt_count; i++) {
        if (other->rcpt_count < count && positions[other->rcpt_count] == i) {
            MX_ASSERT(!delivery->rcpts[i].decided);
            other->rcpts[other->rcpt_count++] = delivery->rcpts[i];
        } else {
            delivery->rcpts[kept++] = delivery->rcpts[i];
        }
    }
    MX_ASSERT(kept > 0 && other->rcpt_count == count);
    other->open = count;
    other->retried = delivery->retried;
    other->refused = delivery->refused;
    delivery->rcpt_count = kept;
    delivery->open -= count;
    return other;
}

static void delivery_free(struct delivery *delivery)
{
    delivery->hop->references--;
    if (delivery->has_worker) {
        hop_worker_free(delivery->active->deliver, delivery->queue);
    }
    dns_answers_free(delivery->answers);
    free(delivery);
}

/* The message will wait at this hop. */
static void park_at(struct active *active, struct hop *hop)
{
    if (active->park_at != NULL) {
        active->park_at->references--;
    }
    active->park_at = hop;
    hop->references++;
}

static struct delivery *delivery_for(struct grouping *group, struct active *active, struct hop *hop,
                                     unsigned queue)
{
    for (unsigned i = 0; i < group->count; i++) {
        struct delivery *delivery = group->list[i];
        if (delivery->hop == hop && delivery->queue == queue &&
            delivery->rcpt_count < DELIVER_RCPTS_MAX) {
            return delivery;
        }
    }
    if (group->count == mx_countof(group->list)) {
        return NULL; /* the rest is due again at once, after these */
    }
    uint32_t max = active->txn->env.rcpt_count;
    struct delivery *delivery =
        delivery_new(active, hop, queue, max < DELIVER_RCPTS_MAX ? max : DELIVER_RCPTS_MAX);
    if (delivery != NULL) {
        group->list[group->count++] = delivery;
    }
    return delivery;
}

static void no_such_mailbox(struct outcome *out, bool is_postmaster)
{
    if (is_postmaster) { /* accepted without asking (RFC 5321): an administrator has to say whose */
        *out = deliver_problem(
            SLICE_LITERAL("no account takes postmaster mail: set SystemSettings.postmasterAddress"),
            SLICE_LITERAL("local delivery"));
        out->host_fault = false;
        return;
    }
    *out = (struct outcome){.kind = OUTCOME_PERMANENT,
                            .status = {5, 1, 1},
                            .text = SLICE_LITERAL("no such mailbox"),
                            .command = SLICE_LITERAL("local delivery")};
}

/* A recipient that is a list, or was one when its expansion began. True when it is under way or has
 * to wait; else *out_expanded tells whether there is an outcome, or it is no list. */
static bool is_expanding(struct active *active, uint32_t i, const struct routing *routing,
                         bool *out_expanded, struct outcome *out)
{
    bool local = routing->route != NULL && routing->route->kind == ROUTE_LOCAL;
    bool is_list =
        local && routing->resolution.kind == RESOLVE_LOCAL && routing->resolution.found == DIR_LIST;
    *out_expanded = is_list || active->msg->rcpts[i].expanded == LIST_BUCKETS;
    return *out_expanded && !expand(active, i, &routing->resolution, out);
}

/* Behind the last at sign; empty without one. */
static struct slice domain_of(struct slice address)
{
    size_t at = address.len;
    while (at > 0 && address.ptr[at - 1] != '@') {
        at--;
    }
    return at == 0 ? SLICE_EMPTY : slice_from(address, at);
}

static struct routing_context routing_context(const struct active *active, uint32_t i)
{
    const struct deliver *d = active->deliver;
    return (struct routing_context){.image = d->image,
                                    .directory = d->directory,
                                    .vm = d->vm,
                                    .now_ms = d->shard->wall_ms,
                                    .state = &active->msg->rcpts[i],
                                    .schedule = &d->conf.schedule};
}

/* An administrator has cancelled it, and its sender is to be told. */
static void give_up(struct grouping *group, struct active *active, uint32_t i)
{
    struct delivery *delivery = delivery_for(group, active, active->deliver->route[0], 0);
    if (delivery != NULL) {
        struct outcome outcome = {.kind = OUTCOME_PERMANENT,
                                  .status = {5, 0, 0},
                                  .text = SLICE_LITERAL("cancelled by an administrator"),
                                  .command = SLICE_LITERAL("queue")};
        uint32_t at = delivery->rcpt_count++;
        delivery->open++;
        delivery->rcpts[at].rcpt = i;
        delivery_decide(delivery, at, &outcome);
    }
}

static void name_hop(struct deliver *d, struct rcpt_state *state, const struct hop *hop)
{
    if (state->hop != hop->name) {
        texts_drop(&d->spool->texts, state->hop);
        state->hop = texts_share(&d->spool->texts, hop->name);
    }
}

/* For who looks at the queue. */
static void note_end(struct rcpt_state *state, const struct schedule *schedule, int64_t arrived_ms)
{
    if (!(state->flags & RCPT_EXPIRES)) {
        int64_t end_ms =
            schedule_end_ms(schedule, &(struct schedule_progress){.arrived_ms = arrived_ms});
        state->expires_ms = end_ms != 0 ? end_ms : RCPT_BY_ATTEMPTS;
    }
}

/* Adds recipient i to the delivery that it belongs to; decides at once what cannot be delivered. */
static void route_rcpt(struct grouping *group, struct active *active, uint32_t i)
{
    struct deliver *d = active->deliver;
    if (active->msg->rcpts[i].flags & RCPT_GIVE_UP) {
        give_up(group, active, i);
        return;
    }
    struct routing_context ctx = routing_context(active, i);
    struct expr_asker asker;
    struct routing routing;
    deliver_asker(&asker, active);
    ctx.asker = &asker;
    routing_find(&routing, &ctx, active->txn->rcpts[i].address, &active->txn->env);
    unsigned queue = virtual_queue_slot(&d->queues, d->image, routing.schedule);
    note_end(&active->msg->rcpts[i], routing.schedule, active->msg->arrived_ms);
    struct hop *hop = d->route[routing.route != NULL ? routing.route->index : 0];
    struct outcome outcome;
    bool expanded;
    if (is_expanding(active, i, &routing, &expanded, &outcome)) {
        return;
    }
    if (routing.route != NULL && routing.route->kind == ROUTE_MX) {
        struct hop *of_domain = mx_hop(d, hop, domain_of(active->txn->rcpts[i].address));
        hop = of_domain != NULL ? of_domain : hop;
    }
    if (routing.route != NULL) {
        name_hop(d, &active->msg->rcpts[i], hop);
    }
    struct delivery *delivery = delivery_for(group, active, hop, queue);
    if (delivery == NULL) {
        return;
    }
    uint32_t at = delivery->rcpt_count++;
    delivery->open++;
    delivery->rcpts[at].rcpt = i;
    delivery->rcpts[at].expanded = expanded;
    if (expanded) {
        delivery_decide(delivery, at, &outcome);
        return;
    }
    /* A copy: the record may be gone when the mailbox is written. */
    if (txn_text(&delivery->rcpts[at].mailbox, active->txn, routing.resolution.mailbox)) {
        outcome = deliver_problem(SLICE_LITERAL("out of memory"), SLICE_LITERAL("routing"));
        outcome.host_fault = false;
        delivery_decide(delivery, at, &outcome);
    } else if (routing.route == NULL) {
        const char *problem =
            routing.waits ? "the expression asks the DNS for something else now" : routing.problem;
        outcome = deliver_problem(slice_of_text(problem), SLICE_LITERAL("routing"));
        outcome.host_fault = false;
        delivery_decide(delivery, at, &outcome);
    } else if (hop->route.kind == ROUTE_LOCAL && routing.resolution.kind != RESOLVE_LOCAL) {
        no_such_mailbox(&outcome, routing.resolution.is_postmaster);
        delivery_decide(delivery, at, &outcome);
    } else if (hop->route.kind == ROUTE_MX && hop->domain.len == 0) {
        outcome = deliver_problem(
            SLICE_LITERAL("no next hop for this domain now: too many domains have mail here"),
            SLICE_LITERAL("routing"));
        outcome.host_fault = false;
        delivery_decide(delivery, at, &outcome);
    }
}

static void submit(struct delivery *delivery)
{
    struct hop *hop = delivery->hop;
    struct active *active = delivery->active;
    if (delivery->open == 0) {
        delivery_done(delivery);
    } else if (!hop->paused && hop_is_down(hop)) {
        delivery_decide_rest(delivery, &hop->problem);
        delivery_done(delivery);
    } else if (hop->paused || !hop_submit(hop, delivery)) {
        park_at(active, hop);
        active->no_room = true;
        active->deliveries--;
        delivery_free(delivery);
    }
}

bool deliver_is_due(const struct deliver *d, const struct rcpt_state *state)
{
    return rcpt_waits(state) &&
           (state->due_ms <= d->shard->wall_ms + WHEEL_TICK_MS || (state->flags & RCPT_EARLY) != 0);
}

void deliver_dispatch(struct active *active)
{
    struct deliver *d = active->deliver;
    struct message *msg = active->msg;
    struct grouping group = {.count = 0};
    uint32_t end = 0;
    bool start = !d->stopping && !d->conf.pause.all;
    active->deliveries++; /* held until all are submitted */
    if (start && !deliver_routes_known(active, &end)) {
        end = 0;
    }
    for (uint32_t i = 0; i < end; i++) {
        if (deliver_is_due(d, &msg->rcpts[i])) {
            route_rcpt(&group, active, i);
        }
    }
    for (unsigned i = 0; i < group.count; i++) {
        submit(group.list[i]);
    }
    active_release(active);
}

/* --- outcomes ----------------------------------------------------------------------------------
 */

void delivery_decide(struct delivery *delivery, uint32_t i, const struct outcome *outcome)
{
    struct delivery_rcpt *rcpt = &delivery->rcpts[i];
    MX_ASSERT(i < delivery->rcpt_count && !rcpt->decided);
    rcpt->decided = true;
    rcpt->outcome = *outcome;
    struct slice text = slice_first(outcome->text, CLI_TEXT_MAX);
    if (txn_text(&rcpt->outcome.text, delivery->active->txn, text)) {
        rcpt->outcome.text = SLICE_EMPTY; /* memory is short; the outcome itself counts */
    }
    delivery->open--;
}

void delivery_decide_rest(struct delivery *delivery, const struct outcome *outcome)
{
    for (uint32_t i = 0; i < delivery->rcpt_count; i++) {
        if (!delivery->rcpts[i].decided) {
            delivery_decide(delivery, i, outcome);
        }
    }
}

static void log_outcome(struct delivery *delivery, const struct delivery_rcpt *rcpt,
                        const char *event)
{
    struct active *active = delivery->active;
    struct log *log = &active->deliver->shard->log;
    struct log_line *line = log_begin(log, LOG_INFO, event);
    const struct outcome *o = &rcpt->outcome;
    log_qid(line, "id", active->msg->id);
    log_slice(line, "to", active->txn->rcpts[rcpt->rcpt].address);
    log_slice(line, "route", delivery->hop->route.name);
    if (delivery->remote.len > 0) {
        log_slice(line, "host", delivery->remote);
    }
    if (o->code != 0) {
        log_u64(line, "code", o->code);
    }
    if (o->text.len > 0) {
        log_slice(line, "reply", o->text);
    }
    if (delivery->peer != NULL) {
        log_text(line, "peer", delivery->peer);
        log_text(line, "tls", delivery->tls);
    }
    log_end(log, line);
}

static int64_t set_end_ms(const struct rcpt_state *state)
{
    return state->flags & RCPT_EXPIRES ? state->expires_ms : 0;
}

static bool is_early(const struct rcpt_state *state, int64_t now_ms)
{
    return (state->flags & RCPT_EARLY) != 0 && state->due_ms > now_ms;
}

/* Before its time, or only to tell of a delay: no step of the schedule. */
static bool is_extra(const struct rcpt_state *state, int64_t now_ms)
{
    return is_early(state, now_ms) ||
           (state->flags & (RCPT_FOR_NOTICE | RCPT_PUT_OFF)) == RCPT_FOR_NOTICE;
}

/* Sets the time of the next attempt. */
static void defer(struct deliver *d, struct rcpt_state *state, const struct schedule *schedule,
                  const struct schedule_progress *progress)
{
    int64_t now_ms = d->shard->wall_ms;
    if (is_early(state, now_ms)) {
        state->flags &= (uint8_t)~RCPT_EARLY; /* its time is still to come */
        return;
    }
    struct schedule_time next = schedule_next(schedule, now_ms, progress, deliver_random(d));
    if (d->conf.retry_ms > 0) {
        next = (struct schedule_time){.due_ms = now_ms + (int64_t)d->conf.retry_ms};
    }
    state->flags &= (uint8_t) ~(RCPT_PUT_OFF | RCPT_FOR_NOTICE | RCPT_EARLY);
    state->flags |= next.is_extra ? RCPT_FOR_NOTICE : 0;
    state->due_ms = next.due_ms;
}

/* Given up: what was said last stays, the status says why it ends (RFC 3463: 5.4.7). */
static void expire(struct outcome *o)
{
    static const uint8_t expired[3] = {5, 4, 7};
    o->kind = OUTCOME_PERMANENT;
    o->expired = true;
    memcpy(o->status, expired, sizeof expired);
}

static void note_reply(struct deliver *d, struct rcpt_state *state, const struct outcome *o)
{
    state->code = o->code;
    texts_drop(&d->spool->texts, state->reply);
    state->reply = texts_hold(&d->spool->texts, o->text);
}

/* Since its arrival; the calendar may have been set back meanwhile. */
static uint64_t age_ns(const struct deliver *d, const struct message *msg)
{
    int64_t age_ms = d->shard->wall_ms - msg->arrived_ms;
    return age_ms > 0 ? (uint64_t)age_ms * MX_NS_PER_MS : 0;
}

/* With what was asked for this attempt; the usual one where that does not tell. */
static const struct schedule *schedule_of(struct active *active, uint32_t i)
{
    struct deliver *d = active->deliver;
    struct routing_context ctx = routing_context(active, i);
    struct expr_asker asker;
    const char *problem;
    deliver_asker(&asker, active);
    ctx.asker = active->answers != NULL ? &asker : NULL;
    if (active->answers != NULL) {
        dns_answers_close(active->answers);
    }
    const struct schedule *schedule =
        routing_schedule(&ctx, active->txn->rcpts[i].address, &active->txn->env, &problem);
    if (problem != NULL) {
        struct log_line *line = log_begin_repeated(&d->shard->log, LOG_WARN, "schedule-unknown");
        log_qid(line, "id", active->msg->id);
        log_text(line, "reason", problem);
        log_text(line, "effect", "the next attempt follows the default times");
        log_end(&d->shard->log, line);
    }
    return schedule;
}

/* A temporary failure under the schedule that the recipient has now. Returns as apply. */
static int apply_temporary(struct delivery *delivery, struct delivery_rcpt *rcpt)
{
    struct active *active = delivery->active;
    struct deliver *d = active->deliver;
    struct message *msg = active->msg;
    struct rcpt_state *state = &msg->rcpts[rcpt->rcpt];
    const struct schedule *schedule = schedule_of(active, rcpt->rcpt);
    struct schedule_progress progress = {.arrived_ms = msg->arrived_ms,
                                         .end_ms = set_end_ms(state),
                                         .attempts = state->attempts,
                                         .notified = state->notified,
                                         .tells_delays =
                                             bounce_wanted(active, rcpt->rcpt, DSN_DELAYED)};
    int64_t now_ms = d->shard->wall_ms;
    if (schedule_expired(schedule, now_ms, &progress)) {
        expire(&rcpt->outcome);
        return -1;
    }
    uint32_t notices = schedule_notices_due(schedule, now_ms, msg->arrived_ms);
    bool is_news = notices > state->notified;
    progress.notified = is_news ? notices : state->notified;
    rcpt->notices = (uint8_t)progress.notified;
    rcpt->retry_until_ms = schedule_end_ms(schedule, &progress);
    note_end(state, schedule, msg->arrived_ms);
    count_one(&delivery->hop->stats->deferred);
    count_one(&d->stats.routes[delivery->hop->row].deferred);
    defer(d, state, schedule, &progress);
    log_outcome(delivery, rcpt, "deferred");
    return is_news ? DSN_DELAYED : -1;
}

/* Applies one outcome to the recipient's state; returns which DSN it calls for (or -1). */
static int apply(struct delivery *delivery, struct delivery_rcpt *rcpt)
{
    struct active *active = delivery->active;
    struct deliver *d = active->deliver;
    struct message *msg = active->msg;
    struct rcpt_state *state = &msg->rcpts[rcpt->rcpt];
    struct outcome *o = &rcpt->outcome;
    struct class_stats *stats = delivery->hop->stats;
    struct route_row *row = &d->stats.routes[delivery->hop->row];
    MX_ASSERT(state->status == RCPT_PENDING);
    note_reply(d, state, o);
    state->flags &= (uint8_t)~RCPT_TLS_FAILED;
    state->flags |= o->tls_fault ? RCPT_TLS_FAILED : 0;
    bool counts = o->kind != OUTCOME_TEMPORARY || !is_extra(state, d->shard->wall_ms);
    if (counts && state->attempts < UINT8_MAX) {
        state->attempts++;
    }
    if (o->kind == OUTCOME_TEMPORARY) {
        int action = apply_temporary(delivery, rcpt);
        if (o->kind == OUTCOME_TEMPORARY) {
            return action;
        }
    }
    MX_ASSERT(msg->rcpts_left > 0);
    msg->rcpts_left--;
    if (o->kind == OUTCOME_DELIVERED) {
        state->status = RCPT_DELIVERED;
        count_one(&stats->delivered);
        count_one(&row->delivered);
        hdr_add(&stats->age_ns, age_ns(d, msg));
        log_outcome(delivery, rcpt, rcpt->expanded ? "expanded" : "delivered");
        if (rcpt->expanded) {
            return DSN_EXPANDED;
        }
        if (delivery->dsn_passed) {
            return -1;
        }
        /* An LMTP server has taken it into the mailbox (RFC 2033). */
        const struct route_conf *route = &delivery->hop->route;
        return route->kind == ROUTE_LOCAL || route->lmtp ? DSN_DELIVERED : DSN_RELAYED;
    }
    state->status = RCPT_FAILED;
    count_one(&stats->failed);
    count_one(&row->failed);
    log_outcome(delivery, rcpt, "failed");
    return DSN_FAILED;
}

void delivery_done(struct delivery *delivery)
{
    struct active *active = delivery->active;
    struct deliver *d = active->deliver;
    struct message *msg = active->msg;
    struct bounce_item items[DELIVER_RCPTS_MAX];
    struct record_outcome plain[DELIVER_RCPTS_MAX];
    uint32_t item_count = 0, plain_count = 0;
    MX_ASSERT(delivery->open == 0 && delivery->rcpt_count <= DELIVER_RCPTS_MAX);
    for (uint32_t i = 0; i < delivery->rcpt_count; i++) {
        struct delivery_rcpt *rcpt = &delivery->rcpts[i];
        int action = apply(delivery, rcpt);
        /* A hop that is not down would call it back at once. */
        if (rcpt->outcome.kind == OUTCOME_TEMPORARY && rcpt->outcome.host_fault &&
            delivery->hop->down) {
            park_at(active, delivery->hop);
        }
        if (bounce_wanted(active, rcpt->rcpt, action)) {
            items[item_count++] = (struct bounce_item){.rcpt = rcpt->rcpt,
                                                       .action = (enum dsn_action)action,
                                                       .outcome = rcpt->outcome,
                                                       .notices = rcpt->notices,
                                                       .retry_until_ms = rcpt->retry_until_ms,
                                                       .remote = delivery->remote};
        } else {
            plain[plain_count++] = (struct record_outcome){
                .rcpt = rcpt->rcpt, .state = msg->rcpts[rcpt->rcpt], .text = rcpt->outcome.text};
        }
    }
    if (plain_count > 0) {
        spool_mark(d->spool, msg, plain, plain_count);
    }
    if (item_count > 0) {
        bounce_send(active, items, item_count);
    }
    delivery_free(delivery);
    active_release(active);
}

void delivery_drop(struct delivery *delivery)
{
    struct active *active = delivery->active;
    delivery_free(delivery);
    active_release(active);
}

/* --- life --------------------------------------------------------------------------------------
 */

static mx_err parts_open(struct deliver *d)
{
    mx_err err =
        pool_init(&d->actives, "active-messages", sizeof(struct active), DELIVER_ACTIVE_MAX);
    if (!err) {
        err = pool_init(&d->clis, "client-sessions", cli_bytes(), DELIVER_CONNECTIONS_MAX);
    }
    if (!err) {
        err =
            pool_init(&d->conns, "client-connections", relay_conn_bytes(), DELIVER_CONNECTIONS_MAX);
    }
    if (!err) {
        err = tls_client_ctx_new(&d->tls_any, &(struct tls_client_conf){.verify = false});
    }
    if (!err) {
        err = tls_client_ctx_new(&d->tls_strict, &(struct tls_client_conf){.verify = true});
    }
    if (!err) {
        err = verify_open(&d->verify, d);
    }
    err = err ? err : slots_open(&d->slots, d);
    d->vm = err ? NULL : calloc(1, sizeof *d->vm);
    return !err && d->vm == NULL ? MX_ERR_NOMEM : err;
}

mx_err deliver_open(struct deliver *d, struct shard *shard, struct spool *spool,
                    const struct image *image, const struct directory *directory,
                    const struct deliver_conf *conf)
{
    *d = (struct deliver){.shard = shard,
                          .spool = spool,
                          .image = image,
                          .performance = performance_complete(&image->performance),
                          .directory = directory,
                          .conf = *conf,
                          .random = random_u64() | 1,
                          .mx_seed = random_u64()};
    virtual_queues_init(&d->queues);
    list_init(&d->ready);
    list_init(&d->asking);
    list_init(&d->busy);
    list_init(&d->hops);
    mx_err err = parts_open(d);
    err = err ? err : deliver_prepare(d, image);
    if (err) {
        deliver_close(d);
        return err;
    }
    deliver_switch(d, image);
    d->hook.turn = turn;
    shard_add_hook(shard, &d->hook);
    return MX_OK;
}

static void each_hop(struct deliver *d, void (*each)(struct hop *hop))
{
    struct list_node *node = list_first(&d->hops);
    for (; node != NULL; node = list_next(&d->hops, node)) {
        each(mx_container_of(node, struct hop, all_node));
    }
}

void deliver_stop(struct deliver *d)
{
    d->stopping = true;
    deliver_stop_asking(d);
    each_hop(d, hop_stop);
}

bool deliver_quiet(const struct deliver *d)
{
    return d->actives.used == 0 && d->conns.used == 0 && d->dsns == 0 && verify_quiet(&d->verify);
}

void deliver_abort(struct deliver *d)
{
    each_hop(d, relay_abort_all);
}

void deliver_close(struct deliver *d)
{
    struct list_node *node;
    d->stopping = true;
    /* Those of domains come after their route's, to which they refer. */
    while (d->hops.head.next != NULL && !list_empty(&d->hops)) {
        node = d->hops.head.prev;
        list_remove(node);
        hop_free(mx_container_of(node, struct hop, all_node));
    }
    mx_hops_close(d);
    slots_close(d->slots);
    pool_fini(&d->actives);
    pool_fini(&d->clis);
    pool_fini(&d->conns);
    verify_close(&d->verify);
    tls_ctx_free(d->tls_any);
    tls_ctx_free(d->tls_strict);
    free(d->route);
    free(d->vm);
    *d = (struct deliver){0};
}

/* --- another image -----------------------------------------------------------------------------
 */

static struct hop *hop_serving(struct deliver *d, const struct route_conf *route,
                               struct slice hostname)
{
    struct list_node *node = list_first(&d->hops);
    for (; node != NULL; node = list_next(&d->hops, node)) {
        struct hop *hop = mx_container_of(node, struct hop, all_node);
        if (!hop->retired && hop_is_for(hop, route, hostname)) {
            return hop;
        }
    }
    return NULL;
}

mx_err deliver_prepare(struct deliver *d, const struct image *image)
{
    MX_ASSERT(image->route_count > 0 && d->next_route == NULL);
    mx_err err = virtual_queues_prepare(&d->queues, image);
    if (err) {
        return err;
    }
    d->next_count = image->route_count;
    d->next_route = calloc(image->route_count, sizeof(struct hop *));
    if (d->next_route == NULL) {
        return MX_ERR_NOMEM;
    }
    for (uint32_t i = 0; i < image->route_count; i++) {
        struct hop *hop = hop_serving(d, &image->routes[i], image->hostname);
        if (hop == NULL) {
            hop = hop_new(d, &image->routes[i], image->hostname, SLICE_EMPTY);
        }
        if (hop == NULL) {
            deliver_cancel(d);
            return MX_ERR_NOMEM;
        }
        hop->kept = true;
        d->next_route[i] = hop;
    }
    return MX_OK;
}

static void forget_kept(struct deliver *d)
{
    struct list_node *node = list_first(&d->hops);
    for (; node != NULL; node = list_next(&d->hops, node)) {
        mx_container_of(node, struct hop, all_node)->kept = false;
    }
}

void deliver_switch(struct deliver *d, const struct image *image)
{
    MX_ASSERT(d->next_route != NULL);
    bool same_routes = d->route != NULL && d->image->route_count == image->route_count &&
                       memcmp(d->route, d->next_route, image->route_count * sizeof *d->route) == 0;
    free(d->route);
    d->route = d->next_route;
    d->next_route = NULL;
    d->image = image;
    virtual_queues_switch(&d->queues, image, d->shard->conf.id, d->shard->conf.count);
    find_longest_waits(d, image);
    struct performance before = d->performance;
    d->performance = performance_complete(&image->performance);
    for (uint32_t i = 0; i < image->route_count; i++) {
        struct hop *hop = d->route[i];
        hop->route.index = i;
        if (d->performance.connection_idle_ms != before.connection_idle_ms) {
            relay_keep_idle(hop);
        }
        if (!list_linked(&hop->all_node)) {
            list_push_back(&d->hops, &hop->all_node);
        }
    }
    struct list_node *node = list_first(&d->hops);
    for (; node != NULL; node = list_next(&d->hops, node)) {
        struct hop *hop = mx_container_of(node, struct hop, all_node);
        bool kept = hop->parent != NULL ? hop->parent->kept : hop->kept;
        hop_pause(hop); /* it may have been made before the last pause */
        if (!kept && !hop->retired) {
            hop_retire(hop);
        }
    }
    forget_kept(d);
    verify_tune(&d->verify);
    if (!same_routes) {
        verify_forget_all(&d->verify);
    }
    if (d->performance.hop_connections != before.hop_connections) {
        slots_limit(d->slots);
    }
}

void deliver_cancel(struct deliver *d)
{
    if (d->next_route == NULL) {
        return;
    }
    forget_kept(d);
    /* The list ends early where memory ran out. */
    for (uint32_t i = 0; i < d->next_count && d->next_route[i] != NULL; i++) {
        if (!list_linked(&d->next_route[i]->all_node)) {
            hop_free(d->next_route[i]);
        }
    }
    free(d->next_route);
    d->next_route = NULL;
}
