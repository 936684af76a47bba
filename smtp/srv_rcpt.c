/* RCPT: whether a recipient is taken, and why not. */
#include "core/check.h"
#include "core/text.h"
#include "smtp/service.h"
#include "smtp/srv_question.h"
#include "smtp/srv_stage.h"
#include "smtp/xtext.h"

static bool has_rcpt(const struct txn *txn, struct slice address)
{
    for (uint32_t i = 0; i < txn->env.rcpt_count; i++) {
        if (slice_equal(txn->rcpts[i].address, address)) {
            return true;
        }
    }
    return false;
}

/* Counts what became of a recipient. */
static void count_verdict(struct service *service, enum stats_verdict verdict)
{
    count_one(&service->mail_stats.rcpts[verdict]);
}

static enum stats_verdict verdict_of(const struct route_conf *route)
{
    static const enum stats_verdict verdicts[] = {
        [ROUTE_LOCAL] = VERDICT_LOCAL, [ROUTE_RELAY] = VERDICT_RELAY, [ROUTE_MX] = VERDICT_MX};
    return verdicts[route->kind];
}

static void verified(struct verify_waiter *waiter)
{
    srv_answer_again(mx_container_of(waiter, struct srv_wait, verify)->conn);
}

/* What the next hop says of the recipient. */
static enum reply verify(struct srv_conn *conn, const struct routing *routing, struct slice address,
                         bool *later)
{
    switch (srv_wait_verify(conn, routing, address, verified)) {
    case VERIFY_ACCEPTED:
        return REPLY_OK;
    case VERIFY_REFUSED:
        count_verdict(conn->service, VERDICT_REFUSED_THERE);
        return REPLY_NO_SUCH_USER;
    case VERIFY_LATER:
        *later = true;
        return REPLY_OK;
    case VERIFY_UNKNOWN:
    default:
        if (routing->resolution.domain->verify == DIR_VERIFY_ELSE_DEFER) {
            count_verdict(conn->service, VERDICT_NOT_VERIFIED);
            return REPLY_NOT_VERIFIED;
        }
        return REPLY_OK;
    }
}

/* A recipient whose domain is not served here. */
static enum reply relay(struct srv_conn *conn, const struct routing *routing, struct slice address,
                        bool *later)
{
    switch (srv_stage_relays(conn, address, srv_answer_again)) {
    case STAGE_TRUE:
        return routing->route == NULL ? REPLY_LOOKUP_FAILED : REPLY_OK;
    case STAGE_FALSE:
        return REPLY_RELAY_DENIED;
    case STAGE_LATER:
        *later = true;
        return REPLY_OK;
    case STAGE_FAILED:
    default:
        return REPLY_LOOKUP_FAILED;
    }
}

static void count_refused(struct service *service, enum reply reply)
{
    count_verdict(service, reply == REPLY_NO_SUCH_USER   ? VERDICT_UNKNOWN_USER
                           : reply == REPLY_RELAY_DENIED ? VERDICT_UNKNOWN_DOMAIN
                                                         : VERDICT_NO_ROUTE);
}

/* Of a rewritten one, reports name the original (RFC 3461 section 4.2), in ASCII. */
static mx_err add_rcpt(struct srv_conn *conn, struct slice address)
{
    const struct srv_ask *ask = &conn->srv.ask;
    struct rcpt_params params = ask->rcpt;
    uint8_t orcpt[ORCPT_MAX];
    struct writer w = writer_init(orcpt, sizeof orcpt);
    bool is_other = !slice_equal(address, ask->text);
    if (is_other && params.orcpt.len == 0 && text_is_ascii(ask->text)) {
        put_text(&w, "rfc822;");
        put_xtext(&w, ask->text);
        params.orcpt = w.overflow ? SLICE_EMPTY : writer_slice(&w);
    }
    mx_err err = txn_add_rcpt(conn->txn, address, &params);
    if (!err) {
        srv_stage_rewritten(conn, address);
    }
    return err;
}

static void log_routing_failed(struct log *log, const struct routing *routing, struct slice address)
{
    struct log_line *line = log_begin_repeated(log, LOG_WARN, "routing-failed");
    log_slice(line, "to", address);
    log_text(line, "reason", routing->problem);
    if (routing->detail != NULL) {
        log_text(line, "detail", routing->detail);
    }
    log_end(log, line);
}

/* *later: the answer comes when the next hop, or the DNS, has said something. */
static enum reply take_rcpt(struct srv_conn *conn, struct slice address, struct slice *text,
                            bool *later)
{
    struct service *service = conn->service;
    struct routing_context ctx = service_routing(service);
    struct srv_asking asking;
    struct routing routing;
    MX_ASSERT(conn->txn != NULL);
    srv_asking_init(&asking, conn, srv_answer_again);
    ctx.asker = &asking.asker;
    routing_find(&routing, &ctx, address, &conn->txn->env);
    if (routing.waits) {
        *later = true;
        return REPLY_OK;
    }
    enum reply reply = routing_reply(&routing);
    bool known = has_rcpt(conn->txn, address);
    if (reply == REPLY_RELAY_DENIED) {
        reply = relay(conn, &routing, address, later);
    }
    if (*later) {
        return REPLY_OK;
    }
    if (reply != REPLY_OK) {
        count_refused(service, reply);
    } else if (!known && routing_verifies(&routing)) {
        reply = verify(conn, &routing, address, later);
    }
    if (*later) {
        return REPLY_OK;
    }
    if (reply == REPLY_NO_SUCH_USER || reply == REPLY_RELAY_DENIED) {
        offences_note(&service->offences, OFFENCE_ABUSE, &conn->client, 1);
    }
    if (reply == REPLY_LOOKUP_FAILED && routing.problem != NULL) {
        log_routing_failed(&service->shard->log, &routing, address);
    }
    if (reply != REPLY_OK) {
        return reply;
    }
    if (known) {
        count_verdict(service, VERDICT_DUPLICATE);
        return REPLY_OK; /* once is enough */
    }
    reply = srv_throttle(conn, INBOUND_RCPT, text, later);
    if (reply != REPLY_OK) {
        count_verdict(service, VERDICT_THROTTLED);
    }
    if (reply != REPLY_OK || *later) {
        return reply;
    }
    mx_err err = add_rcpt(conn, address);
    count_verdict(service, err ? VERDICT_NO_MEMORY : verdict_of(routing.route));
    return srv_reply_of(err);
}

enum reply srv_on_rcpt(struct srv_conn *conn, struct slice *text, bool *later)
{
    uint8_t memory[ADDRESS_MAX];
    struct slice address;
    enum stage_verdict verdict =
        srv_stage_rewrite(conn, STAGE_REWRITE_RCPT, &address, memory, srv_answer_again);
    if (verdict != STAGE_TRUE) {
        *later = verdict == STAGE_LATER;
        return *later ? REPLY_OK : REPLY_LOOKUP_FAILED;
    }
    return take_rcpt(conn, address, text, later);
}
