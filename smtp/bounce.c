#include "smtp/bounce.h"

#include "core/check.h"
#include "core/text.h"
#include "smtp/addr_parse.h"
#include "smtp/content.h"
#include "smtp/deliver_private.h"

#include <stdlib.h>

enum {
    BOUNCE_RETRY_MS = 1000,
    POSTPONED_MS = 60000, /* until a report is made again that found no memory */
};

/* A DSN until it is durable. */
struct bounce {
    struct deliver *deliver;
    struct message *of;
    struct qid original_id;
    struct timer retry;
    size_t bytes;  /* of memory, in deliver->dsn_bytes */
    uint8_t *text; /* the whole message */
    size_t text_len;
    uint8_t *sender; /* whom it goes to */
    size_t sender_len;
    bool smtputf8;
    uint32_t mark_count;
    struct record_outcome marks[]; /* texts point behind them */
};

static void bounce_try(struct bounce *bounce);

bool bounce_wanted(const struct active *active, uint32_t rcpt, int action)
{
    const struct envelope *env = &active->txn->env;
    return action >= 0 && env->sender.len > 0 && env->source != SOURCE_DSN &&
           dsn_wanted(env->rcpts[rcpt].params.notify, (enum dsn_action)action);
}

static void bounce_free(struct bounce *bounce)
{
    bounce->deliver->dsns--;
    bounce->deliver->dsn_bytes -= bounce->bytes;
    free(bounce->text);
    free(bounce->sender);
    free(bounce);
}

static void retry_fire(struct timer *timer, uint64_t now_ns)
{
    (void)now_ns;
    bounce_try(mx_container_of(timer, struct bounce, retry));
}

static void bounce_later(struct bounce *bounce)
{
    bounce->retry.fire = retry_fire;
    shard_after(bounce->deliver->shard, &bounce->retry, BOUNCE_RETRY_MS * MX_NS_PER_MS);
}

static void commit_done(struct incoming *in, mx_err err)
{
    struct bounce *bounce = in->owner;
    if (err) {
        bounce_later(bounce);
        return;
    }
    count_one(&bounce->deliver->stats.reports);
    struct log *log = &bounce->deliver->shard->log;
    struct log_line *line = log_begin(log, LOG_INFO, "dsn-queued");
    log_qid(line, "id", in->id);
    log_qid(line, "of", bounce->original_id);
    log_slice(line, "to", slice_of(bounce->sender, bounce->sender_len));
    log_end(log, line);
    bounce_free(bounce);
}

static struct txn *envelope_make(struct bounce *bounce)
{
    struct deliver *d = bounce->deliver;
    struct txn *txn = spool_txn_new(d->spool);
    if (txn == NULL) {
        return NULL;
    }
    struct rcpt_params params = {.notify = NOTIFY_NEVER};
    if (txn_add_rcpt(txn, slice_of(bounce->sender, bounce->sender_len), &params)) {
        spool_txn_free(d->spool, txn);
        return NULL;
    }
    txn->env.source = SOURCE_DSN;
    txn->env.arrived_wall_ms = d->shard->wall_ms;
    txn->env.body_bytes = bounce->text_len;
    txn->env.body_has_8bit = !text_is_ascii(slice_of(bounce->text, bounce->text_len));
    txn->env.body_ends_in_crlf = true;
    txn->env.mail.smtputf8 = bounce->smtputf8;
    return txn;
}

static void commit(struct incoming *in)
{
    struct bounce *bounce = in->owner;
    struct txn *txn = in->failed ? NULL : envelope_make(bounce);
    if (txn == NULL) {
        incoming_abort(in);
        bounce_later(bounce);
        return;
    }
    in->done = commit_done;
    in->marks_of = bounce->of;
    in->marks = bounce->marks;
    in->mark_count = bounce->mark_count;
    if (incoming_commit(in, txn)) {
        bounce_later(bounce);
    }
}

/* One about very many recipients is larger than a record: nothing in flight, all taken. */
static void body_goes_on(struct incoming *in)
{
    if (in->in_flight == 0 && !in->blocked && !in->committing) {
        commit(in);
    }
}

/* For all of it: extents without their record would use up for nothing what others need. */
static bool has_room(const struct bounce *bounce)
{
    uint64_t extents = bounce->text_len / EXTENT_BYTES;
    uint64_t bytes = bounce->text_len + extents * JOURNAL_BLOCK_BYTES;
    return journal_room(bounce->deliver->spool->journal, bytes, JOURNAL_REPORT) == MX_OK;
}

static void bounce_try(struct bounce *bounce)
{
    struct incoming *in = has_room(bounce) ? incoming_begin(bounce->deliver->spool, bounce) : NULL;
    if (in == NULL) {
        bounce_later(bounce);
        return;
    }
    in->ready = body_goes_on;
    in->drained = body_goes_on;
    in->use_reserve = true;
    mx_err err = incoming_body(in, slice_of(bounce->text, bounce->text_len));
    if (err && err != MX_ERR_AGAIN) {
        incoming_abort(in);
        bounce_later(bounce);
    } else {
        body_goes_on(in);
    }
}

/* RFC 3461 section 6.2: only a failure returns the content. */
static bool returns_all(const struct active *active)
{
    const struct envelope *env = &active->txn->env;
    bool failed = false;
    for (uint32_t i = 0; i < active->report_count; i++) {
        failed = failed || active->reports[i].action == DSN_FAILED;
    }
    return failed && env->mail.ret == RET_FULL && active->msg->extent_count == 0 &&
           env->prefix.len + active->msg->body_bytes <= DSN_FULL_MAX;
}

/* What a program of the context QSENDER yields about this report; empty: there is none, or it
 * failed. */
static struct slice from_ask(struct active *active, enum stage_program which)
{
    const struct deliver *d = active->deliver;
    const struct expr_program *program = d->image->stages[which];
    uint32_t first = active->reports[0].rcpt;
    struct routing_context ctx = active_routing(active, first);
    struct routing_host host = {.mx = SLICE_EMPTY};
    struct expr_value value;
    struct slice copy = SLICE_EMPTY;
    if (program == NULL) {
        return SLICE_EMPTY;
    }
    bool good = routing_ask(&value, &ctx, program, &host, active->txn->rcpts[first].address,
                            &active->txn->env) &&
                value.type == EXPR_STRING && value.string.len <= ADDRESS_MAX;
    struct address address;
    if (good && which == STAGE_REPORT_ADDRESS) {
        good = addr_parse_mailbox(&address, value.string) == MX_OK && text_is_ascii(value.string);
    }
    if (!good || txn_text(&copy, active->txn, value.string)) {
        struct log *log = &active->deliver->shard->log;
        struct log_line *line = log_begin(log, LOG_WARN, "dsn-from-default");
        log_qid(line, "id", active->msg->id);
        log_text(line, "field", which == STAGE_REPORT_ADDRESS ? "fromAddress" : "fromName");
        log_text(line, "reason", "the expression of DsnReportSettings does not yield one");
        log_end(log, line);
    }
    return copy;
}

static mx_err text_make(struct bounce *bounce, struct active *active)
{
    struct deliver *d = active->deliver;
    const struct bounce_item *items = active->reports;
    uint32_t count = active->report_count;
    const struct envelope *env = &active->txn->env;
    bool whole = returns_all(active);
    uint8_t *quoted = malloc(DSN_FULL_MAX);
    struct dsn_rcpt *rcpts = calloc(count, sizeof *rcpts);
    mx_err err = quoted == NULL || rcpts == NULL ? MX_ERR_NOMEM : MX_OK;
    if (!err) {
        struct slice content = content_head(active, quoted, whole ? DSN_FULL_MAX : DSN_HEADER_MAX);
        size_t header = content_header_end(content);
        for (uint32_t i = 0; i < count; i++) {
            const struct outcome *o = &items[i].outcome;
            rcpts[i] = (struct dsn_rcpt){.rcpt = &env->rcpts[items[i].rcpt],
                                         .action = items[i].action,
                                         .status = {o->status[0], o->status[1], o->status[2]},
                                         .code = o->code,
                                         .text = o->text,
                                         .remote_host = items[i].remote,
                                         .expired = o->expired,
                                         .attempted_ms = items[i].attempted_ms,
                                         .retry_until_ms = items[i].retry_until_ms};
        }
        struct dsn dsn = {.hostname = d->image->hostname,
                          .id = journal_next_id(d->spool->journal),
                          .original_id = active->msg->id,
                          .env = env,
                          .original_header = slice_first(content, header),
                          .original_body = whole ? slice_from(content, header) : SLICE_EMPTY,
                          .wall_ms = d->shard->wall_ms,
                          .from_name = from_ask(active, STAGE_REPORT_NAME),
                          .from_address = from_ask(active, STAGE_REPORT_ADDRESS),
                          .rcpts = rcpts,
                          .rcpt_count = count};
        size_t cap = dsn_bytes_max(&dsn);
        bounce->text = malloc(cap);
        struct writer w = writer_init(bounce->text, bounce->text == NULL ? 0 : cap);
        dsn_print(&w, &dsn);
        bounce->text_len = w.len;
        err = bounce->text == NULL || w.overflow ? MX_ERR_NOMEM : MX_OK;
    }
    free(quoted);
    free(rcpts);
    return err;
}

/* Of one mark: the state's texts may change before it is written. */
struct mark_texts {
    uint8_t text[RECORD_TEXT_MAX];
    uint8_t hop[RECORD_HOP_MAX];
    uint8_t queue[RECORD_QUEUE_MAX];
};

static struct slice keep(uint8_t *buf, struct slice text, size_t max)
{
    struct slice from = slice_first(text, max);
    if (from.len > 0) {
        memcpy(buf, from.ptr, from.len);
    }
    return slice_of(buf, from.len);
}

static void mark_make(struct record_outcome *mark, const struct active *active,
                      const struct bounce_item *item, struct mark_texts *texts)
{
    struct rcpt_state state = active->msg->rcpts[item->rcpt];
    state.report = 0;
    if (item->action == DSN_DELAYED) {
        state.notified = item->notices;
    }
    *mark = (struct record_outcome){.rcpt = item->rcpt,
                                    .state = state,
                                    .text = keep(texts->text, item->outcome.text, RECORD_TEXT_MAX)};
    if (state.status == RCPT_PENDING) {
        const struct texts *from = &active->deliver->spool->texts;
        mark->hop = keep(texts->hop, texts_get(from, state.hop), RECORD_HOP_MAX);
        mark->queue = keep(texts->queue, texts_get(from, state.queue), RECORD_QUEUE_MAX);
    }
}

static struct bounce *bounce_new(struct active *active)
{
    uint32_t count = active->report_count;
    size_t head = sizeof(struct bounce) + count * sizeof(struct record_outcome);
    struct bounce *bounce = calloc(1, head + (size_t)count * sizeof(struct mark_texts));
    if (bounce == NULL) {
        return NULL;
    }
    struct slice sender = active->txn->env.sender;
    bounce->deliver = active->deliver;
    bounce->of = active->msg;
    bounce->original_id = active->msg->id;
    bounce->smtputf8 = active->txn->env.mail.smtputf8;
    bounce->mark_count = count;
    bounce->sender = malloc(sender.len);
    struct mark_texts *texts = (struct mark_texts *)((uint8_t *)bounce + head);
    for (uint32_t i = 0; i < count; i++) {
        mark_make(&bounce->marks[i], active, &active->reports[i], &texts[i]);
    }
    active->deliver->dsns++;
    if (bounce->sender != NULL) {
        memcpy(bounce->sender, sender.ptr, sender.len);
        bounce->sender_len = sender.len;
    }
    if (bounce->sender == NULL || text_make(bounce, active)) {
        bounce_free(bounce);
        return NULL;
    }
    uint8_t *text = realloc(bounce->text, bounce->text_len);
    bounce->text = text != NULL ? text : bounce->text;
    bounce->bytes = head + count * sizeof(struct mark_texts) + bounce->text_len;
    active->deliver->dsn_bytes += bounce->bytes;
    return bounce;
}

/* --- what is to be reported --------------------------------------------------------------------
 */

/* Without memory for the report: what is final stays open; what is delayed is told with its next
 * attempt, when that comes by its schedule. Either is written down, once. */
static void postpone(struct active *active, const struct bounce_item *item)
{
    struct deliver *d = active->deliver;
    const struct texts *texts = &d->spool->texts;
    struct rcpt_state *state = &active->msg->rcpts[item->rcpt];
    if (state->report != 0) {
        state->due_ms = d->shard->wall_ms + POSTPONED_MS;
    }
    if (!item->written) {
        struct record_outcome o = {.rcpt = item->rcpt,
                                   .state = *state,
                                   .text = texts_get(texts, state->reply),
                                   .hop = texts_get(texts, state->hop),
                                   .queue = texts_get(texts, state->queue)};
        if (state->status == RCPT_PENDING) {
            spool_mark_deferred(d->spool, active->msg, &o, 1);
        } else {
            spool_mark(d->spool, active->msg, &o, 1);
        }
    }
}

static void log_postponed(const struct active *active, const char *reason)
{
    struct log *log = &active->deliver->shard->log;
    struct log_line *line = log_begin_repeated(log, LOG_ERROR, "dsn-postponed");
    log_qid(line, "id", active->msg->id);
    log_text(line, "reason", reason);
    log_end(log, line);
}

static void wait_fire(struct timer *timer, uint64_t now_ns)
{
    (void)now_ns;
    bounce_send(mx_container_of(timer, struct active, report_wait));
}

/* False: no memory. */
static bool item_add(struct active *active, const struct bounce_item *item)
{
    if (active->reports == NULL) {
        active->reports = calloc(active->msg->rcpt_count, sizeof *active->reports);
    }
    if (active->reports == NULL) {
        log_postponed(active, "out of memory");
        postpone(active, item);
        return false;
    }
    if (active->report_count == 0) {
        active->report_wait.fire = wait_fire;
        shard_after(active->deliver->shard, &active->report_wait, BOUNCE_WAIT_MS * MX_NS_PER_MS);
    }
    MX_ASSERT(active->report_count < active->msg->rcpt_count);
    active->reports[active->report_count++] = *item;
    return true;
}

void bounce_note(struct active *active, const struct bounce_item *item)
{
    struct rcpt_state *state = &active->msg->rcpts[item->rcpt];
    if (item->action != DSN_DELAYED) {
        state->report = (uint8_t)(item->action + 1);
        state->due_ms = active->deliver->shard->wall_ms;
        active->msg->rcpts_left++;
    }
    struct bounce_item own = *item;
    if (txn_text(&own.remote, active->txn, item->remote)) {
        own.remote = SLICE_EMPTY;
    }
    (void)item_add(active, &own);
}

void bounce_note_open(struct active *active, uint32_t rcpt)
{
    struct rcpt_state *state = &active->msg->rcpts[rcpt];
    MX_ASSERT(state->report > 0 && state->status != RCPT_PENDING);
    struct bounce_item item = {
        .rcpt = rcpt, .action = (enum dsn_action)(state->report - 1), .written = true};
    item.outcome.code = state->code;
    item.outcome.text = texts_get(&active->deliver->spool->texts, state->reply);
    dsn_status_guess(item.outcome.status, item.action, item.outcome.text);
    (void)item_add(active, &item);
}

void bounce_send(struct active *active)
{
    uint32_t count = active->report_count;
    wheel_cancel(&active->deliver->shard->wheel, &active->report_wait);
    if (count == 0) {
        return;
    }
    bool too_many = active->deliver->dsn_bytes >= BOUNCE_BYTES_MAX;
    struct bounce *bounce = too_many ? NULL : bounce_new(active);
    active->report_count = 0;
    if (bounce == NULL) {
        log_postponed(active, too_many ? "too many reports wait for the disk" : "out of memory");
        for (uint32_t i = 0; i < count; i++) {
            postpone(active, &active->reports[i]);
        }
        return;
    }
    for (uint32_t i = 0; i < count; i++) {
        struct rcpt_state *state = &active->msg->rcpts[bounce->marks[i].rcpt];
        active->msg->rcpts_left -= state->report != 0;
        state->report = 0;
        state->notified = bounce->marks[i].state.notified;
    }
    /* The marks: taken back when the DSN's record is durable. */
    active->msg->writes++;
    active->msg->undecided++;
    bounce_try(bounce);
}
