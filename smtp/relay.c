#include "smtp/relay.h"

#include "core/check.h"
#include "io/shard.h"
#include "io/stream.h"
#include "smtp/hop.h"
#include "smtp/hop_lookup.h"
#include "smtp/pace.h"
#include "smtp/slots.h"
#include "smtp/strategy.h"

#include <stdlib.h>

struct relay_conn {
    struct stream stream;
    struct list_node node; /* in hop->idle */
    struct list_node all_node;
    struct hop *hop;
    struct cli *cli;
    struct cli_conf cli_conf;
    struct strategy_kept strategy;
    struct timer timer;
    unsigned address; /* index in hop->addresses */
    struct netaddr peer;
    unsigned transactions;
    bool up;         /* connected, and through an implicit handshake */
    bool ever_ready; /* has reached CLI_READY */
    bool handshaking;
    bool without_tls; /* a handshake failed, this one takes its place */
    bool idle_timed;  /* the timer says how long it is kept */
    bool leaving;     /* for another core */
    bool moves_on;    /* what is reserved goes to the next address when it ends */
    bool gone;        /* closed */
    uint64_t opened_ns;
    bool aborting;                      /* shutdown: drop, do not decide */
    bool zombie;                        /* closed, but a read is still in flight */
    char remote[NETADDR_TEXT_MAX + 8];  /* address and port, for the log */
    char literal[NETADDR_TEXT_MAX + 8]; /* as a DSN names a host without name */
    uint8_t host[DOMAIN_MAX];           /* its name, or a literal address */
    uint8_t host_len;
    struct delivery *reserved; /* waits for this connection, not in the hop's queue */
    /* the transaction */
    struct delivery *delivery;
    uint64_t delivery_ns; /* when it began */
    bool refused_mail;    /* it goes to the next address */
    bool used_up;         /* no more on this connection: it goes to a fresh one */
    struct cli_message msg;
    uint32_t rcpts[DELIVER_RCPTS_MAX];
    uint32_t positions[DELIVER_RCPTS_MAX]; /* in delivery->rcpts */
    uint8_t rcpt_states[DELIVER_RCPTS_MAX];
    /* where the content is */
    unsigned part; /* 0 prefix, 1 extents, 2 last part */
    const struct extent *extent;
    const struct block *block;
    struct slice piece; /* what is left of the current piece */
    struct journal_read read;
    bool reading;
};

static void drive(struct relay_conn *conn, struct slice *in);
static bool conn_open(struct hop *hop, unsigned address, struct delivery *reserved,
                      bool without_tls);

static void conn_free(struct relay_conn *conn)
{
    struct deliver *d = conn->hop->deliver;
    MX_ASSERT(!conn->reading);
    conn->hop->references -= conn->zombie;
    free(conn->read.buf);
    pool_release(&d->clis, conn->cli);
    pool_release(&d->conns, conn);
}

static void read_buf_free(struct relay_conn *conn)
{
    if (!conn->reading) {
        free(conn->read.buf);
        conn->read.buf = NULL;
    }
}

size_t relay_conn_bytes(void)
{
    return sizeof(struct relay_conn);
}

static struct outcome host_problem(struct slice text, const char *command)
{
    struct outcome o = deliver_problem(text, slice_of_text(command));
    return o;
}

/* --- content -----------------------------------------------------------------------------------
 */

static void extent_read_done(struct journal_read *read, mx_err err)
{
    struct relay_conn *conn = mx_container_of(read, struct relay_conn, read);
    conn->reading = false;
    if (conn->zombie) {
        conn_free(conn);
        return;
    }
    if (conn->delivery == NULL) {
        read_buf_free(conn); /* the transaction ended early */
        return;
    }
    if (err) {
        /* Half a message may be out: only cutting the connection keeps the rest from being taken.
         */
        stream_abort(&conn->stream, err);
        return;
    }
    conn->piece = slice_from(read->payload, RECORD_EXTENT_HEAD_BYTES);
    drive(conn, NULL);
}

static void extent_read(struct relay_conn *conn)
{
    struct active *active = conn->delivery->active;
    struct journal_ref ref = conn->extent->res.resident.ref;
    size_t bytes = (size_t)mx_round_up(journal_read_bytes(ref), JOURNAL_BLOCK_BYTES);
    free(conn->read.buf);
    conn->read = (struct journal_read){.done = extent_read_done, .ref = ref};
    conn->read.buf = aligned_alloc(JOURNAL_BLOCK_BYTES, bytes);
    conn->extent = conn->extent->next;
    if (conn->read.buf == NULL) {
        stream_abort(&conn->stream, MX_ERR_NOMEM);
        return;
    }
    conn->reading = true;
    journal_read(active->deliver->spool->journal, &conn->read);
}

/* Makes conn->piece non-empty. False: it comes later, or all has been given. */
static bool content_next(struct relay_conn *conn)
{
    struct active *active = conn->delivery->active;
    while (conn->piece.len == 0) {
        if (conn->reading) {
            return false;
        }
        if (conn->part == 0) {
            conn->part = 1;
            conn->extent = active->msg->extents;
            conn->piece = active->txn->env.prefix;
        } else if (conn->part == 1 && conn->extent != NULL) {
            extent_read(conn);
            return false;
        } else if (conn->part == 1) {
            conn->part = 2;
            conn->block = active->content.head;
            conn->piece = active->inline_content;
        } else if (conn->block != NULL) {
            conn->piece = block_slice(conn->block);
            conn->block = conn->block->next;
        } else {
            return false;
        }
    }
    return true;
}

/* --- transaction -------------------------------------------------------------------------------
 */

static struct slice host_name(const struct relay_conn *conn)
{
    return slice_of(conn->host, conn->host_len);
}

/* RFC 3464 section 2.1.2: a domain, or an address literal. */
static struct slice mta_name(struct relay_conn *conn)
{
    struct netaddr addr;
    struct slice name = host_name(conn);
    if (netaddr_parse(&addr, name) != MX_OK) {
        return name;
    }
    struct writer w = writer_init(conn->literal, sizeof conn->literal);
    put_text(&w, addr.family == 6 ? "[IPv6:" : "[");
    put_netaddr(&w, &addr);
    put_char(&w, ']');
    return writer_slice(&w);
}

static void transaction_begin(struct relay_conn *conn, struct delivery *delivery)
{
    struct active *active = delivery->active;
    const struct envelope *env = &active->txn->env;
    conn->delivery = delivery;
    conn->idle_timed = false;
    delivery->remote = mta_name(conn);
    delivery->peer = conn->remote;
    delivery->tls = conn->stream.tls == NULL ? "none" : tls_version(conn->stream.tls);
    conn->part = 0;
    conn->piece = SLICE_EMPTY;
    conn->delivery_ns = active->deliver->shard->now_ns;
    delivery->began_ns = conn->delivery_ns;
    count_one(&conn->hop->stats->attempts);
    count_add(&conn->hop->stats->reused, conn->transactions > 0);
    conn->transactions++;
    conn->refused_mail = conn->used_up = false;
    uint32_t count = 0;
    for (uint32_t i = 0; i < delivery->rcpt_count; i++) {
        if (!delivery->rcpts[i].decided) {
            conn->rcpts[count] = delivery->rcpts[i].rcpt;
            conn->positions[count++] = i;
        }
    }
    MX_ASSERT(count > 0);
    conn->msg = (struct cli_message){.env = env,
                                     .rcpts = conn->rcpts,
                                     .rcpt_count = count,
                                     .content_bytes = env->prefix.len + active->msg->body_bytes,
                                     .ends_in_crlf = env->body_ends_in_crlf,
                                     .has_8bit = env->body_has_8bit};
    delivery->dsn_passed = cli_extensions(conn->cli)->dsn && !conn->hop->route.lmtp;
    cli_begin(conn->cli, &conn->msg, conn->rcpt_states);
}

/* What would otherwise be seen only when all addresses have failed. */
static void log_passed_over(const struct relay_conn *conn, struct slice reason, const char *effect)
{
    const struct hop *hop = conn->hop;
    struct log *log = &hop->deliver->shard->log;
    struct log_line *line = log_begin(log, LOG_INFO, "address-passed-over");
    log_slice(line, "route", hop->route.name);
    if (hop->domain.len > 0) {
        log_slice(line, "domain", hop->domain);
    }
    log_slice(line, "host", host_name(conn));
    log_text(line, "peer", conn->remote);
    log_slice(line, "reason", reason);
    log_text(line, "effect", effect);
    log_end(log, line);
}

static bool is_to_mail(const struct outcome *o)
{
    return o->code != 0 && slice_equal(o->command, SLICE_LITERAL("MAIL FROM"));
}

/* The host takes no mail at the moment, and there is another one: RFC 5321 section 5.1. */
static bool refuses_for_now(const struct relay_conn *conn, const struct outcome *o)
{
    return o->kind == OUTCOME_TEMPORARY && is_to_mail(o) &&
           conn->address + 1 < conn->hop->address_count && !conn->hop->deliver->stopping &&
           !conn->hop->retired;
}

/* 421 to MAIL on a kept connection is a limit of messages, or of time, in most cases. */
static bool wants_fresh(const struct relay_conn *conn, const struct outcome *o)
{
    return o->code == 421 && is_to_mail(o) && conn->transactions > 1 && !conn->delivery->retried;
}

/* 530 to a connection that goes without TLS because a handshake failed: the handshake is to blame,
 * and may succeed later (RFC 3207 section 4). */
static void soften(const struct relay_conn *conn, struct outcome *o)
{
    if (o->code == 530 && conn->without_tls) {
        o->kind = OUTCOME_TEMPORARY;
        o->status[0] = 4;
    }
}

static void transaction_outcome(struct relay_conn *conn)
{
    struct outcome outcome = *cli_outcome(conn->cli);
    const struct outcome *o = &outcome;
    struct delivery *delivery = conn->delivery;
    soften(conn, &outcome);
    if (wants_fresh(conn, o)) {
        conn->used_up = true; /* for all recipients */
        return;
    }
    if (refuses_for_now(conn, o)) {
        if (!conn->refused_mail) {
            log_passed_over(conn, o->text, "the message goes to the next address");
        }
        conn->refused_mail = true; /* so are all recipients */
        return;
    }
    for (uint32_t i = 0; i < conn->msg.rcpt_count; i++) {
        if (conn->rcpts[i] == o->rcpt) {
            delivery_decide(delivery, conn->positions[i], o);
            return;
        }
    }
    MX_ASSERT(false);
}

/* What is noted about a connection lies in its memory. */
static void forget_peer(struct delivery *delivery)
{
    delivery->remote = SLICE_EMPTY;
    delivery->peer = delivery->tls = NULL;
}

/* It waits for its next time. Back in the queue, the next idle connection would try it at once. */
static void put_off(struct delivery *delivery, const struct outcome *problem)
{
    struct outcome outcome = *problem;
    outcome.host_fault = false; /* other hosts of this hop work */
    delivery_decide_rest(delivery, &outcome);
    delivery_done(delivery);
}

/* To the next address: this one said 4xx to MAIL. The addresses may have changed meanwhile. Without
 * a slot it waits for that of this connection, which has nothing more to do. */
static void go_elsewhere(struct relay_conn *conn, struct delivery *delivery)
{
    struct hop *hop = conn->hop;
    unsigned address = conn->address + 1;
    forget_peer(delivery);
    delivery->refused = true;
    if (hop->deliver->stopping || hop->retired || hop->paused) {
        delivery_drop(delivery);
    } else if (address < hop->address_count && conn_open(hop, address, delivery, false)) {
        return;
    } else if (address < hop->address_count && !conn->gone) {
        conn->reserved = delivery;
        conn->moves_on = true;
    } else {
        struct outcome problem =
            host_problem(SLICE_LITERAL("no connection to another mail host now"), "connect");
        put_off(delivery, &problem);
    }
}

/* Once, on another connection. */
static void go_again(struct hop *hop, struct delivery *delivery)
{
    delivery->retried = true;
    forget_peer(delivery);
    hop_give_back(hop, delivery);
}

static void transaction_end(struct relay_conn *conn)
{
    struct delivery *delivery = conn->delivery;
    conn->delivery = NULL;
    read_buf_free(conn);
    hdr_add(&conn->hop->stats->attempt_ns, conn->hop->deliver->shard->now_ns - conn->delivery_ns);
    if (conn->gone) {
        slot_failed(conn->hop);
    } else {
        slot_worked(conn->hop);
    }
    if (conn->used_up) {
        go_again(conn->hop, delivery);
    } else if (conn->refused_mail) {
        go_elsewhere(conn, delivery);
    } else {
        delivery_done(delivery);
    }
}

/* --- the session -------------------------------------------------------------------------------
 */

static void timer_set(struct relay_conn *conn, uint64_t delay_ms)
{
    shard_after(conn->hop->deliver->shard, &conn->timer, delay_ms * MX_NS_PER_MS);
}

static void timer_fire(struct timer *timer, uint64_t now_ns)
{
    (void)now_ns;
    struct relay_conn *conn = mx_container_of(timer, struct relay_conn, timer);
    if (list_linked(&conn->node)) { /* idle for long enough */
        list_remove(&conn->node);
        cli_quit(conn->cli);
        timer_set(conn, 5000);
        drive(conn, NULL);
        return;
    }
    stream_abort(&conn->stream, MX_ERR_TIMEOUT);
}

static struct routing_host routing_host(const struct relay_conn *conn)
{
    const struct netaddr *source = &conn->strategy.source;
    return (struct routing_host){host_name(conn), &conn->peer, source->family ? source : NULL};
}

/* False: nothing is left of the delivery, its recipients wait for their turn. */
static bool is_in_turn(const struct relay_conn *conn, struct delivery *delivery)
{
    struct routing_host host = routing_host(conn);
    struct netaddr local;
    struct ring_addr own;
    if (!pace_is_set(delivery->active->deliver)) {
        return true;
    }
    if (host.local == NULL && ring_local(&own, conn->stream.fd) == MX_OK) {
        local = ring_addr_netaddr(&own);
        host.local = &local;
    }
    return pace_admit(delivery, &host);
}

static bool may_take(const struct relay_conn *conn, struct delivery *delivery)
{
    struct routing_host host = routing_host(conn);
    return strategy_fits(&conn->strategy, delivery, &host);
}

/* The first of the queue that may go over this connection, or NULL; looks at so many only. */
static struct delivery *take_fitting(const struct relay_conn *conn)
{
    struct hop *hop = conn->hop;
    struct delivery *passed[RELAY_LOOK_MAX], *found = NULL;
    unsigned max = strategy_is_fixed(hop) ? 1 : RELAY_LOOK_MAX, count = 0;
    while (found == NULL && count < max) {
        struct delivery *delivery = hop_take(hop);
        if (delivery == NULL) {
            break;
        }
        if (may_take(conn, delivery)) {
            found = delivery;
        } else {
            passed[count++] = delivery;
        }
    }
    while (count > 0) {
        hop_give_back(hop, passed[--count]);
    }
    return found;
}

/* It may fall back to clear text, but not for long. */
static bool is_spent(const struct relay_conn *conn)
{
    unsigned max = (unsigned)conn->hop->deliver->performance.connection_transactions;
    return conn->transactions >= max ||
           (conn->without_tls && conn->transactions >= RELAY_CLEAR_MESSAGES);
}

/* What waits needs another connection, and there is no slot for one. */
static bool is_in_the_way(const struct relay_conn *conn)
{
    const struct slot_account *account = conn->hop->account;
    return conn->hop->waiting_count > 0 && account->used >= account->lent;
}

/* Its slot goes to another core. */
static bool is_called_back(struct relay_conn *conn, bool idle)
{
    if (!conn->leaving && slot_is_due(conn->hop, conn->opened_ns, idle)) {
        conn->leaving = true;
        conn->hop->account->leaving++;
    }
    return conn->leaving;
}

static void quit(struct relay_conn *conn)
{
    cli_quit(conn->cli);
    timer_set(conn, RELAY_QUIT_MS);
}

/* The connection has nothing to do. True: a transaction was begun. */
static bool conn_ready(struct relay_conn *conn)
{
    struct hop *hop = conn->hop;
    if (!conn->ever_ready) {
        conn->ever_ready = true;
        hop->connecting--;
    }
    hop_works(hop);
    if (conn->moves_on) {
        quit(conn);
        return true;
    }
    bool leave = hop->deliver->stopping || is_spent(conn) || is_called_back(conn, false);
    struct delivery *delivery = conn->reserved;
    conn->reserved = NULL;
    if (delivery != NULL && !may_take(conn, delivery)) { /* another configuration */
        hop_give_back(hop, delivery);
        delivery = NULL;
        leave = true;
    }
    if (delivery == NULL && !leave) {
        delivery = take_fitting(conn);
        leave = delivery == NULL &&
                (is_in_the_way(conn) || conn->without_tls || is_called_back(conn, true));
    }
    if (delivery != NULL && is_in_turn(conn, delivery)) {
        transaction_begin(conn, delivery);
        return true;
    }
    if (delivery != NULL && !leave) {
        return true; /* the next one may be */
    }
    if (leave || hop->retired) {
        quit(conn);
        return true;
    }
    list_push_back(&hop->idle, &conn->node);
    if (!conn->idle_timed) {
        conn->idle_timed = true;
        timer_set(conn, hop->deliver->performance.connection_idle_ms);
    }
    return false;
}

/* Encodes and sends content while there is room; false when something must happen first. */
static bool body_step(struct relay_conn *conn, struct writer *out)
{
    if (!content_next(conn)) {
        return false;
    }
    size_t used = cli_body(conn->cli, conn->piece, out);
    conn->piece = slice_from(conn->piece, used);
    return true;
}

static void start_tls(struct relay_conn *conn)
{
    struct deliver *d = conn->hop->deliver;
    bool strict = strategy_verifies(&conn->strategy, &conn->hop->route);
    conn->handshaking = true;
    timer_set(conn, conn->strategy.handshake_ms);
    stream_start_tls(&conn->stream, strict ? d->tls_strict : d->tls_any, host_name(conn));
}

static bool out_flush(struct relay_conn *conn, struct writer *out)
{
    mx_err err = out->len > 0 ? stream_write(&conn->stream, writer_slice(out)) : MX_OK;
    out->len = 0;
    if (err) {
        stream_abort(&conn->stream, err);
    }
    return err == MX_OK;
}

/* One action of the engine; false: wait for something. */
static bool step(struct relay_conn *conn, struct slice *in, struct writer *out)
{
    enum cli_act act = cli_next(conn->cli, in, out);
    switch (act) {
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
    case CLI_BODY:
        return body_step(conn, out);
    case CLI_OUTCOME:
        transaction_outcome(conn);
        return true;
    case CLI_DONE:
        transaction_end(conn);
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

/* Runs the engine until it has to wait. in may be NULL. */
static void drive(struct relay_conn *conn, struct slice *in)
{
    uint8_t buf[RELAY_OUT_BYTES];
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
    if (!conn->handshaking && (conn->delivery != NULL || !conn->ever_ready)) {
        timer_set(conn, strategy_phase_ms(&conn->strategy, cli_phase(conn->cli)));
    }
}

static size_t on_input(struct stream *stream, struct slice in)
{
    struct relay_conn *conn = mx_container_of(stream, struct relay_conn, stream);
    size_t len = in.len;
    if (list_linked(&conn->node)) {
        /* Unasked input on an idle connection: 421, or nonsense. */
        list_remove(&conn->node);
        stream_close(stream);
        return len;
    }
    drive(conn, &in);
    return len - in.len;
}

static void on_drained(struct stream *stream)
{
    drive(mx_container_of(stream, struct relay_conn, stream), NULL);
}

static void on_ready(struct stream *stream)
{
    struct relay_conn *conn = mx_container_of(stream, struct relay_conn, stream);
    if (!conn->up && conn->hop->route.implicit_tls && !conn->handshaking) {
        start_tls(conn); /* connected; now the handshake */
        return;
    }
    if (conn->up && conn->handshaking) {
        cli_tls_started(conn->cli);
    }
    conn->handshaking = false;
    conn->up = true;
    drive(conn, NULL);
}

bool relay_has_session(const struct hop *hop)
{
    return hop->connections > hop->connecting;
}

static void give_back_reserved(struct relay_conn *conn)
{
    hop_give_back(conn->hop, conn->reserved);
    conn->reserved = NULL;
}

/* What failed is the TLS that it needs, which others may not need. */
static bool is_own_fault(const struct relay_conn *conn, const struct outcome *problem)
{
    return problem->tls_fault && !strategy_is_fixed(conn->hop);
}

/* A session that may serve what this connection was for. */
static bool has_session_like(const struct relay_conn *conn)
{
    const struct hop *hop = conn->hop;
    struct list_node *node = list_first(&hop->conns);
    for (; node != NULL; node = list_next(&hop->conns, node)) {
        const struct relay_conn *other = mx_container_of(node, struct relay_conn, all_node);
        if (other->ever_ready && strategy_is_like(&other->strategy, &conn->strategy)) {
            return true;
        }
    }
    return false;
}

/* Another connection takes the place of one that failed: in clear, or to the next address. */
static bool retry_elsewhere(struct relay_conn *conn, const struct outcome *problem)
{
    struct hop *hop = conn->hop;
    unsigned address = conn->address;
    bool in_clear = conn->handshaking && !strategy_needs_tls(&conn->strategy, &conn->hop->route) &&
                    !conn->without_tls && address < hop->address_count;
    if (in_clear) {
        log_passed_over(conn, problem->text, "the same attempt goes on without TLS");
    } else if (++address >= hop->address_count) {
        return false;
    } else if (hop->first_address == conn->address) {
        if (!is_own_fault(conn, problem)) {
            hop->first_address = address;
        }
        log_passed_over(conn, problem->text, "the next address is tried");
    }
    if (conn_open(hop, address, conn->reserved, in_clear)) {
        conn->reserved = NULL;
    } else if (conn->reserved != NULL) {
        give_back_reserved(conn);
    }
    return true;
}

static const char *handshake_problem(const struct relay_conn *conn, mx_err why)
{
    static const char *const texts[] = {
        [TLS_FAILURE_CLOSED] = "the other side went away",
        [TLS_FAILURE_ALERT] = "the other side refused",
        [TLS_FAILURE_NO_COMMON] = "no version or cipher in common",
        [TLS_FAILURE_CERTIFICATE] = "the certificate does not verify",
        [TLS_FAILURE_PROTOCOL] = "the other side does not speak TLS",
    };
    return why == MX_ERR_TLS ? texts[conn->stream.tls_failure]
           : why == MX_OK    ? "closed by the other side"
                             : err_text(why);
}

/* Why there is no session. */
static struct outcome unusable_because(const struct relay_conn *conn, struct writer *w, mx_err why)
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
                : why == MX_OK    ? "closed by the other side"
                                  : err_text(why));
    struct outcome problem = host_problem(writer_slice(w), "connect");
    if (conn->handshaking) {
        problem.tls_fault = strategy_needs_tls(&conn->strategy, &conn->hop->route);
        problem.status[1] = 7;
        problem.status[2] = 5;
    }
    return problem;
}

/* The session never got to a transaction: the host is to blame, or the way to it. */
static void conn_unusable(struct relay_conn *conn, mx_err why)
{
    struct hop *hop = conn->hop;
    if (hop->retired) {
        return;
    }
    char text[CLI_TEXT_MAX];
    struct writer w = writer_init(text, sizeof text);
    struct outcome problem = unusable_because(conn, &w, why);
    if (retry_elsewhere(conn, &problem)) {
        return;
    }
    if (conn->reserved != NULL && is_own_fault(conn, &problem)) {
        put_off(conn->reserved, &problem);
        conn->reserved = NULL;
        return;
    }
    slot_failed(hop);
    bool session = relay_has_session(hop);
    if (conn->reserved != NULL && session && (conn->reserved->refused || !has_session_like(conn))) {
        put_off(conn->reserved, &problem); /* the sessions that there are cannot take it */
        conn->reserved = NULL;
    } else if (conn->reserved != NULL) {
        give_back_reserved(conn);
    }
    if (session) {
        return; /* a limit of the host, or chance: what waits goes over the sessions that there are
                 */
    }
    hop->first_address = 0;
    hop_failed(hop, &problem);
}

/* What was under way when the connection ended. */
static void transaction_lost(struct relay_conn *conn, mx_err why)
{
    struct delivery *delivery = conn->delivery;
    bool kept = conn->transactions > 1;
    bool nothing_sent = cli_phase(conn->cli) <= CLI_PHASE_DATA;
    if (kept && nothing_sent && !delivery->retried) {
        /* A kept connection that the other side had given up: a fresh one decides. */
        conn->delivery = NULL;
        read_buf_free(conn);
        go_again(conn->hop, delivery);
        return;
    }
    cli_lost(conn->cli, why == MX_OK ? MX_ERR_CLOSED : why);
    uint8_t buf[RELAY_OUT_BYTES];
    struct slice none = SLICE_EMPTY;
    while (conn->delivery != NULL) {
        struct writer out = writer_init(buf, sizeof buf);
        enum cli_act act = cli_next(conn->cli, &none, &out);
        if (act == CLI_OUTCOME) {
            transaction_outcome(conn);
        } else if (act == CLI_DONE) {
            transaction_end(conn);
        } else {
            MX_ASSERT(act == CLI_OUTCOME);
        }
    }
}

static void on_closed(struct stream *stream, mx_err why)
{
    struct relay_conn *conn = mx_container_of(stream, struct relay_conn, stream);
    struct hop *hop = conn->hop;
    struct deliver *d = hop->deliver;
    wheel_cancel(&d->shard->wheel, &conn->timer);
    list_remove(&conn->node);
    list_remove(&conn->all_node);
    conn->gone = true;
    hop->account->leaving -= conn->leaving;
    slot_give(hop);
    hop->connections--;
    hop->connecting -= !conn->ever_ready;
    count_add(&hop->stats->connections_failed, !conn->ever_ready);
    if (conn->reading) {
        conn->zombie = true; /* freed when the read is back */
        hop->references++;
    }
    if (conn->delivery != NULL && conn->aborting) {
        struct delivery *delivery = conn->delivery;
        conn->delivery = NULL;
        delivery_drop(delivery);
    } else if (conn->delivery != NULL) {
        transaction_lost(conn, why);
    } else if (!conn->ever_ready && !conn->aborting && !d->stopping) {
        conn_unusable(conn, why);
    } else if (conn->moves_on && !conn->aborting) {
        struct delivery *reserved = conn->reserved;
        conn->reserved = NULL;
        go_elsewhere(conn, reserved);
    }
    if (conn->reserved != NULL) {
        delivery_drop(conn->reserved);
        conn->reserved = NULL;
    }
    if (!conn->zombie) {
        conn_free(conn);
    }
    slots_settle(hop);
    hop_run(hop);
}

/* --- connections -------------------------------------------------------------------------------
 */

static const struct stream_ops stream_callbacks = {
    .input = on_input, .drained = on_drained, .ready = on_ready, .closed = on_closed};

static void name_host(struct relay_conn *conn, const struct hop_address *address)
{
    struct slice host = address->host.len > 0 ? address->host : conn->hop->route.address;
    host = slice_first(host, sizeof conn->host);
    memcpy(conn->host, host.ptr, host.len);
    conn->host_len = (uint8_t)host.len;
    struct writer w = writer_init(conn->remote, sizeof conn->remote - 1);
    put_netaddr_port(&w, &address->addr);
}

static void conn_connect(struct relay_conn *conn)
{
    struct hop *hop = conn->hop;
    struct ring_addr to = ring_addr_of(&conn->peer);
    bool last = conn->address + 1 == hop->address_count;
    uint64_t connect_ms = conn->strategy.times.connect;
    if (!last && connect_ms > RELAY_CONNECT_NEXT_MS) {
        connect_ms = RELAY_CONNECT_NEXT_MS;
    }
    timer_set(conn, connect_ms);
    stream_connect_from(&conn->stream, hop->deliver->shard, &stream_callbacks, &to,
                        &conn->strategy.source);
}

/* With a slot, which it gives back with NULL: no memory now. */
static struct relay_conn *conn_new(struct hop *hop, unsigned address_index)
{
    struct deliver *d = hop->deliver;
    struct relay_conn *conn = pool_acquire_zero(&d->conns);
    struct cli *cli = conn == NULL ? NULL : pool_acquire_zero(&d->clis);
    if (cli == NULL) {
        pool_release(&d->conns, conn);
        slot_give(hop);
        return NULL;
    }
    conn->opened_ns = d->shard->now_ns;
    conn->hop = hop;
    conn->cli = cli;
    conn->address = address_index;
    conn->peer = hop->addresses[address_index].addr;
    conn->timer.fire = timer_fire;
    name_host(conn, &hop->addresses[address_index]);
    return conn;
}

/* For this delivery, or for what waits. False: no slot or no memory now; every turn tries again
 * what still waits. */
static bool conn_open(struct hop *hop, unsigned address_index, struct delivery *reserved,
                      bool without_tls)
{
    struct relay_conn *conn = slot_take(hop) ? conn_new(hop, address_index) : NULL;
    if (conn == NULL) {
        return false;
    }
    struct routing_host host = {host_name(conn), &conn->peer, NULL};
    if (reserved == NULL && !strategy_is_fixed(hop)) {
        reserved = hop_take(hop); /* whose strategies they are */
    }
    bool wanted = reserved != NULL || strategy_is_fixed(hop);
    if (!wanted || !strategy_choose(&conn->strategy, hop, reserved, &host)) {
        conn_free(conn);
        slot_give(hop);
        return true;
    }
    conn->reserved = reserved;
    conn->without_tls = without_tls;
    conn->cli_conf =
        (struct cli_conf){.ehlo_name = conn->strategy.ehlo_name,
                          .lmtp = hop->route.lmtp,
                          .tls = strategy_tls_mode(&conn->strategy, &hop->route, without_tls),
                          .under_tls = hop->route.implicit_tls};
    cli_init(conn->cli, &conn->cli_conf);
    hop->connections++;
    hop->connecting++;
    count_one(&hop->stats->connections);
    list_push_back(&hop->conns, &conn->all_node);
    conn_connect(conn);
    return true;
}

void relay_run(struct hop *hop)
{
    struct list idle;
    struct list_node *node;
    list_init(&idle);
    list_splice(&idle, &hop->idle); /* those that cannot take anything come back */
    while (hop_ready_queue(hop) >= 0 && (node = list_pop_front(&idle)) != NULL) {
        drive(mx_container_of(node, struct relay_conn, node), NULL);
    }
    list_splice(&hop->idle, &idle);
    if (hop_ready_queue(hop) < 0 || !hop_addresses_known(hop)) {
        return;
    }
    bool opened = true;
    while (opened && hop_ready_queue(hop) >= 0 && !(hop->down && hop->connections > 0) &&
           (hop->connecting < hop->waiting_count || !strategy_is_fixed(hop))) {
        opened = conn_open(hop, hop->first_address, NULL, false);
    }
    slots_settle(hop);
}

static bool idle_quit(struct hop *hop, bool lends)
{
    struct list_node *node = list_pop_front(&hop->idle);
    if (node == NULL) {
        return false;
    }
    struct relay_conn *conn = mx_container_of(node, struct relay_conn, node);
    conn->leaving = lends;
    hop->account->leaving += lends;
    quit(conn);
    drive(conn, NULL);
    return true;
}

bool relay_quit_one(struct hop *hop)
{
    return idle_quit(hop, true);
}

void relay_keep_idle(struct hop *hop)
{
    struct list_node *node = list_first(&hop->idle);
    for (; node != NULL; node = list_next(&hop->idle, node)) {
        struct relay_conn *conn = mx_container_of(node, struct relay_conn, node);
        timer_set(conn, hop->deliver->performance.connection_idle_ms);
    }
}

void relay_stop_idle(struct hop *hop)
{
    struct list_node *node;
    while (idle_quit(hop, false)) {
    }
    /* Without content on its way there is nothing to wait for: the message is still queued. */
    node = list_first(&hop->conns);
    while (node != NULL) {
        struct list_node *next = list_next(&hop->conns, node);
        struct relay_conn *conn = mx_container_of(node, struct relay_conn, all_node);
        bool early =
            conn->delivery == NULL ? !conn->ever_ready : cli_phase(conn->cli) <= CLI_PHASE_DATA;
        if (early) {
            conn->aborting = true;
            stream_abort(&conn->stream, MX_ERR_SHUTDOWN);
        }
        node = next;
    }
}

void relay_abort_all(struct hop *hop)
{
    struct list_node *node = list_first(&hop->conns);
    while (node != NULL) {
        struct list_node *next = list_next(&hop->conns, node);
        struct relay_conn *conn = mx_container_of(node, struct relay_conn, all_node);
        conn->aborting = true;
        stream_abort(&conn->stream, MX_ERR_SHUTDOWN);
        node = next;
    }
}
