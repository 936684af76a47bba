#include "smtp/cli_conn.h"

#include "core/check.h"
#include "io/shard.h"
#include "smtp/hop.h"

/* --- beginning and end -------------------------------------------------------------------------
 */

static size_t on_input(struct stream *stream, struct slice in);
static void on_drained(struct stream *stream);
static void on_ready(struct stream *stream);
static void on_closed(struct stream *stream, mx_err why);
static void timer_fire(struct timer *timer, uint64_t now_ns);

static const struct stream_ops stream_callbacks = {
    .input = on_input, .drained = on_drained, .ready = on_ready, .closed = on_closed};

static void timer_set(struct cli_conn *conn, uint64_t delay_ms)
{
    shard_after(conn->hop->deliver->shard, &conn->timer, delay_ms * MX_NS_PER_MS);
}

static void name_host(struct cli_conn *conn, const struct hop_address *address)
{
    struct slice host = address->host.len > 0 ? address->host : conn->hop->route.address;
    host = slice_first(host, sizeof conn->host);
    memcpy(conn->host, host.ptr, host.len);
    conn->host_len = (uint8_t)host.len;
    struct writer w = writer_init(conn->remote, sizeof conn->remote - 1);
    put_netaddr_port(&w, &address->addr);
}

bool cli_conn_init(struct cli_conn *conn, const struct cli_conn_ops *ops, struct hop *hop,
                   unsigned address)
{
    conn->cli = pool_acquire_zero(&hop->deliver->clis);
    if (conn->cli == NULL) {
        return false;
    }
    conn->ops = ops;
    conn->hop = hop;
    conn->address = address;
    conn->peer = hop->addresses[address].addr;
    conn->timer.fire = timer_fire;
    name_host(conn, &hop->addresses[address]);
    return true;
}

void cli_conn_fini(struct cli_conn *conn)
{
    pool_release(&conn->hop->deliver->clis, conn->cli);
    conn->cli = NULL;
}

static uint64_t connect_ms(const struct cli_conn *conn)
{
    bool last = conn->address + 1 == conn->hop->address_count;
    uint64_t strategy_ms = conn->strategy.times.connect;
    return conn->limit_ms != 0                          ? conn->limit_ms
           : !last && strategy_ms > CLI_CONNECT_NEXT_MS ? CLI_CONNECT_NEXT_MS
                                                        : strategy_ms;
}

void cli_conn_dial(struct cli_conn *conn, struct list *conns, bool without_tls)
{
    const struct route_conf *route = &conn->hop->route;
    struct ring_addr to = ring_addr_of(&conn->peer);
    conn->without_tls = without_tls;
    conn->cli_conf =
        (struct cli_conf){.ehlo_name = conn->strategy.ehlo_name,
                          .lmtp = route->lmtp,
                          .tls = strategy_tls_mode(&conn->strategy, route, without_tls),
                          .under_tls = route->implicit_tls};
    cli_init(conn->cli, &conn->cli_conf);
    list_push_back(conns, &conn->all_node);
    timer_set(conn, connect_ms(conn));
    stream_connect_from(&conn->stream, conn->hop->deliver->shard, &stream_callbacks, &to,
                        &conn->strategy.source);
}

static void on_closed(struct stream *stream, mx_err why)
{
    struct cli_conn *conn = mx_container_of(stream, struct cli_conn, stream);
    wheel_cancel(&conn->hop->deliver->shard->wheel, &conn->timer);
    list_remove(&conn->node);
    list_remove(&conn->all_node);
    conn->gone = true;
    conn->ops->closed(conn, why);
}

void cli_conn_lost(struct cli_conn *conn, mx_err why)
{
    cli_hung_up(conn->cli, why == MX_OK ? MX_ERR_CLOSED : why,
                slice_of(conn->unread, conn->unread_len));
}

void cli_conn_abort(struct cli_conn *conn)
{
    conn->aborting = true;
    stream_abort(&conn->stream, MX_ERR_SHUTDOWN);
}

/* --- what the owner begins ---------------------------------------------------------------------
 */

void cli_conn_begin(struct cli_conn *conn, const struct cli_message *msg, uint8_t *states)
{
    conn->busy = true;
    conn->rest_timed = false;
    cli_begin(conn->cli, msg, states);
    if (conn->limit_ms != 0) {
        timer_set(conn, conn->limit_ms);
    }
}

void cli_conn_rest_again(struct cli_conn *conn)
{
    conn->rest_timed = true;
    timer_set(conn, conn->hop->deliver->performance.connection_idle_ms);
}

void cli_conn_rest(struct cli_conn *conn)
{
    MX_ASSERT(list_linked(&conn->node));
    if (!conn->rest_timed) {
        cli_conn_rest_again(conn);
    }
}

void cli_conn_quit(struct cli_conn *conn)
{
    conn->ending = true;
    cli_quit(conn->cli);
    timer_set(conn, CLI_QUIT_MS);
}

static void timer_fire(struct timer *timer, uint64_t now_ns)
{
    struct cli_conn *conn = mx_container_of(timer, struct cli_conn, timer);
    (void)now_ns;
    if (!list_linked(&conn->node)) {
        stream_abort(&conn->stream, MX_ERR_TIMEOUT);
        return;
    }
    list_remove(&conn->node); /* it has rested for long enough */
    cli_conn_quit(conn);
    cli_conn_drive(conn, NULL);
}

/* --- the pump ----------------------------------------------------------------------------------
 */

static void start_tls(struct cli_conn *conn)
{
    const struct deliver *d = conn->hop->deliver;
    bool strict = strategy_verifies(&conn->strategy, &conn->hop->route);
    conn->handshaking = true;
    if (conn->limit_ms == 0) {
        timer_set(conn, conn->strategy.handshake_ms);
    }
    stream_start_tls(&conn->stream, strict ? d->tls_strict : d->tls_any, cli_conn_host(conn));
}

static bool out_flush(struct cli_conn *conn, struct writer *out)
{
    mx_err err = out->len > 0 ? stream_write(&conn->stream, writer_slice(out)) : MX_OK;
    out->len = 0;
    if (err) {
        stream_abort(&conn->stream, err);
    }
    return err == MX_OK;
}

/* For the next step of the other side. A reply that comes byte by byte has no more time than one
 * that comes whole. */
static void step_timed(struct cli_conn *conn)
{
    uint64_t progress = cli_progress(conn->cli) + 1;
    if (progress != conn->progress) {
        conn->progress = progress;
        timer_set(conn, strategy_phase_ms(&conn->strategy, cli_phase(conn->cli)));
    }
}

/* One action of the engine; false: wait for something. */
static bool step(struct cli_conn *conn, struct slice *in, struct writer *out)
{
    switch (cli_next(conn->cli, in, out)) {
    case CLI_FLUSH:
        return out_flush(conn, out);
    case CLI_START_TLS:
        in->len = 0;
        if (out_flush(conn, out)) {
            start_tls(conn);
        }
        return false;
    case CLI_READY:
        return conn->ops->ready(conn);
    case CLI_BODY:
        /* It came behind the go-ahead; content in memory would be out before it is read. */
        if (in->len > 0) {
            cli_spoke_early(conn->cli);
        }
        return conn->ops->body(conn, out);
    case CLI_OUTCOME:
        conn->ops->outcome(conn);
        return true;
    case CLI_DONE:
        if (in->len > 0) {
            cli_spoke_unasked(conn->cli);
        }
        conn->busy = false;
        conn->ops->done(conn);
        return true;
    case CLI_CLOSE:
        in->len = 0;
        if (out_flush(conn, out)) {
            stream_close(&conn->stream);
        }
        return false;
    case CLI_INPUT:
    default:
        return false;
    }
}

void cli_conn_drive(struct cli_conn *conn, struct slice *in)
{
    uint8_t buf[CLI_OUT_BYTES];
    struct slice none = SLICE_EMPTY;
    struct writer out = writer_init(buf, sizeof buf);
    if (in == NULL) {
        in = &none;
    }
    bool more = conn->up && !conn->aborting;
    while (more) {
        if (stream_room(&conn->stream) < sizeof buf) {
            conn->stream.want_drained = true;
            break;
        }
        more = step(conn, in, &out);
        if (writer_room(&out) < sizeof buf / 2 && !out_flush(conn, &out)) {
            return;
        }
    }
    if (!out_flush(conn, &out)) {
        return;
    }
    if (in == &none && conn->stream.park_len > 0 && cli_phase(conn->cli) != CLI_PHASE_BODY) {
        stream_resume(&conn->stream); /* what came while content was leaving is its reply */
    }
    if (conn->limit_ms == 0 && !conn->handshaking && (conn->busy || !conn->ever_ready)) {
        step_timed(conn);
    }
}

/* The stream has no use for it when it has ended, but the other side may have said why. */
static void keep_unread(struct cli_conn *conn, struct slice rest)
{
    bool counts = conn->busy && cli_phase(conn->cli) == CLI_PHASE_BODY;
    conn->unread_len = (uint16_t)(counts ? mx_min_size(rest.len, sizeof conn->unread) : 0);
    if (conn->unread_len > 0) {
        memcpy(conn->unread, rest.ptr, conn->unread_len);
        cli_spoke_early(conn->cli);
    }
}

static size_t on_input(struct stream *stream, struct slice in)
{
    struct cli_conn *conn = mx_container_of(stream, struct cli_conn, stream);
    size_t len = in.len;
    if (list_linked(&conn->node)) { /* unasked: 421, or nonsense */
        list_remove(&conn->node);
        conn->ending = true;
        stream_close(stream);
        return len;
    }
    cli_conn_drive(conn, &in);
    keep_unread(conn, in);
    return len - in.len;
}

static void on_drained(struct stream *stream)
{
    cli_conn_drive(mx_container_of(stream, struct cli_conn, stream), NULL);
}

static void on_ready(struct stream *stream)
{
    struct cli_conn *conn = mx_container_of(stream, struct cli_conn, stream);
    if (!conn->up && conn->hop->route.implicit_tls && !conn->handshaking) {
        start_tls(conn); /* connected; now the handshake */
        return;
    }
    if (conn->up && conn->handshaking) {
        cli_tls_started(conn->cli);
    }
    conn->handshaking = false;
    conn->up = true;
    cli_conn_drive(conn, NULL);
}

/* --- what it is --------------------------------------------------------------------------------
 */

struct slice cli_conn_host(const struct cli_conn *conn)
{
    return slice_of(conn->host, conn->host_len);
}

struct routing_host cli_conn_routing(const struct cli_conn *conn)
{
    const struct netaddr *source = &conn->strategy.source;
    return (struct routing_host){cli_conn_host(conn), &conn->peer, source->family ? source : NULL};
}

bool cli_conn_may_go_clear(const struct cli_conn *conn)
{
    return cli_tried_tls(conn->cli) && !conn->ever_ready && !conn->without_tls &&
           !strategy_needs_tls(&conn->strategy, &conn->hop->route);
}

static const char *handshake_problem(const struct cli_conn *conn, mx_err why)
{
    return why == MX_ERR_TLS ? stream_tls_problem(&conn->stream)
           : why == MX_OK    ? "closed by the other side"
                             : err_text(why);
}

struct outcome cli_conn_problem(const struct cli_conn *conn, struct writer *w, mx_err why)
{
    const struct outcome *refused = conn->up ? cli_problem(conn->cli) : NULL;
    if (refused != NULL) {
        return *refused;
    }
    put_text(w, conn->handshaking ? "TLS handshake with " : "connection to ");
    put_text(w, conn->remote);
    if (conn->strategy.source.family != 0) {
        put_text(w, " from ");
        put_netaddr(w, &conn->strategy.source);
    }
    put_text(w, " failed: ");
    put_text(w, conn->handshaking ? handshake_problem(conn, why)
                                  : err_text(why == MX_OK ? MX_ERR_CLOSED : why));
    if (conn->up && !conn->handshaking) {
        put_char(w, ' ');
        put_text(w, cli_phase_text(conn->cli));
    }
    struct outcome problem = deliver_problem(writer_slice(w), SLICE_LITERAL("connect"));
    if (conn->handshaking) {
        problem.tls_fault = strategy_needs_tls(&conn->strategy, &conn->hop->route);
        problem.status[1] = 7;
        problem.status[2] = 5;
    }
    return problem;
}
