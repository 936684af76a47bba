#include "smtp/bounce.h"

#include "core/check.h"
#include "core/text.h"
#include "smtp/content.h"

#include <stdlib.h>

enum {
    BOUNCE_RETRY_MS = 1000,
    POSTPONED_MS = 60000, /* until the next attempt of a recipient whose report found no memory */
};

/* A DSN until it is durable. */
struct bounce {
    struct deliver *deliver;
    struct message *of;
    struct qid original_id;
    struct timer retry;
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

/* Text is handed over in one piece: a DSN is smaller than an extent, so nothing has to wait in
 * between. */
static void bounce_try(struct bounce *bounce)
{
    struct incoming *in = incoming_begin(bounce->deliver->spool, bounce);
    struct txn *txn = in == NULL ? NULL : envelope_make(bounce);
    if (txn == NULL || incoming_body(in, slice_of(bounce->text, bounce->text_len))) {
        spool_txn_free(bounce->deliver->spool, txn);
        if (in != NULL) {
            incoming_abort(in);
        }
        bounce_later(bounce);
        return;
    }
    in->done = commit_done;
    in->marks_of = bounce->of;
    in->marks = bounce->marks;
    in->mark_count = bounce->mark_count;
    in->use_reserve = true;
    if (incoming_commit(in, txn)) {
        bounce_later(bounce);
    }
}

static mx_err text_make(struct bounce *bounce, struct active *active,
                        const struct bounce_item *items, uint32_t count)
{
    struct deliver *d = active->deliver;
    const struct envelope *env = &active->txn->env;
    bool whole = env->mail.ret == RET_FULL && active->msg->extent_count == 0 &&
                 env->prefix.len + active->msg->body_bytes <= DSN_FULL_MAX;
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
                                         .retry_until_ms = items[i].retry_until_ms};
        }
        struct dsn dsn = {.hostname = d->image->hostname,
                          .id = journal_next_id(d->spool->journal),
                          .original_id = active->msg->id,
                          .env = env,
                          .original_header = slice_first(content, header),
                          .original_body = whole ? slice_from(content, header) : SLICE_EMPTY,
                          .wall_ms = d->shard->wall_ms,
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

static struct bounce *bounce_new(struct active *active, const struct bounce_item *items,
                                 uint32_t count)
{
    size_t head = sizeof(struct bounce) + count * sizeof(struct record_outcome);
    struct bounce *bounce = calloc(1, head + (size_t)count * RECORD_TEXT_MAX);
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
    uint8_t *texts = (uint8_t *)bounce + head;
    for (uint32_t i = 0; i < count; i++) {
        struct slice text = slice_first(items[i].outcome.text, RECORD_TEXT_MAX);
        uint8_t *copy = texts + (size_t)i * RECORD_TEXT_MAX;
        if (text.len > 0) {
            memcpy(copy, text.ptr, text.len);
        }
        struct rcpt_state state = active->msg->rcpts[items[i].rcpt];
        if (items[i].action == DSN_DELAYED) {
            state.notified = items[i].notices;
        }
        bounce->marks[i] = (struct record_outcome){
            .rcpt = items[i].rcpt, .state = state, .text = slice_of(copy, text.len)};
    }
    active->deliver->dsns++;
    if (bounce->sender != NULL) {
        memcpy(bounce->sender, sender.ptr, sender.len);
        bounce->sender_len = sender.len;
    }
    if (bounce->sender == NULL || text_make(bounce, active, items, count)) {
        bounce_free(bounce);
        return NULL;
    }
    return bounce;
}

/* Without memory for the report of a failure, the failure may not become final either: the state
 * goes back to pending, and the next attempt reports. What was delivered is delivered: it is marked
 * without the report, or it would be delivered again after a restart. */
static void postpone(struct active *active, const struct bounce_item *item)
{
    struct deliver *d = active->deliver;
    struct rcpt_state *state = &active->msg->rcpts[item->rcpt];
    if (state->status == RCPT_DELIVERED) {
        spool_mark(d->spool, active->msg,
                   &(struct record_outcome){
                       .rcpt = item->rcpt, .state = *state, .text = item->outcome.text},
                   1);
        return;
    }
    if (state->status == RCPT_FAILED) {
        state->status = RCPT_PENDING;
        active->msg->rcpts_left++;
    }
    state->due_ms = d->shard->wall_ms + POSTPONED_MS;
}

void bounce_send(struct active *active, const struct bounce_item *items, uint32_t count)
{
    struct bounce *bounce = bounce_new(active, items, count);
    if (bounce == NULL) {
        struct log *log = &active->deliver->shard->log;
        struct log_line *line = log_begin(log, LOG_ERROR, "dsn-postponed");
        log_qid(line, "id", active->msg->id);
        log_text(line, "reason", "out of memory");
        log_end(log, line);
        for (uint32_t i = 0; i < count; i++) {
            postpone(active, &items[i]);
        }
        return;
    }
    for (uint32_t i = 0; i < count; i++) {
        active->msg->rcpts[items[i].rcpt].notified = bounce->marks[i].state.notified;
    }
    /* The marks: taken back when the DSN's record is durable. */
    active->msg->writes++;
    active->msg->undecided++;
    bounce_try(bounce);
}
