/* Connections that only ask about recipients. They are few, kept while there is something to ask,
 * and never carry mail, so whatever happens to them nothing is lost. */
#include "smtp/verify.h"

#include "core/check.h"
#include "core/text.h"
#include "io/stream.h"
#include "smtp/hop.h"
#include "smtp/relay.h"
#include "smtp/strategy.h"

enum { OUT_BYTES = 8 * 1024 };

struct verify_conn {
    struct stream stream;
    struct list_node all_node; /* in hop->verify.conns */
    struct list_node node;     /* in hop->verify.idle */
    struct hop *hop;
    struct cli *cli;
    struct cli_conf cli_conf;
    struct timer timer;
    unsigned address;    /* index in hop->addresses */
    unsigned refusals;   /* so far */
    bool up, ever_ready; /* connected; got as far as asking */
    bool useful;         /* some question was answered */
    bool handshaking, without_tls;
    struct strategy_kept strategy;
    bool leaving; /* no more questions */
    /* the transaction */
    struct envelope env;
    struct cli_message msg;
    struct verify_question *asked[VERIFY_BATCH_MAX]; /* NULL: answered */
    struct envelope_rcpt rcpts[VERIFY_BATCH_MAX];
    uint32_t indexes[VERIFY_BATCH_MAX];
    uint8_t states[VERIFY_BATCH_MAX];
    char remote[NETADDR_TEXT_MAX + 8];
};

static void drive(struct verify_conn *conn, struct slice *in);
static bool conn_open(struct hop *hop, unsigned address_index, bool without_tls);

size_t verify_conn_bytes(void)
{
    return sizeof(struct verify_conn);
}

static const struct performance *tuning(const struct verify_conn *conn)
{
    return &conn->hop->deliver->performance;
}

static void timer_set(struct verify_conn *conn, uint64_t delay_ms)
{
    shard_after(conn->hop->deliver->shard, &conn->timer, delay_ms * MX_NS_PER_MS);
}

static void timer_fire(struct timer *timer, uint64_t now_ns)
{
    struct verify_conn *conn = mx_container_of(timer, struct verify_conn, timer);
    (void)now_ns;
    if (!list_linked(&conn->node)) {
        stream_abort(&conn->stream, MX_ERR_TIMEOUT);
        return;
    }
    list_remove(&conn->node); /* idle for long enough */
    conn->leaving = true;
    cli_quit(conn->cli);
    timer_set(conn, RELAY_QUIT_MS);
    drive(conn, NULL);
}

/* --- questions ---------------------------------------------------------------------------------
 */

/* Is this refusal about the recipient? Not if it is about us (policy, protocol, authentication):
 * mail would be refused or not, but the recipient may well exist. */
static bool is_about_recipient(const struct outcome *o)
{
    bool other = o->status[1] == 3 || o->status[1] == 5 || o->status[1] == 7;
    bool syntax_or_access = (o->code >= 500 && o->code <= 504) || o->code == 530 || o->code == 535;
    return !other && !syntax_or_access;
}

static enum verify_result result_of(const struct outcome *o)
{
    if (o->code == 0) {
        return VERIFY_RESULT_UNREACHABLE;
    }
    if (!slice_equal(o->command, SLICE_LITERAL("RCPT TO"))) {
        return VERIFY_RESULT_UNDECIDED;
    }
    return o->kind == OUTCOME_DELIVERED                            ? VERIFY_RESULT_ACCEPTED
           : o->kind == OUTCOME_PERMANENT && is_about_recipient(o) ? VERIFY_RESULT_REFUSED
                                                                   : VERIFY_RESULT_UNDECIDED;
}

static void answered(struct verify_conn *conn)
{
    const struct outcome *o = cli_outcome(conn->cli);
    struct verify_question *q = conn->asked[o->rcpt];
    MX_ASSERT(q != NULL);
    if (o->code == 421 || (o->code == 0 && o->host_fault)) {
        return; /* to nobody in particular: the rest is asked on another connection */
    }
    conn->asked[o->rcpt] = NULL;
    conn->useful = true;
    conn->refusals += o->kind == OUTCOME_PERMANENT;
    verify_finish(q, result_of(o), o);
}

/* Up to so many as the host may refuse without being annoyed. */
static bool ask_some(struct verify_conn *conn)
{
    unsigned room = VERIFY_REFUSALS_MAX - conn->refusals;
    unsigned max = room < VERIFY_BATCH_MAX ? room : VERIFY_BATCH_MAX;
    uint32_t count = 0;
    struct verify_question *q;
    conn->env = (struct envelope){.rcpts = conn->rcpts};
    while (count < max && (q = verify_take(conn->hop)) != NULL) {
        struct slice address = slice_of(q->address, q->len);
        conn->asked[count] = q;
        conn->rcpts[count] = (struct envelope_rcpt){.address = address};
        conn->indexes[count] = count;
        conn->env.mail.smtputf8 = conn->env.mail.smtputf8 || !text_is_ascii(address);
        count++;
    }
    if (count == 0) {
        return false;
    }
    conn->env.rcpt_count = count;
    conn->msg = (struct cli_message){
        .env = &conn->env, .rcpts = conn->indexes, .rcpt_count = count, .only_asks = true};
    cli_begin(conn->cli, &conn->msg, conn->states);
    timer_set(conn, tuning(conn)->verify_timeout_ms);
    return true;
}

/* Asked on another connection, once. */
static void give_back(struct verify_conn *conn)
{
    for (unsigned i = VERIFY_BATCH_MAX; i > 0; i--) { /* the first is the first again */
        struct verify_question *q = conn->asked[i - 1];
        conn->asked[i - 1] = NULL;
        if (q != NULL) {
            verify_give_back(q);
        }
    }
}

/* Nothing is under way. True: a transaction has begun, or the end. */
static bool conn_ready(struct verify_conn *conn)
{
    struct verify_hop *vh = &conn->hop->verify;
    if (!conn->ever_ready) {
        conn->ever_ready = true;
        vh->connecting--;
    }
    conn->leaving = conn->leaving || conn->hop->retired || conn->hop->deliver->stopping ||
                    conn->refusals >= VERIFY_REFUSALS_MAX ||
                    !strategy_fits_questions(&conn->strategy, conn->hop) ||
                    vh->connections > tuning(conn)->verify_connections;
    if (conn->leaving) {
        cli_quit(conn->cli);
        timer_set(conn, RELAY_QUIT_MS);
        return true;
    }
    if (ask_some(conn)) {
        return true;
    }
    list_push_front(&vh->idle, &conn->node); /* the others may go when they are not needed */
    timer_set(conn, tuning(conn)->connection_idle_ms);
    return false;
}

bool verify_conn_use_idle(struct hop *hop)
{
    struct list_node *node = list_pop_front(&hop->verify.idle);
    if (node == NULL) {
        return false;
    }
    drive(mx_container_of(node, struct verify_conn, node), NULL);
    return true;
}

/* --- the session -------------------------------------------------------------------------------
 */

static void start_tls(struct verify_conn *conn)
{
    struct deliver *d = conn->hop->deliver;
    const struct route_conf *route = &conn->hop->route;
    bool strict = strategy_verifies(&conn->strategy, route);
    conn->handshaking = true;
    stream_start_tls(&conn->stream, strict ? d->tls_strict : d->tls_any, route->address);
}

static bool out_flush(struct verify_conn *conn, struct writer *out)
{
    mx_err err = out->len > 0 ? stream_write(&conn->stream, writer_slice(out)) : MX_OK;
    out->len = 0;
    if (err) {
        stream_abort(&conn->stream, err);
    }
    return err == MX_OK;
}

/* One action of the engine; false: wait for something. */
static bool step(struct verify_conn *conn, struct slice *in, struct writer *out)
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
        return conn_ready(conn);
    case CLI_OUTCOME:
        answered(conn);
        return true;
    case CLI_DONE:
        give_back(conn); /* what a 421 has left */
        return true;
    case CLI_CLOSE:
        in->len = 0;
        if (out_flush(conn, out)) {
            stream_close(&conn->stream);
        }
        return false;
    case CLI_INPUT:
    case CLI_BODY: /* never: nothing is sent */
    default:
        return false;
    }
}

/* Runs the engine until it has to wait. in may be NULL. */
static void drive(struct verify_conn *conn, struct slice *in)
{
    uint8_t buf[OUT_BYTES];
    struct slice none = SLICE_EMPTY;
    struct writer out = writer_init(buf, sizeof buf);
    bool more = conn->up;
    if (in == NULL) {
        in = &none;
    }
    while (more) {
        if (stream_room(&conn->stream) < sizeof buf) {
            conn->stream.want_drained = true;
            break;
        }
        more = step(conn, in, &out);
    }
    (void)out_flush(conn, &out);
}

static size_t on_input(struct stream *stream, struct slice in)
{
    struct verify_conn *conn = mx_container_of(stream, struct verify_conn, stream);
    size_t len = in.len;
    if (list_linked(&conn->node)) { /* unasked: 421, or nonsense */
        list_remove(&conn->node);
        conn->leaving = true;
        stream_close(stream);
        return len;
    }
    drive(conn, &in);
    return len - in.len;
}

static void on_drained(struct stream *stream)
{
    drive(mx_container_of(stream, struct verify_conn, stream), NULL);
}

static void on_ready(struct stream *stream)
{
    struct verify_conn *conn = mx_container_of(stream, struct verify_conn, stream);
    if (!conn->up && conn->hop->route.implicit_tls && !conn->handshaking) {
        start_tls(conn);
        return;
    }
    if (conn->up && conn->handshaking) {
        cli_tls_started(conn->cli);
    }
    conn->handshaking = false;
    conn->up = true;
    drive(conn, NULL);
}

/* --- begin and end -----------------------------------------------------------------------------
 */

/* It answered nothing: another one is tried, in clear or at the next address. */
static void conn_unusable(struct verify_conn *conn, mx_err why)
{
    struct hop *hop = conn->hop;
    const struct outcome *refused = conn->up ? cli_problem(conn->cli) : NULL;
    unsigned address = conn->address;
    bool in_clear = conn->handshaking && !strategy_needs_tls(&conn->strategy, &conn->hop->route) &&
                    !conn->without_tls;
    address += !in_clear;
    if (address < hop->address_count && !list_empty(&hop->verify.waiting) &&
        conn_open(hop, address, in_clear)) {
        return;
    }
    char text[CLI_TEXT_MAX];
    struct writer w = writer_init(text, sizeof text);
    put_text(&w, "connection to ");
    put_text(&w, conn->remote);
    put_text(&w, " failed: ");
    if (refused != NULL) {
        put_slice(&w, slice_first(refused->text, writer_room(&w)));
    } else {
        put_text(&w, why == MX_OK ? "closed by the other side" : err_text(why));
    }
    verify_pause(hop, writer_slice(&w)); /* where others work, a limit of the host, or chance */
}

static void on_closed(struct stream *stream, mx_err why)
{
    struct verify_conn *conn = mx_container_of(stream, struct verify_conn, stream);
    struct hop *hop = conn->hop;
    struct deliver *d = hop->deliver;
    wheel_cancel(&d->shard->wheel, &conn->timer);
    list_remove(&conn->node);
    list_remove(&conn->all_node);
    hop->verify.connections--;
    hop->verify.connecting -= !conn->ever_ready;
    give_back(conn);
    if (!conn->useful && !conn->leaving && !hop->retired && !d->stopping) {
        conn_unusable(conn, why);
    }
    pool_release(&d->clis, conn->cli);
    pool_release(&d->verify.conns, conn);
    hop_run(hop);
}

static const struct stream_ops stream_callbacks = {
    .input = on_input, .drained = on_drained, .ready = on_ready, .closed = on_closed};

static bool conn_open(struct hop *hop, unsigned address_index, bool without_tls)
{
    const struct hop_address *address = &hop->addresses[address_index];
    struct deliver *d = hop->deliver;
    struct verify_conn *conn = pool_acquire_zero(&d->verify.conns);
    struct cli *cli = conn == NULL ? NULL : pool_acquire_zero(&d->clis);
    if (cli == NULL) {
        pool_release(&d->verify.conns, conn);
        return false;
    }
    conn->hop = hop;
    conn->cli = cli;
    conn->address = address_index;
    conn->timer.fire = timer_fire;
    conn->without_tls = without_tls;
    strategy_of_questions(&conn->strategy, hop, &address->addr);
    conn->cli_conf =
        (struct cli_conf){.ehlo_name = conn->strategy.ehlo_name,
                          .lmtp = hop->route.lmtp,
                          .tls = strategy_tls_mode(&conn->strategy, &hop->route, without_tls),
                          .under_tls = hop->route.implicit_tls};
    struct writer w = writer_init(conn->remote, sizeof conn->remote - 1);
    put_netaddr_port(&w, &address->addr);
    cli_init(cli, &conn->cli_conf);
    hop->verify.connections++;
    hop->verify.connecting++;
    list_push_back(&hop->verify.conns, &conn->all_node);
    timer_set(conn, tuning(conn)->verify_timeout_ms);
    struct ring_addr to = ring_addr_of(&address->addr);
    stream_connect_from(&conn->stream, d->shard, &stream_callbacks, &to, &conn->strategy.source);
    return true;
}

bool verify_conn_open(struct hop *hop, unsigned address_index)
{
    return conn_open(hop, address_index, false);
}

void verify_conns_stop(struct hop *hop)
{
    struct list_node *node = list_first(&hop->verify.conns);
    while (node != NULL) {
        struct list_node *next = list_next(&hop->verify.conns, node);
        struct verify_conn *conn = mx_container_of(node, struct verify_conn, all_node);
        conn->leaving = true;
        if (list_linked(&conn->node)) {
            list_remove(&conn->node);
            cli_quit(conn->cli);
            timer_set(conn, RELAY_QUIT_MS);
            drive(conn, NULL);
        } else {
            stream_abort(&conn->stream, MX_ERR_SHUTDOWN);
        }
        node = next;
    }
}
