/* What came of the attempts: deliver's part of it. */
#include "core/check.h"
#include "smtp/bounce.h"
#include "smtp/deliver_ask.h"
#include "smtp/deliver_private.h"
#include "smtp/history.h"
#include "smtp/hop.h"

#include <stdlib.h>

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
    if (outcome->host.len > 0 &&
        txn_text(&rcpt->outcome.host, delivery->active->txn, outcome->host)) {
        rcpt->outcome.host = SLICE_EMPTY;
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

/* Who is to be named for it, or empty. */
static struct slice host_of(const struct delivery *delivery, const struct delivery_rcpt *rcpt)
{
    return delivery->remote.len > 0 ? delivery->remote : rcpt->outcome.host;
}

/* Since its arrival; the calendar may have been set back meanwhile. */
static uint64_t age_ns(const struct deliver *d, const struct message *msg)
{
    int64_t age_ms = d->shard->wall_ms - msg->arrived_ms;
    return age_ms > 0 ? (uint64_t)age_ms * MX_NS_PER_MS : 0;
}

/* Of its transaction; 0: there was none. */
static uint64_t took_ms(const struct delivery *delivery)
{
    uint64_t now_ns = delivery->active->deliver->shard->now_ns;
    return delivery->began_ns == 0 ? 0 : (now_ns - delivery->began_ns) / MX_NS_PER_MS;
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
    if (delivery->hop != NULL) {
        log_slice(line, "route", delivery->hop->route.name);
    }
    if (host_of(delivery, rcpt).len > 0) {
        log_slice(line, "host", host_of(delivery, rcpt));
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
        log_u64(line, "took-ms", took_ms(delivery));
    }
    log_u64(line, "age-ms", age_ns(active->deliver, active->msg) / MX_NS_PER_MS);
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

/* It was not tried: its turn comes later, or it is given up before (0: not by time). */
static void wait_turn(struct deliver *d, struct rcpt_state *state, int64_t due_ms, int64_t end_ms)
{
    if (!is_early(state, d->shard->wall_ms)) {
        state->due_ms = end_ms != 0 && end_ms < due_ms ? end_ms : due_ms;
    }
    state->flags &= (uint8_t) ~(RCPT_PUT_OFF | RCPT_FOR_NOTICE | RCPT_EARLY);
    state->flags |= RCPT_THROTTLED;
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

/* Recipients without next hop count in the row that is shared, and for no kind of hops. */
static struct route_row *row_of(const struct delivery *delivery)
{
    struct deliver *d = delivery->active->deliver;
    return &d->stats.routes[delivery->hop != NULL ? delivery->hop->row : STATS_OTHERS];
}

/* With what was asked for this attempt; NULL: that does not tell. */
static const struct schedule *schedule_of(struct active *active, uint32_t i)
{
    struct deliver *d = active->deliver;
    struct routing_context ctx = active_routing(active, i);
    struct expr_asker asker;
    const char *problem;
    deliver_asker(&asker, active);
    ctx.asker = active->answers != NULL ? &asker : NULL;
    if (active->answers != NULL) {
        dns_answers_close(active->answers);
    }
    const struct schedule *schedule =
        routing_schedule(&ctx, active->txn->rcpts[i].address, &active->txn->env, &problem);
    dns_answers_rest(active->answers);
    if (problem != NULL) {
        struct log_line *line = log_begin_repeated(&d->shard->log, LOG_WARN, "schedule-unknown");
        log_qid(line, "id", active->msg->id);
        log_text(line, "reason", problem);
        log_text(
            line, "effect",
            "the next attempt follows the default times; no schedule that may be meant ends it "
            "too early");
        log_end(&d->shard->log, line);
    }
    return schedule;
}

/* Until its turn, or its next attempt. */
static void put_off(struct delivery *delivery, const struct delivery_rcpt *rcpt,
                    const struct schedule *schedule, const struct schedule_progress *progress)
{
    struct deliver *d = delivery->active->deliver;
    struct rcpt_state *state = &delivery->active->msg->rcpts[rcpt->rcpt];
    if (delivery->hop != NULL) {
        count_one(&delivery->hop->stats->deferred);
    }
    count_one(&row_of(delivery)->deferred);
    if (rcpt->outcome.due_ms != 0) {
        wait_turn(d, state, rcpt->outcome.due_ms, rcpt->retry_until_ms);
    } else {
        defer(d, state, schedule, progress);
    }
    log_outcome(delivery, rcpt, "deferred");
}

/* Under every schedule that the expression may have meant. */
static bool is_expired_anyway(const struct image *image, int64_t now_ms,
                              const struct schedule_progress *progress)
{
    bool expired = true;
    for (uint32_t i = 0; expired && i < image->schedule_count; i++) {
        expired = schedule_expired(&image->schedules[i], now_ms, progress);
    }
    return expired;
}

/* A temporary failure when nobody can say which schedule holds: nothing is said of a delay, and it
 * does not end before every schedule would end it. Returns as apply. */
static int apply_unscheduled(struct delivery *delivery, struct delivery_rcpt *rcpt)
{
    struct active *active = delivery->active;
    struct deliver *d = active->deliver;
    struct rcpt_state *state = &active->msg->rcpts[rcpt->rcpt];
    struct schedule_progress progress = {.arrived_ms = active->msg->arrived_ms,
                                         .end_ms = set_end_ms(state),
                                         .attempts = state->attempts,
                                         .notified = state->notified};
    if (is_expired_anyway(d->image, d->shard->wall_ms, &progress)) {
        expire(&rcpt->outcome);
        return -1;
    }
    rcpt->notices = state->notified;
    rcpt->retry_until_ms = progress.end_ms;
    put_off(delivery, rcpt, &d->conf.schedule, &progress);
    return -1;
}

/* A temporary failure under the schedule that the recipient has now. Returns as apply. */
static int apply_temporary(struct delivery *delivery, struct delivery_rcpt *rcpt)
{
    struct active *active = delivery->active;
    struct deliver *d = active->deliver;
    struct message *msg = active->msg;
    struct rcpt_state *state = &msg->rcpts[rcpt->rcpt];
    const struct schedule *schedule = schedule_of(active, rcpt->rcpt);
    if (schedule == NULL) {
        return apply_unscheduled(delivery, rcpt);
    }
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
    deliver_note_end(state, schedule, msg->arrived_ms);
    put_off(delivery, rcpt, schedule, &progress);
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
    struct class_stats *stats = delivery->hop != NULL ? delivery->hop->stats : NULL;
    struct route_row *row = row_of(delivery);
    MX_ASSERT(state->status == RCPT_PENDING);
    note_reply(d, state, o);
    state->flags &= (uint8_t) ~(RCPT_TLS_FAILED | RCPT_THROTTLED);
    state->flags |= o->tls_fault ? RCPT_TLS_FAILED : 0;
    bool counts = o->kind != OUTCOME_TEMPORARY ||
                  (!o->no_step && o->due_ms == 0 && !is_extra(state, d->shard->wall_ms));
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
        if (stats != NULL) {
            count_one(&stats->delivered);
            hdr_add(&stats->age_ns, age_ns(d, msg));
        }
        count_one(&row->delivered);
        log_outcome(delivery, rcpt, rcpt->expanded ? "expanded" : "delivered");
        if (rcpt->expanded) {
            return DSN_EXPANDED;
        }
        if (delivery->dsn_passed) {
            return -1;
        }
        MX_ASSERT(delivery->hop != NULL);
        /* An LMTP server has taken it into the mailbox (RFC 2033). */
        const struct route_conf *route = &delivery->hop->route;
        return route->kind == ROUTE_LOCAL || route->lmtp ? DSN_DELIVERED : DSN_RELAYED;
    }
    state->status = RCPT_FAILED;
    if (stats != NULL) {
        count_one(&stats->failed);
    }
    count_one(&row->failed);
    log_outcome(delivery, rcpt, "failed");
    return DSN_FAILED;
}

static bool is_pending(const struct message *msg)
{
    bool pending = false;
    for (uint32_t i = 0; msg->rcpts_left > 0 && !pending && i < msg->rcpt_count; i++) {
        pending = msg->rcpts[i].status == RCPT_PENDING;
    }
    return pending;
}

static struct history_entry history_of(const struct delivery *delivery,
                                       const struct delivery_rcpt *rcpt)
{
    const struct deliver *d = delivery->active->deliver;
    const struct outcome *o = &rcpt->outcome;
    text_id hop = delivery->hop != NULL ? delivery->hop->name : 0;
    uint64_t took = took_ms(delivery);
    return (struct history_entry){.rcpt = rcpt->rcpt,
                                  .at_ms = d->shard->wall_ms,
                                  .took_ms = took < UINT32_MAX ? (uint32_t)took : UINT32_MAX,
                                  .kind = o->kind,
                                  .code = o->code,
                                  .hop = texts_get(&d->spool->texts, hop),
                                  .host = host_of(delivery, rcpt),
                                  .peer = delivery->peer != NULL ? slice_of_text(delivery->peer)
                                                                 : SLICE_EMPTY,
                                  .text = o->text};
}

/* Whose turn comes later has not been tried. */
static bool was_tried(const struct delivery_rcpt *rcpt)
{
    return rcpt->outcome.due_ms == 0;
}

/* Adds this attempt to the history of its recipients; without memory, or room in the budget, it is
 * not in there. */
static void history_add(struct delivery *delivery)
{
    struct active *active = delivery->active;
    size_t more = 0;
    for (uint32_t i = 0; i < delivery->rcpt_count; i++) {
        struct history_entry entry = history_of(delivery, &delivery->rcpts[i]);
        more += was_tried(&delivery->rcpts[i]) ? history_entry_bytes(&entry) : 0;
    }
    bool room = !active->history_left && active_history_take(active, active->history_len + more);
    if (more == 0 || !room) {
        return;
    }
    uint8_t *bytes = realloc(active->history, active->history_len + more);
    uint8_t *counts = bytes == NULL ? NULL : malloc(active->msg->rcpt_count);
    active->history = bytes != NULL ? bytes : active->history;
    if (counts == NULL) {
        return;
    }
    struct writer w = writer_init(bytes + active->history_len, more);
    for (uint32_t i = 0; i < delivery->rcpt_count; i++) {
        struct history_entry entry = history_of(delivery, &delivery->rcpts[i]);
        if (was_tried(&delivery->rcpts[i])) {
            history_put(&w, &entry);
        }
    }
    MX_ASSERT(!w.overflow);
    active->history_len =
        history_trim(bytes, active->history_len + more, active->msg->rcpt_count, counts);
    active->history_grown = true;
    free(counts);
}

static void report(struct delivery *delivery, const struct delivery_rcpt *rcpt, int action)
{
    struct active *active = delivery->active;
    bounce_note(active, &(struct bounce_item){.rcpt = rcpt->rcpt,
                                              .action = (enum dsn_action)action,
                                              .outcome = rcpt->outcome,
                                              .notices = rcpt->notices,
                                              .retry_until_ms = rcpt->retry_until_ms,
                                              .attempted_ms = active->deliver->shard->wall_ms,
                                              .remote = host_of(delivery, rcpt)});
}

/* Where it waits is of use as long as it does. */
static struct record_outcome stored_outcome(const struct deliver *d,
                                            const struct delivery_rcpt *rcpt,
                                            const struct rcpt_state *state)
{
    struct record_outcome o = {.rcpt = rcpt->rcpt, .state = *state, .text = rcpt->outcome.text};
    if (rcpt->outcome.kind == OUTCOME_TEMPORARY) {
        o.hop = texts_get(&d->spool->texts, state->hop);
        o.queue = texts_get(&d->spool->texts, state->queue);
    }
    return o;
}

void delivery_done(struct delivery *delivery)
{
    struct active *active = delivery->active;
    struct deliver *d = active->deliver;
    struct message *msg = active->msg;
    struct record_outcome ended[DELIVER_RCPTS_MAX], deferred[DELIVER_RCPTS_MAX];
    uint32_t ended_count = 0, deferred_count = 0;
    bool is_last = active->deliveries == 1;
    MX_ASSERT(delivery->open == 0 && delivery->rcpt_count <= DELIVER_RCPTS_MAX);
    for (uint32_t i = 0; i < delivery->rcpt_count; i++) {
        struct delivery_rcpt *rcpt = &delivery->rcpts[i];
        int action = apply(delivery, rcpt);
        /* A hop that is not down would call it back at once. */
        if (rcpt->outcome.kind == OUTCOME_TEMPORARY && rcpt->outcome.host_fault &&
            delivery->hop != NULL && delivery->hop->down) {
            active_park_at(active, delivery->hop);
        }
        bool reported = bounce_wanted(active, rcpt->rcpt, action);
        if (reported) {
            report(delivery, rcpt, action);
        }
        /* The report's record holds the outcome too, but it may be long in coming; what fails once
         * more until then does no harm, what is delivered once more does. */
        if (!reported || !is_last || rcpt->outcome.kind == OUTCOME_DELIVERED) {
            struct record_outcome o = stored_outcome(d, rcpt, &msg->rcpts[rcpt->rcpt]);
            if (o.state.status == RCPT_PENDING) {
                deferred[deferred_count++] = o;
            } else {
                ended[ended_count++] = o;
            }
        }
    }
    spool_mark(d->spool, msg, ended, ended_count);
    spool_mark_deferred(d->spool, msg, deferred, deferred_count);
    /* A message that ends now takes its history with it. */
    if (!is_last || is_pending(msg)) {
        history_add(delivery);
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
