#include "admin/http_conn.h"

#include "core/check.h"
#include "core/log.h"

#include <stdlib.h>

/* tls -> idle -> head -> body -> handler -> answer -> idle; anything -> closing. */
enum http_phase {
    HTTP_PHASE_TLS,     /* the handshake is on */
    HTTP_PHASE_IDLE,    /* no byte of the next request; no exchange */
    HTTP_PHASE_HEAD,    /* an exchange collects the head */
    HTTP_PHASE_BODY,    /* ... and the body */
    HTTP_PHASE_HANDLER, /* the handler has the exchange; nothing is received */
    HTTP_PHASE_ANSWER,  /* the answer is being sent; nothing is received */
    HTTP_PHASE_CLOSING, /* no more requests; the stream ends by itself */
};

static void run(struct http_conn *conn, struct slice *in);

/* --- deadlines --- */

static uint64_t now_ns(const struct http_conn *conn)
{
    return conn->server->conf.shard->now_ns;
}

/* Base time, and one second per rate_bytes_s bytes that went: nobody holds memory by trickling. */
static uint64_t transfer_ns(const struct http_limits *limits, uint64_t bytes)
{
    return limits->transfer_ms * MX_NS_PER_MS + bytes / limits->rate_bytes_s * MX_NS_PER_S;
}

static uint64_t deadline_ns(const struct http_conn *conn)
{
    const struct http_limits *limits = &conn->server->conf.limits;
    switch (conn->phase) {
    case HTTP_PHASE_IDLE:
        return conn->phase_ns + (conn->used ? limits->idle_ms : limits->head_ms) * MX_NS_PER_MS;
    case HTTP_PHASE_BODY:
        return conn->phase_ns + transfer_ns(limits, conn->engine.body_len);
    case HTTP_PHASE_ANSWER:
        return conn->phase_ns + transfer_ns(limits, conn->stream.bytes_out - conn->sent_before);
    case HTTP_PHASE_TLS:
    case HTTP_PHASE_HEAD:
    default:
        return conn->phase_ns + limits->head_ms * MX_NS_PER_MS;
    }
}

/* What the handler has stays with it. */
static void drop_exchange(struct http_conn *conn)
{
    if (conn->exchange != NULL && conn->exchange->handed) {
        conn->exchange->conn = NULL;
    } else {
        http_exchange_free(conn->exchange);
    }
    conn->exchange = NULL;
}

/* The handler and the closing stream have deadlines of their own. */
static void set_phase(struct http_conn *conn, enum http_phase phase)
{
    struct wheel *wheel = &conn->server->conf.shard->wheel;
    conn->server->closing_count += phase == HTTP_PHASE_CLOSING && conn->phase != phase;
    conn->phase = (uint8_t)phase;
    conn->phase_ns = now_ns(conn);
    if (phase == HTTP_PHASE_HANDLER || phase == HTTP_PHASE_CLOSING) {
        wheel_cancel(wheel, &conn->timer);
    } else {
        wheel_arm(wheel, &conn->timer, deadline_ns(conn));
    }
    if (phase == HTTP_PHASE_CLOSING) {
        drop_exchange(conn);
    }
}

static void close_conn(struct http_conn *conn)
{
    set_phase(conn, HTTP_PHASE_CLOSING);
    stream_close(&conn->stream);
}

static void abort_conn(struct http_conn *conn, mx_err why)
{
    set_phase(conn, HTTP_PHASE_CLOSING);
    stream_abort(&conn->stream, why);
}

/* --- giving way --- */

/* What is lost with it: nothing as long as no whole head has come. */
static bool is_worth_more(const struct http_conn *conn, const struct http_conn *than)
{
    bool whole = conn->phase > HTTP_PHASE_HEAD, other = than->phase > HTTP_PHASE_HEAD;
    return whole != other ? whole : conn->phase_ns >= than->phase_ns;
}

/* What another connection wants of it. */
enum way {
    WAY_PLACE,      /* any place */
    WAY_SLOT_PLACE, /* a place among those of its listener */
    WAY_BODY,       /* memory of a body */
};

static bool may_give_way(const struct http_conn *conn, const struct http_conn *to, enum way way)
{
    uint64_t waited_ns = now_ns(conn) - conn->phase_ns;
    return conn != to && conn->phase != HTTP_PHASE_HANDLER && conn->phase != HTTP_PHASE_CLOSING &&
           (way != WAY_BODY || conn->phase == HTTP_PHASE_BODY) &&
           (way != WAY_SLOT_PLACE || conn->slot == to->slot) &&
           waited_ns > conn->server->conf.limits.yield_ms * MX_NS_PER_MS;
}

/* Ends the connection that has let the server wait for longest, so that nobody keeps others out by
 * being slow. False: there is none. */
static bool make_way(const struct http_conn *to, enum way way)
{
    struct http_server *server = to->server;
    struct http_conn *found = NULL;
    for (struct list_node *node = list_first(&server->conns); node != NULL;
         node = list_next(&server->conns, node)) {
        struct http_conn *conn = mx_container_of(node, struct http_conn, node);
        if (may_give_way(conn, to, way) && (found == NULL || !is_worth_more(conn, found))) {
            found = conn;
        }
    }
    if (found == NULL) {
        return false;
    }
    server->stats.yielded++;
    abort_conn(found, MX_ERR_LIMIT);
    return true;
}

/* --- answers of our own --- */

static void log_answer(const struct http_conn *conn, const struct http_request *request,
                       unsigned status, const char *detail)
{
    struct log *log = &conn->server->conf.shard->log;
    struct log_line *line = log_begin(log, LOG_DEBUG, "http");
    char peer[NETADDR_TEXT_MAX];
    struct writer w = writer_init(peer, sizeof peer);
    if (line == NULL) {
        return;
    }
    put_netaddr(&w, &conn->peer);
    log_slice(line, "client", writer_slice(&w));
    if (request != NULL) {
        log_slice(line, "method", request->method);
        log_slice(line, "path", request->path);
    }
    log_u64(line, "status", status);
    if (detail != NULL) {
        log_text(line, "reason", detail);
    }
    log_end(log, line);
}

/* An answer to HEAD has no body (RFC 9110 section 9.3.2), also when the rest of the head is of no
 * use. */
static bool asks_for_head(const struct http_conn *conn)
{
    const struct http_engine *e = &conn->engine;
    struct slice begin = SLICE_LITERAL("HEAD ");
    return e->head.request.verb == HTTP_VERB_HEAD ||
           (conn->exchange != NULL && e->bytes != NULL &&
            slice_equal(slice_first(slice_of(e->bytes, e->len), begin.len), begin));
}

/* A problem document, and the end of the connection. */
static void refuse(struct http_conn *conn, unsigned status, const char *detail)
{
    uint8_t problem[HTTP_PROBLEM_MAX];
    uint8_t buf[HTTP_ANSWER_HEAD_MAX];
    struct writer body = writer_init(problem, sizeof problem);
    struct writer out = writer_init(buf, sizeof buf);
    http_problem_put(&body, status, detail);
    struct http_answer answer = {.status = status,
                                 .content_type = "application/problem+json",
                                 .body_static = writer_slice(&body)};
    mx_err err = http_answer_head(&out, &answer, false, conn->server->conf.shard->wall_ms);
    MX_ASSERT(err == MX_OK);
    if (!asks_for_head(conn)) {
        put_slice(&out, writer_slice(&body));
    }
    conn->server->stats.refused++;
    log_answer(conn, NULL, status, detail);
    err = stream_write(&conn->stream, writer_slice(&out));
    if (err) {
        abort_conn(conn, err);
    } else {
        close_conn(conn);
    }
}

static void timer_fire(struct timer *timer, uint64_t fired_ns)
{
    struct http_conn *conn = mx_container_of(timer, struct http_conn, timer);
    uint64_t at_ns = deadline_ns(conn);
    if (fired_ns < at_ns) {
        wheel_arm(&conn->server->conf.shard->wheel, &conn->timer, at_ns);
        return;
    }
    conn->server->stats.timeouts += conn->phase != HTTP_PHASE_IDLE;
    switch (conn->phase) {
    case HTTP_PHASE_IDLE:
        close_conn(conn);
        break;
    case HTTP_PHASE_HEAD:
    case HTTP_PHASE_BODY:
        refuse(conn, 408, "the request did not arrive in time");
        break;
    default:
        abort_conn(conn, MX_ERR_TIMEOUT);
        break;
    }
}

/* --- sending an answer --- */

static void drop_answer(struct http_conn *conn)
{
    MX_ASSERT(conn->server->answers_bytes >= conn->answer_len);
    conn->server->answers_bytes -= conn->answer_len;
    http_answer_drop(conn->answer, conn->answer_len);
    conn->answer = NULL;
    conn->answer_len = 0;
    conn->left = SLICE_EMPTY;
}

/* False: the client has enough to read; ops->drained follows. */
static bool has_room(struct http_conn *conn)
{
    if (conn->stream.out.bytes <= STREAM_OUT_LOW) {
        return true;
    }
    conn->stream.want_drained = true;
    return false;
}

/* True when all of the answer is with the stream and another request may come. */
static bool send_answer(struct http_conn *conn)
{
    while (conn->left.len > 0 && has_room(conn)) {
        struct slice piece = slice_first(conn->left, HTTP_OUT_PIECE);
        mx_err err = stream_write(&conn->stream, piece);
        if (err) {
            abort_conn(conn, err);
            return false;
        }
        conn->left = slice_from(conn->left, piece.len);
    }
    if (conn->left.len > 0 || !has_room(conn)) {
        return false;
    }
    drop_answer(conn);
    conn->used = true;
    if (!conn->keep_alive || conn->server->stopping) {
        close_conn(conn);
        return false;
    }
    set_phase(conn, HTTP_PHASE_IDLE);
    stream_resume(&conn->stream);
    return true;
}

#define FALLBACK(code, text)                                                              \
    ((struct http_answer){.status = (code),                                               \
                          .content_type = "application/problem+json",                     \
                          .body_static =                                                  \
                              SLICE_LITERAL("{\"type\":\"about:blank\",\"status\":" #code \
                                            ",\"title\":\"" text "\"}")})

static void keep_answer(struct http_conn *conn, const struct http_answer *answer, bool wanted)
{
    if (answer->body == NULL || !wanted) {
        http_answer_drop(answer->body, answer->len);
        conn->left = wanted ? answer->body_static : SLICE_EMPTY;
        return;
    }
    conn->answer = answer->body;
    conn->answer_len = answer->len;
    conn->left = slice_of(answer->body, answer->len);
    conn->server->answers_bytes += answer->len;
}

/* Writes the head; *answer is what is sent in the end: a problem for what cannot be sent. */
static mx_err send_head(struct http_conn *conn, struct http_answer *answer)
{
    uint8_t buf[HTTP_ANSWER_HEAD_MAX];
    struct http_server *server = conn->server;
    int64_t wall_ms = server->conf.shard->wall_ms;
    struct writer out = writer_init(buf, sizeof buf);
    struct http_answer instead = {0};
    if (answer->body != NULL &&
        server->answers_bytes + answer->len > server->conf.limits.answers_bytes_max) {
        instead = FALLBACK(503, "Service Unavailable");
    } else if (http_answer_head(&out, answer, conn->keep_alive, wall_ms) != MX_OK) {
        instead = FALLBACK(500, "Internal Server Error");
    }
    if (instead.status != 0) {
        http_answer_drop(answer->body, answer->len);
        *answer = instead;
        server->stats.refused++;
        out = writer_init(buf, sizeof buf);
        mx_err err = http_answer_head(&out, answer, conn->keep_alive, wall_ms);
        MX_ASSERT(err == MX_OK);
    }
    return stream_write(&conn->stream, writer_slice(&out));
}

void http_conn_answer(struct http_conn *conn, const struct http_answer *given)
{
    struct http_answer answer = *given;
    struct slice none = SLICE_EMPTY;
    const struct http_request *request = &conn->exchange->request;
    MX_ASSERT(conn->phase == HTTP_PHASE_HANDLER);
    bool head_only = request->verb == HTTP_VERB_HEAD;
    conn->keep_alive = conn->engine.head.keep_alive && !answer.close && !conn->server->stopping;
    conn->sent_before = conn->stream.bytes_out;
    mx_err err = send_head(conn, &answer);
    log_answer(conn, request, answer.status, NULL);
    keep_answer(conn, &answer, !head_only && http_status_has_body(answer.status));
    http_exchange_free(conn->exchange);
    conn->exchange = NULL;
    http_engine_end(&conn->engine);
    if (err) {
        abort_conn(conn, err);
        return;
    }
    set_phase(conn, HTTP_PHASE_ANSWER);
    if (!conn->running) {
        run(conn, &none);
    }
}

/* --- requests --- */

static void begin_request(struct http_conn *conn)
{
    struct http_server *server = conn->server;
    conn->exchange = http_exchange_new(conn, server);
    if (conn->exchange == NULL) {
        refuse(conn, 503, "too many requests are in progress");
        return;
    }
    http_engine_begin(&conn->engine, conn->exchange->head, server->conf.limits.head_bytes_max);
    set_phase(conn, HTTP_PHASE_HEAD);
}

static uint64_t body_max(const struct http_conn *conn, const struct http_request *request)
{
    const struct http_server_conf *conf = &conn->server->conf;
    uint64_t max = conf->limits.body_bytes_max;
    if (conf->body_max != NULL) {
        uint64_t says = conf->body_max(conf->arg, request);
        max = says < max ? says : max;
    }
    return max;
}

/* The head is complete; more: the body has begun to arrive. */
static bool on_head(struct http_conn *conn, bool more)
{
    const struct http_head *head = &conn->engine.head;
    struct http_request *request = &conn->exchange->request;
    *request = head->request;
    request->peer = conn->peer;
    request->tls = conn->stream.tls != NULL;
    conn->body_max = body_max(conn, request);
    http_engine_body(&conn->engine, conn->body_max);
    set_phase(conn, HTTP_PHASE_BODY);
    bool comes = head->chunked || (head->body_len > 0 && head->body_len <= conn->body_max);
    if (!head->expect_continue || !comes || more) {
        return true;
    }
    mx_err err = stream_write(&conn->stream, SLICE_LITERAL("HTTP/1.1 100 Continue\r\n\r\n"));
    if (err) {
        abort_conn(conn, err);
    }
    return err == MX_OK;
}

static bool on_body(struct http_conn *conn)
{
    struct http_exchange *exchange = conn->exchange;
    struct slice piece = conn->engine.piece;
    uint64_t most = conn->engine.head.chunked ? conn->body_max : conn->engine.head.body_len;
    if (piece.len == 0) {
        return true;
    }
    mx_err err = http_exchange_grow(exchange, piece.len, most);
    while (err && make_way(conn, WAY_BODY)) {
        err = http_exchange_grow(exchange, piece.len, most);
    }
    if (err) {
        refuse(conn, 503, "there is no memory for the body");
        return false;
    }
    memcpy(exchange->body + exchange->body_len, piece.ptr, piece.len);
    exchange->body_len += piece.len;
    return true;
}

static bool on_request(struct http_conn *conn)
{
    struct http_server *server = conn->server;
    struct http_exchange *exchange = conn->exchange;
    exchange->request.body = slice_of(exchange->body, exchange->body_len);
    exchange->handed = true;
    server->stats.requests++;
    set_phase(conn, HTTP_PHASE_HANDLER);
    stream_pause(&conn->stream);
    server->conf.request(server->conf.arg, exchange); /* may be gone afterwards */
    return conn->phase == HTTP_PHASE_ANSWER;
}

/* One action of the engine; false: wait. */
static bool step(struct http_conn *conn, struct slice *in)
{
    switch (http_engine_next(&conn->engine, in)) {
    case HTTP_ACT_HEAD:
        return on_head(conn, in->len > 0);
    case HTTP_ACT_BODY:
        return on_body(conn);
    case HTTP_ACT_COMPLETE:
        return on_request(conn);
    case HTTP_ACT_REFUSED:
        if (conn->engine.refusal.status == 400 && conn->server->conf.malformed != NULL) {
            conn->server->conf.malformed(conn->server->conf.arg, &conn->peer);
        }
        refuse(conn, conn->engine.refusal.status, conn->engine.refusal.detail);
        return false;
    case HTTP_ACT_INPUT:
    default:
        return false;
    }
}

/* Goes on until it has to wait. */
static void run(struct http_conn *conn, struct slice *in)
{
    unsigned served = 0;
    bool more = true;
    MX_ASSERT(!conn->running);
    conn->running = true;
    while (more) {
        switch (conn->phase) {
        case HTTP_PHASE_IDLE:
            more = in->len > 0 && served < HTTP_REQUESTS_PER_TURN;
            if (more) {
                begin_request(conn);
            }
            break;
        case HTTP_PHASE_HEAD:
        case HTTP_PHASE_BODY:
            more = step(conn, in);
            break;
        case HTTP_PHASE_ANSWER:
            more = send_answer(conn);
            served++;
            break;
        default:
            more = false;
            break;
        }
    }
    conn->running = false;
}

/* --- stream events --- */

static size_t on_input(struct stream *stream, struct slice in)
{
    struct http_conn *conn = mx_container_of(stream, struct http_conn, stream);
    size_t len = in.len;
    run(conn, &in);
    return conn->phase == HTTP_PHASE_CLOSING ? len : len - in.len;
}

static void on_eof(struct stream *stream)
{
    struct http_conn *conn = mx_container_of(stream, struct http_conn, stream);
    if (conn->phase != HTTP_PHASE_CLOSING) {
        close_conn(conn);
    }
}

static void on_drained(struct stream *stream)
{
    struct http_conn *conn = mx_container_of(stream, struct http_conn, stream);
    struct slice none = SLICE_EMPTY;
    if (conn->phase == HTTP_PHASE_ANSWER) {
        run(conn, &none);
    }
}

/* The TLS handshake is complete. */
static void on_ready(struct stream *stream)
{
    set_phase(mx_container_of(stream, struct http_conn, stream), HTTP_PHASE_IDLE);
}

static void on_closed(struct stream *stream, mx_err why)
{
    struct http_conn *conn = mx_container_of(stream, struct http_conn, stream);
    struct http_server *server = conn->server;
    (void)why;
    wheel_cancel(&server->conf.shard->wheel, &conn->timer);
    drop_exchange(conn);
    drop_answer(conn);
    list_remove(&conn->node);
    server->closing_count -= conn->phase == HTTP_PHASE_CLOSING;
    server->conns_count--;
    server->slot_conns[conn->slot]--;
    pool_release(&server->conns_pool, conn);
    http_server_settle(server);
}

static const struct stream_ops callbacks = {.input = on_input,
                                            .eof = on_eof,
                                            .drained = on_drained,
                                            .ready = on_ready,
                                            .closed = on_closed};

/* --- begin and end --- */

/* Over the limit; under TLS a handshake would cost more than the answer is worth. */
static void turn_away(struct http_conn *conn, bool tls)
{
    conn->server->stats.over_limit++;
    if (tls) {
        abort_conn(conn, MX_ERR_LIMIT);
    } else {
        refuse(conn, 503, "too many connections");
    }
}

void http_conn_accept(const struct http_listener *listener, int fd)
{
    struct http_server *server = listener->server;
    struct tls_ctx *tls = listener->tls;
    struct ring_addr peer;
    bool stopping = server->stopping;
    struct http_conn *conn = stopping ? NULL : pool_acquire_zero(&server->conns_pool);
    server->stats.connections++;
    if (conn == NULL || ring_peer(&peer, fd) != MX_OK) {
        server->stats.over_limit += !stopping && conn == NULL;
        pool_release(&server->conns_pool, conn);
        ring_close_fd(fd);
        return;
    }
    conn->server = server;
    conn->peer = ring_addr_netaddr(&peer);
    conn->timer.fire = timer_fire;
    http_engine_init(&conn->engine);
    list_push_back(&server->conns, &conn->node);
    stream_open(&conn->stream, server->conf.shard, &callbacks, fd);
    set_phase(conn, tls != NULL ? HTTP_PHASE_TLS : HTTP_PHASE_IDLE);
    conn->slot = listener->slot;
    unsigned of_slot = server->slot_conns[conn->slot]++;
    bool over = listener->connections_max > 0 && of_slot >= listener->connections_max;
    bool full =
        server->conns_count++ - server->closing_count >= server->conf.limits.connections_max;
    if ((over && !make_way(conn, WAY_SLOT_PLACE)) || (full && !make_way(conn, WAY_PLACE))) {
        turn_away(conn, tls != NULL);
    } else if (tls != NULL) {
        stream_start_tls(&conn->stream, tls, SLICE_EMPTY);
    }
}

void http_conn_stop(struct http_conn *conn, bool force)
{
    bool waits = conn->phase == HTTP_PHASE_IDLE || conn->phase == HTTP_PHASE_TLS;
    if (force) {
        abort_conn(conn, MX_ERR_SHUTDOWN);
    } else if (waits) {
        close_conn(conn);
    }
}
