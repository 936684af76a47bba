/* The content of a message, and its end: what the client is told when it is durable. */
#include "core/check.h"
#include "io/tls.h"
#include "smtp/received.h"
#include "smtp/service.h"
#include "smtp/srv_question.h"

static void incoming_ready(struct incoming *in)
{
    struct srv_conn *conn = in->owner;
    if (conn != NULL) {
        srv_answer_late(conn, srv_reply_of(in->failed), SLICE_EMPTY);
    }
}

enum reply srv_on_data(struct srv_conn *conn)
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
    srv_answer_late(conn, srv_reply_of(err), writer_slice(&w));
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
    conn->txn->tls = tls == NULL ? "none" : tls_version(tls);
    received_print(&w, &received);
    if (w.overflow) {
        return MX_ERR_BUG;
    }
    mx_err err = txn_text(&env->prefix, conn->txn, writer_slice(&w));
    return err ? err : txn_text(&env->helo, conn->txn, received.helo);
}

/* *later: the answer comes when the record is durable. */
static enum reply store(struct srv_conn *conn, bool *later)
{
    struct incoming *in = conn->incoming;
    struct txn *txn = conn->txn;
    conn->txn = NULL;
    in->done = commit_done;
    mx_err err = incoming_commit(in, txn);
    if (err) {
        conn->incoming = NULL;
        count_one(&conn->service->mail_stats.not_stored);
    }
    *later = err == MX_OK;
    return srv_reply_of(err);
}

static void note_quota(struct srv_conn *conn, struct slice name)
{
    struct log *log = &conn->service->shard->log;
    struct log_line *line = log_begin_repeated(log, LOG_WARN, "queue-quota-reached");
    log_slice(line, "quota", name);
    log_slice(line, "from", conn->txn->env.sender);
    log_text(line, "effect", "the client was told to try again");
    log_end(log, line);
    struct quota_row *rows = conn->service->mail_stats.quotas;
    count_one(&rows[stats_row(rows, sizeof *rows, name)].refused);
}

/* What the quotas of the queue say. */
static enum reply admit(struct srv_conn *conn, enum quota_verdict verdict, struct slice name,
                        bool *later)
{
    switch (verdict) {
    case QUOTA_GRANTED:
        return store(conn, later);
    case QUOTA_LATER:
        *later = true;
        return REPLY_OK;
    case QUOTA_USED_UP:
        note_quota(conn, name);
        srv_drop_transaction(conn);
        return REPLY_QUOTA;
    case QUOTA_UNDECIDED:
        srv_drop_transaction(conn);
        return REPLY_LOOKUP_FAILED;
    case QUOTA_NO_MEMORY:
    default:
        srv_drop_transaction(conn);
        return REPLY_BUSY;
    }
}

static void admitted(struct incoming *in, enum quota_verdict verdict, struct slice name)
{
    struct srv_conn *conn = in->owner;
    bool later = false;
    enum reply reply = admit(conn, verdict, name, &later);
    if (!later) {
        srv_answer_late(conn, reply, name);
    }
}

enum reply srv_on_end(struct srv_conn *conn, const struct srv_end *end, struct slice *text,
                      bool *later)
{
    struct service *service = conn->service;
    struct envelope *env = &conn->txn->env;
    struct incoming *in = conn->incoming;
    MX_ASSERT(in != NULL && in->body_bytes == end->bytes);
    env->arrived_wall_ms = service->shard->wall_ms;
    env->client = conn->client;
    env->body_bytes = end->bytes;
    env->body_has_8bit = end->has_8bit;
    env->body_ends_in_crlf = end->ends_in_crlf;
    mx_err err = trace_header(conn);
    if (err) {
        srv_drop_transaction(conn);
        return srv_reply_of(err);
    }
    struct routing_context ctx = service_routing(service);
    in->admitted = admitted;
    return admit(conn, quotas_ask(&service->quotas, in, &ctx, env, text), *text, later);
}
