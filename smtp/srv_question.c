#include "smtp/srv_question.h"

#include "smtp/client_limit.h"
#include "smtp/service.h"
#include "smtp/srv_deadline.h"
#include "smtp/srv_stage.h"

#include <stdlib.h>

enum reply srv_reply_of(mx_err err)
{
    switch (err) {
    case MX_OK:
        return REPLY_OK;
    case MX_ERR_NOSPACE:
        return REPLY_STORE_FULL;
    case MX_ERR_NOMEM:
    case MX_ERR_LIMIT:
        return REPLY_BUSY;
    case MX_ERR_RANGE: /* it cannot be stored, now or later */
        return REPLY_TOO_BIG;
    default:
        return REPLY_IO_ERROR;
    }
}

void srv_drop_transaction(struct srv_conn *conn)
{
    if (conn->incoming != NULL) {
        quotas_forget(&conn->service->quotas, conn->incoming);
        if (conn->incoming->committing) {
            conn->incoming->owner = NULL; /* goes on without us */
        } else {
            incoming_abort(conn->incoming);
        }
        conn->incoming = NULL;
    }
    spool_txn_free(&conn->service->spool, conn->txn);
    conn->txn = NULL;
}

/* The program that decides, if there is one. */
static enum stage_verdict decide(struct srv_conn *conn, enum stage_program which,
                                 enum stage_verdict usual)
{
    bool usually = conn->service->image->stages[which] == NULL;
    return usually ? usual : srv_stage_run(conn, which, NULL, srv_answer_again);
}

/* What is of this session alone and known by now. */
static enum stage_verdict take_settings(struct srv_conn *conn, enum expr_context context)
{
    return conn->own == NULL ? STAGE_TRUE : srv_stage_settings(conn, context, srv_answer_again);
}

/* REPLY_OK: within all rates, or *later. *text is valid until the next question. */
enum reply srv_throttle(struct srv_conn *conn, enum inbound_stage stage, struct slice *text,
                        bool *later)
{
    bool transaction = stage >= INBOUND_MAIL;
    switch (throttle_test(conn, stage, text, srv_answer_again)) {
    case THROTTLE_PASSED:
        return REPLY_OK;
    case THROTTLE_LATER:
        *later = true;
        return REPLY_OK;
    case THROTTLE_OVER:
        return transaction ? REPLY_THROTTLED : REPLY_THROTTLED_CLOSING;
    case THROTTLE_FAILED:
    default:
        return transaction ? REPLY_LOOKUP_FAILED : REPLY_OVERLOAD;
    }
}

/* What one connection too many is told. */
static enum reply refusal_of(struct srv_conn *conn, struct slice *text)
{
    enum stats_refusal why = (enum stats_refusal)conn->refusal;
    switch (why) {
    case REFUSAL_CLIENT_FULL:
    case REFUSAL_NETWORK_FULL:
        *text = client_limit_text(conn, why);
        return REPLY_TOO_MANY_CONNECTIONS;
    case REFUSAL_LISTENER_FULL:
    case REFUSAL_SERVER_FULL:
        *text = client_limit_text(conn, why);
        return REPLY_SERVER_FULL;
    default:
        return REPLY_OVERLOAD;
    }
}

/* *banner, or what the refusal says, is valid until the next question. What cannot be worked out is
 * an end for now: no other limits, no other text. */
static enum reply on_connect(struct srv_conn *conn, struct slice *banner, bool *later)
{
    struct expr_value value;
    if (conn->refusal != STATS_REFUSALS) {
        return refusal_of(conn, banner);
    }
    if (conn->service->stopping) {
        return REPLY_OVERLOAD;
    }
    enum reply reply =
        conn->throttled ? REPLY_OK : srv_throttle(conn, INBOUND_CONNECT, banner, later);
    if (reply != REPLY_OK || *later) {
        return reply;
    }
    conn->throttled = true;
    *later = srv_greet_later(conn);
    if (*later) {
        return REPLY_OK;
    }
    enum stage_verdict verdict = take_settings(conn, EXPR_CONN);
    if (verdict == STAGE_TRUE && conn->service->image->stages[STAGE_GREETING] != NULL) {
        verdict = srv_stage_run(conn, STAGE_GREETING, &value, srv_answer_again);
        if (verdict == STAGE_TRUE && value.type == EXPR_STRING) {
            *banner = value.string;
        }
    }
    *later = verdict == STAGE_LATER;
    conn->welcome = verdict == STAGE_TRUE || verdict == STAGE_FALSE;
    if (verdict != STAGE_LATER && conn->own != NULL) {
        srv_timer_sooner(conn); /* its own times may be shorter */
    }
    return verdict == STAGE_FAILED ? REPLY_OVERLOAD : REPLY_OK;
}

static bool is_qualified(struct slice name)
{
    size_t dot = slice_find(name, '.');
    return dot > 0 && dot + 1 < name.len && name.ptr[0] != '[';
}

static enum reply on_helo(struct srv_conn *conn, struct slice name, struct slice *text, bool *later)
{
    enum stage_verdict verdict = decide(conn, STAGE_FQDN, STAGE_FALSE);
    if (verdict == STAGE_TRUE && !is_qualified(name)) {
        return REPLY_HELO_NOT_FQDN;
    }
    if (verdict == STAGE_TRUE || verdict == STAGE_FALSE) {
        verdict = take_settings(conn, EXPR_EHLO);
    }
    *later = verdict == STAGE_LATER;
    if (verdict == STAGE_LATER || verdict == STAGE_FAILED) {
        return *later ? REPLY_OK : REPLY_LOOKUP_FAILED;
    }
    uint8_t *copy = malloc(name.len + 1);
    if (copy == NULL) {
        return REPLY_BUSY;
    }
    if (name.len > 0) {
        memcpy(copy, name.ptr, name.len);
    }
    free(conn->helo);
    conn->helo = copy;
    conn->helo_len = (uint8_t)name.len;
    conn->refused_len = 0;
    return srv_throttle(conn, INBOUND_EHLO, text, later);
}

/* With nothing left of the one before. */
static enum reply begin_transaction(struct srv_conn *conn, const struct srv_ask *ask,
                                    struct slice sender)
{
    srv_drop_transaction(conn);
    conn->pace = (struct srv_pace){0};
    conn->txn = spool_txn_new(&conn->service->spool);
    if (conn->txn == NULL) {
        return REPLY_BUSY;
    }
    conn->txn->session = conn->number;
    conn->txn->connected_ns = conn->began_ns;
    struct envelope *env = &conn->txn->env;
    env->mail = ask->mail;
    mx_err err = txn_text(&env->sender, conn->txn, sender);
    if (!err) {
        err = txn_text(&env->mail.envid, conn->txn, ask->mail.envid);
    }
    if (err) {
        srv_drop_transaction(conn);
    } else {
        srv_stage_rewritten(conn, sender);
    }
    return srv_reply_of(err);
}

static enum reply on_mail(struct srv_conn *conn, const struct srv_ask *ask, struct slice *text,
                          bool *later)
{
    struct service *service = conn->service;
    if (service->stopping) {
        return REPLY_SHUTDOWN;
    }
    if (srv_session_is_over(conn)) {
        count_one(&service->session_stats.timeouts);
        return REPLY_TIMEOUT;
    }
    switch (decide(conn, STAGE_SENDER, STAGE_TRUE)) {
    case STAGE_TRUE:
        break;
    case STAGE_FALSE:
        return REPLY_SENDER_DENIED;
    case STAGE_LATER:
        *later = true;
        return REPLY_OK;
    case STAGE_FAILED:
    default:
        return REPLY_LOOKUP_FAILED;
    }
    uint8_t memory[ADDRESS_MAX];
    struct slice sender;
    enum stage_verdict verdict =
        srv_stage_rewrite(conn, STAGE_REWRITE_SENDER, &sender, memory, srv_answer_again);
    if (verdict != STAGE_TRUE) {
        *later = verdict == STAGE_LATER;
        return *later ? REPLY_OK : REPLY_LOOKUP_FAILED;
    }
    if (!service_has_memory(service)) {
        return REPLY_BUSY;
    }
    if (shed_queue_full(&service->shed)) {
        return REPLY_STORE_FULL;
    }
    mx_err err = journal_room(service->spool.journal, ask->mail.size, 0);
    if (err) {
        return srv_reply_of(err);
    }
    enum reply reply = srv_throttle(conn, INBOUND_MAIL, text, later);
    if (reply != REPLY_OK || *later) {
        return reply;
    }
    return begin_transaction(conn, ask, sender);
}

/* Answers the open question, at once or later (false). */
bool srv_answer_question(struct srv_conn *conn, struct writer *out)
{
    const struct srv_ask *ask = &conn->srv.ask;
    enum reply reply = REPLY_OK;
    bool later = false;
    struct slice text = SLICE_EMPTY;
    switch (ask->kind) {
    case SRV_ASK_CONNECT:
        reply = on_connect(conn, &text, &later);
        break;
    case SRV_ASK_HELO:
        reply = on_helo(conn, ask->text, &text, &later);
        break;
    case SRV_ASK_MAIL:
        reply = on_mail(conn, ask, &text, &later);
        break;
    case SRV_ASK_RCPT:
        reply = srv_on_rcpt(conn, &text, &later);
        break;
    case SRV_ASK_DATA:
        reply = srv_on_data(conn);
        break;
    case SRV_ASK_BODY: {
        mx_err err = incoming_body(conn->incoming, ask->text);
        later = err == MX_ERR_AGAIN;
        reply = srv_reply_of(err);
        break;
    }
    case SRV_ASK_END:
        reply = srv_on_end(conn, &ask->end, &text, &later);
        break;
    case SRV_ASK_ABORT:
        srv_drop_transaction(conn);
        break;
    }
    if (!later) {
        srv_conn_answer(conn, reply, text, out);
        srv_wait_end(conn);
    }
    return !later;
}
