#include "smtp/srv_conn.h"

#include "core/check.h"
#include "core/text.h"
#include "io/tls.h"
#include "smtp/client_limit.h"
#include "smtp/cmd_parse.h"
#include "smtp/service.h"
#include "smtp/session_settings.h"
#include "smtp/srv_deadline.h"
#include "smtp/srv_question.h"
#include "smtp/srv_refused.h"

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
        conn->closing = true; /* an answer that comes yet is for nobody */
        stream_abort(&conn->stream, err);
    }
    return err == MX_OK;
}

/* parting: the client has said that it sends no more. */
static void close_session(struct srv_conn *conn, bool parting)
{
    conn->closing = true;
    if (!conn->welcome) {
        srv_refused_close(conn);
    } else if (parting) {
        stream_part(&conn->stream);
    } else {
        stream_close(&conn->stream);
    }
}

void srv_conn_end(struct srv_conn *conn, enum srv_close_reason reason)
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
    tarpit_end(conn);
    srv_stop(&conn->srv, reason, &out);
    if (flush(conn, &out)) {
        close_session(conn, false);
    }
}

/* The reply to an error has waited long enough. */
void srv_conn_go_on(struct srv_conn *conn)
{
    conn->phase_ns = conn->service->shard->now_ns;
    tarpit_end(conn);
    if (!conn->closing) {
        stream_resume(&conn->stream);
        pump(conn, NULL);
    }
}

/* --- answers -----------------------------------------------------------------------------------
 */

/* For the log, when the session ends. */
static void note_refused(struct srv_conn *conn)
{
    const struct srv_ask *ask = &conn->srv.ask;
    bool has_address = ask->kind == SRV_ASK_MAIL || ask->kind == SRV_ASK_RCPT;
    if (conn->srv.refusals > 0 || !has_address || ask->text.len == 0 || conn->helo == NULL) {
        return;
    }
    uint8_t *both = realloc(conn->helo, conn->helo_len + ask->text.len);
    if (both != NULL) {
        memcpy(both + conn->helo_len, ask->text.ptr, ask->text.len);
        conn->helo = both;
        conn->refused_len = (uint16_t)ask->text.len;
    }
}

static void trace_refused(const struct srv_conn *conn, enum reply reply)
{
    struct log *log = &conn->service->shard->log;
    struct log_line *line = log_begin_trace(log, "command-refused");
    log_session(line, conn->number);
    log_client(line, &conn->client);
    log_text(line, "command", srv_verb_name(conn->srv.verb));
    if (conn->srv.ask.kind == SRV_ASK_MAIL || conn->srv.ask.kind == SRV_ASK_RCPT) {
        log_slice(line, "address", conn->srv.ask.text);
    }
    log_u64(line, "code", reply_row(reply)->code);
    log_text(line, "reason", reply_name(reply));
    log_end(log, line);
}

static void note_scans(struct srv_conn *conn)
{
    if (conn->srv.scans > 0) {
        offences_note(&conn->service->offences, OFFENCE_SCAN, &conn->client, conn->srv.scans);
        conn->srv.scans = 0;
    }
}

void srv_conn_answer(struct srv_conn *conn, enum reply reply, struct slice text, struct writer *out)
{
    if (reply != REPLY_OK) {
        note_refused(conn);
        trace_refused(conn, reply);
    }
    srv_answer(&conn->srv, reply, text, out);
}

/* The open question has been answered: the session goes on, now or when an error has waited. */
static void answered(struct srv_conn *conn, struct writer *out)
{
    bool waits = tarpit_begin(conn, out);
    if (flush(conn, out) && !waits) {
        stream_resume(&conn->stream);
        pump(conn, NULL);
    }
}

/* An answer that comes late: the session goes on from here. */
void srv_answer_late(struct srv_conn *conn, enum reply reply, struct slice text)
{
    uint8_t buf[SRV_REPLY_MAX];
    struct writer out = writer_init(buf, sizeof buf);
    if (conn->closing) {
        return;
    }
    conn->phase_ns = conn->service->shard->now_ns;
    srv_conn_answer(conn, reply, text, &out);
    srv_timer_sooner(conn);
    answered(conn, &out);
}

/* It has spoken before the banner. */
static void refuse_early(struct srv_conn *conn, struct slice in)
{
    uint8_t buf[SRV_REPLY_MAX];
    struct writer out = writer_init(buf, sizeof buf);
    enum reply foreign = cmd_foreign(in);
    conn->greet_wait = false;
    srv_conn_answer(conn, foreign != REPLY_OK ? foreign : REPLY_EARLY_TALKER, SLICE_EMPTY, &out);
    note_scans(conn);
    if (flush(conn, &out)) {
        close_session(conn, false);
    }
}

/* The question's answer will come from elsewhere. */
static void wait_for_answer(struct srv_conn *conn)
{
    if (!conn->greet_wait) { /* else it is listened to */
        stream_pause(&conn->stream);
    }
}

/* What the open question waited for is there. */
void srv_answer_again(void *session)
{
    struct srv_conn *conn = session;
    uint8_t buf[SRV_REPLY_MAX];
    struct writer out = writer_init(buf, sizeof buf);
    if (conn->closing) {
        return;
    }
    conn->phase_ns = conn->service->shard->now_ns;
    if (!srv_answer_question(conn, &out)) {
        wait_for_answer(conn);
        return;
    }
    answered(conn, &out);
}

/* --- the loop ----------------------------------------------------------------------------------
 */

static void start_tls(struct srv_conn *conn)
{
    conn->tls_wait = true;
    conn->phase_ns = conn->service->shard->now_ns;
    srv_drop_transaction(conn);
    srv_deadline_set(conn);
    if (conn->profile->tls_implicit) {
        stream_accept_tls(&conn->stream, conn->service->tls_server);
    } else {
        stream_start_tls(&conn->stream, conn->service->tls_server, SLICE_EMPTY);
    }
}

/* One action of the engine; false: wait. */
static bool step(struct srv_conn *conn, struct slice *in, struct writer *out)
{
    enum srv_act act = srv_next(&conn->srv, in, out);
    note_scans(conn);
    switch (act) {
    case SRV_ASK:
        if (writer_room(out) < SRV_REPLY_MAX && !flush(conn, out)) {
            return false;
        }
        if (!srv_answer_question(conn, out)) {
            wait_for_answer(conn);
            if (conn->wait != NULL && conn->srv.ask.kind == SRV_ASK_RCPT) {
                srv_wait_look_ahead(conn, *in);
            }
            return false;
        }
        return true;
    case SRV_FLUSH:
        return conn->srv.error != REPLY_OK || flush(conn, out);
    case SRV_START_TLS:
        in->len = 0;
        if (flush(conn, out)) {
            start_tls(conn);
        }
        return false;
    case SRV_CLOSE: {
        bool parting = conn->srv.close_reason == SRV_CLOSE_QUIT && in->len == 0;
        in->len = 0;
        if (flush(conn, out)) {
            close_session(conn, parting);
        }
        return false;
    }
    case SRV_INPUT:
    default:
        return false;
    }
}

/* The client does not read its replies: nothing more is taken from it, and it does not keep what it
 * has sent and others need, blocks for content and places for parked input. */
static bool wait_for_reader(struct srv_conn *conn)
{
    const struct pool *parks = &conn->service->shard->park_blocks;
    bool was = conn->unread;
    conn->unread = STREAM_OUT_MAX - stream_room(&conn->stream) > SRV_UNSENT_MAX;
    if (was != conn->unread) {
        conn->phase_ns = conn->service->shard->now_ns;
    }
    if (!conn->unread) {
        return false;
    }
    if (parks->used * 2 > parks->slots_max || !service_has_memory(conn->service)) {
        srv_deadline_cut_reader(conn);
        return true;
    }
    conn->stream.want_drained = true;
    stream_pause(&conn->stream);
    srv_deadline_set(conn);
    return true;
}

/* Runs the engine over the input until it has to wait. in NULL: without new input. */
static void pump(struct srv_conn *conn, struct slice *in)
{
    uint8_t buf[SRV_OUT_BYTES];
    struct writer out = writer_init(buf, sizeof buf);
    struct slice none = SLICE_EMPTY;
    bool more = !conn->closing && !conn->tls_wait && conn->proxy == NULL && !conn->srv.waiting &&
                conn->tarpit == NULL;
    if (in == NULL) {
        in = &none;
    }
    for (unsigned steps = 0; more; steps++) {
        if (steps == conn->service->performance.session_steps) {
            stream_resume(&conn->stream); /* the others first; the rest is offered again */
            break;
        }
        if (wait_for_reader(conn)) {
            break;
        }
        more = step(conn, in, &out);
        if (tarpit_begin(conn, &out)) {
            break;
        }
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
    uint64_t now_ns = conn->service->shard->now_ns;
    uint32_t commands = conn->srv.commands;
    enum srv_phase phase = srv_phase(&conn->srv);
    if (phase == SRV_PHASE_DATA) {
        srv_pace_moved(&conn->pace, now_ns - conn->phase_ns, len,
                       srv_deadline_limits(conn)->data_rate);
        conn->phase_ns = now_ns;
    }
    if (conn->proxy != NULL && srv_proxy_input(conn, &in) == PROXY_DONE) {
        session_begin(conn);
    }
    if (conn->greet_wait && in.len > 0) { /* more than the PROXY header */
        refuse_early(conn, in);
    } else if (conn->proxy == NULL && !conn->closing) {
        pump(conn, &in);
    }
    if (conn->srv.commands != commands || srv_phase(&conn->srv) != phase) {
        conn->phase_ns = now_ns; /* else it still waits for the rest of a command */
        srv_timer_sooner(conn);
    }
    return conn->closing ? len : len - in.len;
}

static void on_drained(struct stream *stream)
{
    struct srv_conn *conn = mx_container_of(stream, struct srv_conn, stream);
    if (!conn->srv.waiting && conn->tarpit == NULL) {
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
    const struct reply_row *row = reply_row((enum reply)srv->refused);
    log_session(line, conn->number);
    log_client(line, &conn->client);
    if (conn->listener->conf != NULL) { /* it may be retired */
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

/* A session that TLS ends, in its handshake or later. A proxy's own checks that only connect are
 * none. */
static void log_tls_failed(const struct srv_conn *conn, mx_err why)
{
    bool went = why != MX_ERR_TLS || conn->stream.tls_failure == TLS_FAILURE_CLOSED;
    if ((why != MX_ERR_TLS && !conn->tls_wait) || (went && srv_proxy_trusted(conn))) {
        return;
    }
    struct log *log = &conn->service->shard->log;
    struct log_line *line = log_begin_repeated(log, LOG_INFO, "tls-failed");
    log_session(line, conn->number);
    log_client(line, &conn->client);
    if (conn->listener->conf != NULL) { /* it may be retired */
        log_slice(line, "listener", conn->listener->conf->name);
    }
    log_text(line, "phase", conn->tls_wait ? "handshake" : "session");
    log_text(line, "reason",
             why == MX_ERR_TLS ? stream_tls_problem(&conn->stream)
             : why == MX_OK    ? err_text(MX_ERR_CLOSED)
                               : err_text(why));
    log_u64(line, "ms", (conn->service->shard->now_ns - conn->began_ns) / MX_NS_PER_MS);
    log_end(log, line);
}

static void on_closed(struct stream *stream, mx_err why)
{
    struct srv_conn *conn = mx_container_of(stream, struct srv_conn, stream);
    struct service *service = conn->service;
    log_tls_failed(conn, why);
    log_refused(conn);
    srv_wait_end(conn);
    free(conn->tarpit);
    srv_drop_transaction(conn);
    wheel_cancel(&service->shard->wheel, &conn->timer);
    list_remove(&conn->node);
    srv_leave(&conn->srv);
    srv_proxy_closed(conn);
    free(conn->helo);
    free(conn->own);
    srv_refused_closed(conn);
    srv_uncount(conn);
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
    log_session(line, conn->number);
    log_client(line, &conn->client);
    log_end(log, line);
    listener_count_refusal(conn->listener, REFUSAL_BLOCKED);
    conn->closing = true;
    stream_abort(&conn->stream, MX_ERR_PERMISSION);
    return true;
}

static void session_start(struct srv_conn *conn)
{
    const struct srv_profile *profile = conn->profile;
    conn->phase_ns = conn->service->shard->now_ns;
    if (close_blocked(conn)) {
        return;
    }
    if (conn->service->image->session_varies && conn->refusal == STATS_REFUSALS) {
        conn->own = malloc(sizeof *conn->own);
        conn->refusal = conn->own == NULL ? REFUSAL_MEMORY : STATS_REFUSALS;
    }
    if (profile->tls_implicit && conn->refusal != STATS_REFUSALS) {
        srv_refused_before_tls(conn);
        return;
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
    enum stats_refusal client = client_limit_enter(conn);
    conn->refusal = (uint8_t)listener_session_began(conn->listener, client);
    conn->counted = conn->refusal == STATS_REFUSALS;
    if (!conn->counted) {
        client_limit_leave(conn);
    }
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
    conn->number = ++service->last_session;
    conn->refusal = STATS_REFUSALS;
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
    srv_deadline_set(conn);
    if (!trusted) {
        session_begin(conn);
    }
}

void srv_conn_hurry(struct srv_conn *conn)
{
    if (!conn->closing && timer_armed(&conn->timer)) {
        srv_deadline_set(conn);
    }
}

void srv_conn_recheck(struct srv_conn *conn)
{
    bool known = !conn->closing && conn->proxy == NULL; /* who it is */
    if (!known || !close_blocked(conn)) {
        srv_conn_hurry(conn);
    }
}

void srv_conn_stop(struct srv_conn *conn, bool force)
{
    bool busy = conn->incoming != NULL;
    if (!conn->closing && (force || !busy)) {
        srv_conn_end(conn, SRV_CLOSE_SHUTDOWN);
    }
}
