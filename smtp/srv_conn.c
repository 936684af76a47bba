#include "smtp/srv_conn.h"

#include "core/check.h"
#include "core/text.h"
#include "smtp/client_limit.h"
#include "smtp/received.h"
#include "smtp/service.h"
#include "smtp/session_settings.h"
#include "smtp/srv_stage.h"
#include "smtp/xtext.h"

#include <stdlib.h>

_Static_assert(sizeof(struct srv_conn) + HELO_NAME_MAX + 64 <= SRV_CONN_BYTES_MAX,
               "an idle session costs at most 1 KiB");

static void pump(struct srv_conn *conn, struct slice *in);

/* --- replies -----------------------------------------------------------------------------------
 */

static bool flush(struct srv_conn *conn, struct writer *out)
{
    if (out->len == 0) {
        return true;
    }
    mx_err err = stream_write(&conn->stream, writer_slice(out));
    out->len = 0;
    if (err) {
        stream_abort(&conn->stream, err);
    }
    return err == MX_OK;
}

static void close_session(struct srv_conn *conn)
{
    conn->closing = true;
    stream_close(&conn->stream);
}

/* Writes the 421 and closes. */
static void end_session(struct srv_conn *conn, enum srv_close_reason reason)
{
    uint8_t buf[SRV_REPLY_MAX];
    struct writer out = writer_init(buf, sizeof buf);
    if (conn->closing) {
        return;
    }
    if (conn->proxy != NULL || conn->tls_wait) {
        conn->closing = true;
        stream_abort(&conn->stream, MX_ERR_TIMEOUT);
        return;
    }
    srv_stop(&conn->srv, reason, &out);
    if (flush(conn, &out)) {
        close_session(conn);
    }
}

/* --- deadlines ---------------------------------------------------------------------------------
 */

static const struct session_limits *limits_of(const struct srv_conn *conn)
{
    return conn->own != NULL ? &conn->own->limits : &conn->service->image->limits;
}

static uint64_t session_end_ns(const struct srv_conn *conn)
{
    return conn->began_ns + limits_of(conn)->session_ms * MX_NS_PER_MS;
}

static uint64_t deadline_ns(const struct srv_conn *conn)
{
    const struct session_limits *limits = limits_of(conn);
    uint64_t wait_ms = limits->idle_ms;
    if (conn->proxy != NULL) {
        /* For all of the header: bytes that trickle in win no time. */
        return conn->began_ns + limits->proxy_header_ms * MX_NS_PER_MS;
    }
    if (conn->tls_wait) {
        wait_ms = limits->tls_handshake_ms;
    } else if (srv_phase(&conn->srv) == SRV_PHASE_DATA) {
        wait_ms = limits->data_block_ms;
    }
    uint64_t idle_ns = conn->phase_ns + wait_ms * MX_NS_PER_MS;
    uint64_t session_ns = session_end_ns(conn);
    return idle_ns < session_ns ? idle_ns : session_ns;
}

/* Activity only writes phase_ns; the timer finds out when it fires. */
static void timer_fire(struct timer *timer, uint64_t now_ns)
{
    struct srv_conn *conn = mx_container_of(timer, struct srv_conn, timer);
    uint64_t at_ns = deadline_ns(conn);
    if (conn->closing) {
        return;
    }
    if (now_ns < at_ns || srv_phase(&conn->srv) == SRV_PHASE_ANSWER) {
        uint64_t next_ns = now_ns < at_ns ? at_ns : now_ns + MX_NS_PER_S;
        wheel_arm(&conn->service->shard->wheel, &conn->timer, next_ns);
        return;
    }
    if (conn->proxy != NULL) {
        srv_proxy_refuse(conn, REFUSAL_PROXY_TIMEOUT, "no complete header in time");
        return;
    }
    count_one(&conn->service->session_stats.timeouts);
    if (now_ns >= session_end_ns(conn)) {
        offences_note(&conn->service->offences, OFFENCE_LOITER, &conn->client, 1);
    }
    end_session(conn, SRV_CLOSE_TIMEOUT);
}

static void timer_start(struct srv_conn *conn)
{
    conn->timer.fire = timer_fire;
    wheel_arm(&conn->service->shard->wheel, &conn->timer, deadline_ns(conn));
}

/* --- answers -----------------------------------------------------------------------------------
 */

/* For the log, when the session ends. */
static void note_refused(struct srv_conn *conn, enum reply reply)
{
    const struct srv_ask *ask = &conn->srv.ask;
    bool has_address = ask->kind == SRV_ASK_MAIL || ask->kind == SRV_ASK_RCPT;
    if (reply == REPLY_OK || conn->srv.refusals > 0 || !has_address || ask->text.len == 0 ||
        conn->helo == NULL) {
        return;
    }
    uint8_t *both = realloc(conn->helo, conn->helo_len + ask->text.len);
    if (both != NULL) {
        memcpy(both + conn->helo_len, ask->text.ptr, ask->text.len);
        conn->helo = both;
        conn->refused_len = (uint16_t)ask->text.len;
    }
}

static void answer(struct srv_conn *conn, enum reply reply, struct slice text, struct writer *out)
{
    note_refused(conn, reply);
    srv_answer(&conn->srv, reply, text, out);
}

/* An answer that comes late: the session goes on from here. */
static void answer_late(struct srv_conn *conn, enum reply reply, struct slice text)
{
    uint8_t buf[SRV_REPLY_MAX];
    struct writer out = writer_init(buf, sizeof buf);
    if (conn->closing) {
        return;
    }
    conn->phase_ns = conn->service->shard->now_ns;
    answer(conn, reply, text, &out);
    if (flush(conn, &out)) {
        stream_resume(&conn->stream);
        pump(conn, NULL);
    }
}

static enum reply reply_of(mx_err err)
{
    switch (err) {
    case MX_OK:
        return REPLY_OK;
    case MX_ERR_NOSPACE:
        return REPLY_STORE_FULL;
    case MX_ERR_NOMEM:
    case MX_ERR_LIMIT:
        return REPLY_BUSY;
    default:
        return REPLY_IO_ERROR;
    }
}

static void drop_transaction(struct srv_conn *conn)
{
    if (conn->incoming != NULL) {
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

static void answer_again(void *session);

/* The program that decides, if there is one. */
static enum stage_verdict decide(struct srv_conn *conn, enum stage_program which,
                                 enum stage_verdict usual)
{
    bool usually = conn->service->image->stages[which] == NULL;
    return usually ? usual : srv_stage_run(conn, which, NULL, answer_again);
}

/* What is of this session alone and known by now. */
static enum stage_verdict take_settings(struct srv_conn *conn, enum expr_context context)
{
    return conn->own == NULL ? STAGE_TRUE : srv_stage_settings(conn, context, answer_again);
}

/* *banner, or what the refusal says, is valid until the next question. What cannot be worked out is
 * an end for now: no other limits, no other text. */
static enum reply on_connect(struct srv_conn *conn, struct slice *banner, bool *later)
{
    struct expr_value value;
    if (conn->too_many) {
        *banner = client_limit_text(conn);
        return REPLY_TOO_MANY_CONNECTIONS;
    }
    if (conn->refused || conn->service->stopping) {
        return REPLY_OVERLOAD;
    }
    enum stage_verdict verdict = take_settings(conn, EXPR_CONN);
    if (verdict == STAGE_TRUE && conn->service->image->stages[STAGE_GREETING] != NULL) {
        verdict = srv_stage_run(conn, STAGE_GREETING, &value, answer_again);
        if (verdict == STAGE_TRUE && value.type == EXPR_STRING) {
            *banner = value.string;
        }
    }
    *later = verdict == STAGE_LATER;
    return verdict == STAGE_FAILED ? REPLY_OVERLOAD : REPLY_OK;
}

static bool is_qualified(struct slice name)
{
    size_t dot = slice_find(name, '.');
    return dot > 0 && dot + 1 < name.len && name.ptr[0] != '[';
}

static enum reply on_helo(struct srv_conn *conn, struct slice name, bool *later)
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
    return REPLY_OK;
}

static enum reply on_mail(struct srv_conn *conn, const struct srv_ask *ask, bool *later)
{
    struct service *service = conn->service;
    if (service->stopping) {
        return REPLY_SHUTDOWN;
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
        srv_stage_rewrite(conn, STAGE_REWRITE_SENDER, &sender, memory, answer_again);
    if (verdict != STAGE_TRUE) {
        *later = verdict == STAGE_LATER;
        return *later ? REPLY_OK : REPLY_LOOKUP_FAILED;
    }
    if (!service_has_memory(service)) {
        return REPLY_BUSY;
    }
    mx_err err = journal_room(service->spool.journal, ask->mail.size);
    if (err) {
        return reply_of(err);
    }
    drop_transaction(conn);
    conn->txn = spool_txn_new(&service->spool);
    if (conn->txn == NULL) {
        return REPLY_BUSY;
    }
    struct envelope *env = &conn->txn->env;
    env->mail = ask->mail;
    err = txn_text(&env->sender, conn->txn, sender);
    if (!err) {
        err = txn_text(&env->mail.envid, conn->txn, ask->mail.envid);
    }
    if (err) {
        drop_transaction(conn);
    } else {
        srv_stage_rewritten(conn, sender);
    }
    return reply_of(err);
}

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
    answer_again(mx_container_of(waiter, struct srv_wait, verify)->conn);
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
    switch (srv_stage_relays(conn, address, answer_again)) {
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

/* *later: the answer comes when the next hop, or the DNS, has said something. */
static enum reply take_rcpt(struct srv_conn *conn, struct slice address, bool *later)
{
    struct service *service = conn->service;
    struct routing_context ctx = service_routing(service);
    struct srv_asking asking;
    struct routing routing;
    MX_ASSERT(conn->txn != NULL);
    srv_asking_init(&asking, conn, answer_again);
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
        struct log_line *line =
            log_begin_repeated(&service->shard->log, LOG_WARN, "routing-failed");
        log_slice(line, "to", address);
        log_text(line, "reason", routing.problem);
        if (routing.detail != NULL) {
            log_text(line, "detail", routing.detail);
        }
        log_end(&service->shard->log, line);
    }
    if (reply != REPLY_OK) {
        return reply;
    }
    if (known) {
        count_verdict(service, VERDICT_DUPLICATE);
        return REPLY_OK; /* once is enough */
    }
    mx_err err = add_rcpt(conn, address);
    count_verdict(service, err ? VERDICT_NO_MEMORY : verdict_of(routing.route));
    return reply_of(err);
}

static enum reply on_rcpt(struct srv_conn *conn, bool *later)
{
    uint8_t memory[ADDRESS_MAX];
    struct slice address;
    enum stage_verdict verdict =
        srv_stage_rewrite(conn, STAGE_REWRITE_RCPT, &address, memory, answer_again);
    if (verdict != STAGE_TRUE) {
        *later = verdict == STAGE_LATER;
        return *later ? REPLY_OK : REPLY_LOOKUP_FAILED;
    }
    return take_rcpt(conn, address, later);
}

static void incoming_ready(struct incoming *in)
{
    struct srv_conn *conn = in->owner;
    if (conn != NULL) {
        answer_late(conn, reply_of(in->failed), SLICE_EMPTY);
    }
}

static enum reply on_data(struct srv_conn *conn)
{
    conn->incoming = incoming_begin(&conn->service->spool, conn);
    if (conn->incoming == NULL) {
        return REPLY_BUSY;
    }
    conn->incoming->ready = incoming_ready;
    return REPLY_OK;
}

static void commit_done(struct incoming *in, mx_err err)
{
    struct srv_conn *conn = in->owner;
    conn->incoming = NULL;
    char id[QID_TEXT_MAX];
    struct writer w = writer_init(id, sizeof id);
    qid_print(&w, in->id);
    hdr_add(&conn->service->mail_stats.ack_ns, conn->service->shard->now_ns - conn->phase_ns);
    if (err) {
        count_one(&conn->service->mail_stats.not_stored);
        struct log *log = &conn->service->shard->log;
        struct log_line *line = log_begin_repeated(log, LOG_ERROR, "message-not-stored");
        log_qid(line, "id", in->id);
        log_err(line, "reason", err);
        log_text(line, "effect", "the client was told to try again");
        log_end(log, line);
    }
    answer_late(conn, reply_of(err), writer_slice(&w));
}

static mx_err trace_header(struct srv_conn *conn)
{
    struct envelope *env = &conn->txn->env;
    struct tls *tls = conn->stream.tls;
    char buf[RECEIVED_MAX];
    struct writer w = writer_init(buf, sizeof buf);
    struct received received = {
        .helo = slice_of(conn->helo, conn->helo_len),
        .client = conn->client,
        .hostname = conn->srv.conf->hostname,
        .server = conn->server,
        .esmtp = conn->srv.esmtp,
        .under_tls = tls != NULL,
        .smtputf8 = env->mail.smtputf8,
        .tls_version = tls == NULL ? SLICE_EMPTY : slice_of_text(tls_version(tls)),
        .tls_cipher = tls == NULL ? SLICE_EMPTY : slice_of_text(tls_cipher(tls)),
        .id = conn->incoming->id,
        .only_rcpt = env->rcpt_count == 1 ? env->rcpts[0].address : SLICE_EMPTY,
        .wall_ms = conn->service->shard->wall_ms,
    };
    received_print(&w, &received);
    if (w.overflow) {
        return MX_ERR_BUG;
    }
    mx_err err = txn_text(&env->prefix, conn->txn, writer_slice(&w));
    return err ? err : txn_text(&env->helo, conn->txn, received.helo);
}

/* MX_ERR_AGAIN: the answer comes when the record is durable. */
static enum reply on_end(struct srv_conn *conn, const struct srv_end *end, bool *later)
{
    struct envelope *env = &conn->txn->env;
    struct incoming *in = conn->incoming;
    MX_ASSERT(in != NULL && in->body_bytes == end->bytes);
    env->arrived_wall_ms = conn->service->shard->wall_ms;
    env->client = conn->client;
    env->body_bytes = end->bytes;
    env->body_has_8bit = end->has_8bit;
    env->body_ends_in_crlf = end->ends_in_crlf;
    mx_err err = trace_header(conn);
    if (err) {
        drop_transaction(conn);
        return reply_of(err);
    }
    struct txn *txn = conn->txn;
    conn->txn = NULL;
    in->done = commit_done;
    err = incoming_commit(in, txn);
    if (err) {
        conn->incoming = NULL;
        count_one(&conn->service->mail_stats.not_stored);
    }
    *later = err == MX_OK;
    return reply_of(err);
}

/* Answers the open question, at once or later (false). */
static bool answer_question(struct srv_conn *conn, struct writer *out)
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
        reply = on_helo(conn, ask->text, &later);
        break;
    case SRV_ASK_MAIL:
        reply = on_mail(conn, ask, &later);
        break;
    case SRV_ASK_RCPT:
        reply = on_rcpt(conn, &later);
        break;
    case SRV_ASK_DATA:
        reply = on_data(conn);
        break;
    case SRV_ASK_BODY: {
        mx_err err = incoming_body(conn->incoming, ask->text);
        later = err == MX_ERR_AGAIN;
        reply = reply_of(err);
        break;
    }
    case SRV_ASK_END:
        reply = on_end(conn, &ask->end, &later);
        break;
    case SRV_ASK_ABORT:
        drop_transaction(conn);
        break;
    }
    if (!later) {
        answer(conn, reply, text, out);
        srv_wait_end(conn);
    }
    return !later;
}

/* What the open question waited for is there. */
static void answer_again(void *session)
{
    struct srv_conn *conn = session;
    uint8_t buf[SRV_REPLY_MAX];
    struct writer out = writer_init(buf, sizeof buf);
    if (conn->closing) {
        return;
    }
    conn->phase_ns = conn->service->shard->now_ns;
    if (answer_question(conn, &out) && flush(conn, &out)) {
        stream_resume(&conn->stream);
        pump(conn, NULL);
    }
}

/* --- the loop ----------------------------------------------------------------------------------
 */

static void start_tls(struct srv_conn *conn)
{
    conn->tls_wait = true;
    conn->phase_ns = conn->service->shard->now_ns;
    drop_transaction(conn);
    wheel_arm(&conn->service->shard->wheel, &conn->timer, deadline_ns(conn));
    stream_start_tls(&conn->stream, conn->service->tls_server, SLICE_EMPTY);
}

/* One action of the engine; false: wait. */
static bool step(struct srv_conn *conn, struct slice *in, struct writer *out)
{
    uint32_t unknown = conn->srv.unknown;
    enum srv_act act = srv_next(&conn->srv, in, out);
    if (conn->srv.unknown != unknown) {
        offences_note(&conn->service->offences, OFFENCE_SCAN, &conn->client,
                      conn->srv.unknown - unknown);
    }
    switch (act) {
    case SRV_ASK:
        if (writer_room(out) < SRV_REPLY_MAX && !flush(conn, out)) {
            return false;
        }
        if (!answer_question(conn, out)) {
            stream_pause(&conn->stream);
            if (conn->wait != NULL && conn->srv.ask.kind == SRV_ASK_RCPT) {
                srv_wait_look_ahead(conn, *in);
            }
            return false;
        }
        return true;
    case SRV_FLUSH:
        return flush(conn, out);
    case SRV_START_TLS:
        in->len = 0;
        if (flush(conn, out)) {
            start_tls(conn);
        }
        return false;
    case SRV_CLOSE:
        in->len = 0;
        if (flush(conn, out)) {
            close_session(conn);
        }
        return false;
    case SRV_INPUT:
    default:
        return false;
    }
}

/* Runs the engine over the input until it has to wait. in NULL: without new input. */
static void pump(struct srv_conn *conn, struct slice *in)
{
    uint8_t buf[SRV_OUT_BYTES];
    struct writer out = writer_init(buf, sizeof buf);
    struct slice none = SLICE_EMPTY;
    bool more = !conn->closing && !conn->tls_wait && conn->proxy == NULL && !conn->srv.waiting;
    if (in == NULL) {
        in = &none;
    }
    for (unsigned steps = 0; more; steps++) {
        if (steps == conn->service->performance.session_steps) {
            stream_resume(&conn->stream); /* the others first; the rest is offered again */
            break;
        }
        if (stream_room(&conn->stream) < sizeof buf) {
            /* The client does not read its replies. */
            conn->stream.want_drained = true;
            stream_pause(&conn->stream);
            break;
        }
        more = step(conn, in, &out);
    }
    if (!conn->closing) {
        (void)flush(conn, &out);
    }
}

/* --- stream events -----------------------------------------------------------------------------
 */

static void session_begin(struct srv_conn *conn);

static size_t on_input(struct stream *stream, struct slice in)
{
    struct srv_conn *conn = mx_container_of(stream, struct srv_conn, stream);
    size_t len = in.len;
    conn->phase_ns = conn->service->shard->now_ns;
    if (conn->proxy != NULL && srv_proxy_input(conn, &in) == PROXY_DONE) {
        session_begin(conn);
    }
    if (conn->proxy == NULL && !conn->closing) {
        pump(conn, &in);
    }
    return conn->closing ? len : len - in.len;
}

static void on_drained(struct stream *stream)
{
    struct srv_conn *conn = mx_container_of(stream, struct srv_conn, stream);
    if (!conn->srv.waiting) {
        stream_resume(stream);
        pump(conn, NULL);
    }
}

/* The TLS handshake is complete. */
static void on_ready(struct stream *stream)
{
    struct srv_conn *conn = mx_container_of(stream, struct srv_conn, stream);
    conn->tls_wait = false;
    conn->phase_ns = conn->service->shard->now_ns;
    if (!conn->profile->tls_implicit) {
        srv_tls_started(&conn->srv);
        free(conn->helo);
        conn->helo = NULL;
        conn->helo_len = 0;
        conn->refused_len = 0;
    }
    pump(conn, NULL);
}

/* One line for a session in which something was refused: the first refusal and their number. */
static void log_refused(const struct srv_conn *conn)
{
    const struct srv *srv = &conn->srv;
    struct log *log = &conn->service->shard->log;
    if (srv->refusals == 0) {
        return;
    }
    struct log_line *line = log_begin_repeated(log, LOG_INFO, "session-refused");
    if (line == NULL) {
        return;
    }
    char text[NETADDR_TEXT_MAX];
    struct writer w = writer_init(text, sizeof text);
    const struct reply_row *row = reply_row((enum reply)srv->refused);
    put_netaddr(&w, &conn->client);
    log_slice(line, "client", writer_slice(&w));
    if (conn->listener->conf != NULL) { /* it may be gone */
        log_slice(line, "listener", conn->listener->conf->name);
    }
    if (conn->helo != NULL) {
        log_slice(line, "helo", slice_of(conn->helo, conn->helo_len));
    }
    log_text(line, "command", srv_verb_name(srv->refused_verb));
    if (conn->refused_len > 0) {
        log_slice(line, "address", slice_of(conn->helo + conn->helo_len, conn->refused_len));
    }
    log_u64(line, "code", row->code);
    log_text(line, "reason", reply_name((enum reply)srv->refused));
    log_u64(line, "refusals", srv->refusals);
    log_u64(line, "ms", (conn->service->shard->now_ns - conn->began_ns) / MX_NS_PER_MS);
    log_end(log, line);
}

static void on_closed(struct stream *stream, mx_err why)
{
    struct srv_conn *conn = mx_container_of(stream, struct srv_conn, stream);
    struct service *service = conn->service;
    (void)why;
    log_refused(conn);
    srv_wait_end(conn);
    drop_transaction(conn);
    wheel_cancel(&service->shard->wheel, &conn->timer);
    list_remove(&conn->node);
    srv_leave(&conn->srv);
    srv_proxy_closed(conn);
    free(conn->helo);
    free(conn->own);
    if (conn->counted) {
        client_limit_leave(conn);
        listener_session_ended(conn->listener);
    }
    listener_release(conn->listener, conn->profile);
    pool_release(&service->sessions_pool, conn);
}

static const struct stream_ops stream_callbacks = {
    .input = on_input, .drained = on_drained, .ready = on_ready, .closed = on_closed};

/* --- begin and end -----------------------------------------------------------------------------
 */

/* Of the real client. What may never be blocked is looked at only when it would be. */
static bool is_blocked(const struct srv_conn *conn)
{
    const struct image *image = conn->service->image;
    int64_t wall_ms = conn->service->shard->wall_ms;
    return image_blocks(image, &conn->client, wall_ms) && !srv_proxy_trusted(conn);
}

/* Closed without a word: whoever is blocked learns nothing. */
static bool close_blocked(struct srv_conn *conn)
{
    if (!is_blocked(conn)) {
        return false;
    }
    struct log *log = &conn->service->shard->log;
    struct log_line *line = log_begin_repeated(log, LOG_DEBUG, "client-blocked");
    char text[NETADDR_TEXT_MAX];
    struct writer w = writer_init(text, sizeof text);
    put_netaddr(&w, &conn->client);
    log_slice(line, "client", writer_slice(&w));
    log_end(log, line);
    listener_count_refusal(conn->listener, REFUSAL_BLOCKED);
    conn->closing = true;
    stream_abort(&conn->stream, MX_ERR_PERMISSION);
    return true;
}

static void session_start(struct srv_conn *conn)
{
    const struct srv_profile *profile = conn->profile;
    if (close_blocked(conn)) {
        return;
    }
    if (conn->service->image->session_varies && !conn->refused) {
        conn->own = malloc(sizeof *conn->own);
        conn->refused = conn->own == NULL;
    }
    if (conn->own != NULL) {
        session_settings_init(conn->own, conn->service->image, &profile->conf);
    }
    srv_init(&conn->srv, conn->own != NULL ? &conn->own->conf : &profile->conf,
             profile->tls_implicit);
    if (profile->tls_implicit) {
        start_tls(conn);
    } else {
        pump(conn, NULL);
    }
}

/* Of a client that is known now. */
static void session_begin(struct srv_conn *conn)
{
    bool client_full = !client_limit_enter(conn);
    enum stats_refusal why = listener_session_began(conn->listener, client_full);
    conn->refused = why != STATS_REFUSALS;
    conn->too_many = why == REFUSAL_CLIENT_FULL;
    conn->counted = true;
    session_start(conn);
}

void srv_conn_accept(struct service_listener *listener, int fd)
{
    struct service *service = listener->service;
    struct ring_addr peer;
    struct srv_conn *conn = pool_acquire_zero(&service->sessions_pool);
    if (conn == NULL || ring_peer(&peer, fd) != MX_OK) {
        if (conn == NULL) {
            listener_count_refusal(listener, REFUSAL_NO_SESSION);
        }
        pool_release(&service->sessions_pool, conn);
        ring_close_fd(fd);
        return;
    }
    conn->service = service;
    conn->listener = listener;
    conn->client = ring_addr_netaddr(&peer);
    conn->began_ns = service->shard->now_ns;
    conn->phase_ns = conn->began_ns;
    conn->profile = listener->profile;
    listener_hold(listener);
    list_push_back(&service->sessions, &conn->node);
    stream_open(&conn->stream, service->shard, &stream_callbacks, fd);
    bool trusted = srv_proxy_trusted(conn);
    if (trusted && !srv_proxy_begin(conn)) {
        listener_count_refusal(listener, REFUSAL_NO_SESSION);
        conn->closing = true;
        stream_abort(&conn->stream, MX_ERR_NOMEM);
        return;
    }
    timer_start(conn);
    if (!trusted) {
        session_begin(conn);
    }
}

void srv_conn_recheck(struct srv_conn *conn)
{
    if (!conn->closing && conn->proxy == NULL) {
        (void)close_blocked(conn);
    }
}

void srv_conn_stop(struct srv_conn *conn, bool force)
{
    bool busy = conn->incoming != NULL;
    if (!conn->closing && (force || !busy)) {
        end_session(conn, SRV_CLOSE_SHUTDOWN);
    }
}
