/* One message over one connection: what is sent, what comes of each recipient, and where the
 * message goes when this connection is not the one that settles it. */
#include "core/check.h"
#include "smtp/hop.h"
#include "smtp/relay_private.h"
#include "smtp/slots.h"

/* RFC 3464 section 2.1.2: a domain, or an address literal. */
struct slice relay_host_name(struct relay_conn *conn)
{
    struct netaddr addr;
    struct slice name = cli_conn_host(&conn->client);
    if (netaddr_parse(&addr, name) != MX_OK) {
        return name;
    }
    struct writer w = writer_init(conn->literal, sizeof conn->literal);
    put_text(&w, addr.family == 6 ? "[IPv6:" : "[");
    put_netaddr(&w, &addr);
    put_char(&w, ']');
    return writer_slice(&w);
}

void relay_txn_begin(struct relay_conn *conn, struct delivery *delivery)
{
    struct active *active = delivery->active;
    const struct envelope *env = &active->txn->env;
    conn->delivery = delivery;
    delivery->remote = relay_host_name(conn);
    delivery->peer = conn->client.remote;
    delivery->tls = conn->client.stream.tls == NULL ? "none" : tls_version(conn->client.stream.tls);
    relay_content_begin(conn);
    conn->delivery_ns = active->deliver->shard->now_ns;
    delivery->began_ns = conn->delivery_ns;
    count_one(&conn->client.hop->stats->attempts);
    count_add(&conn->client.hop->stats->reused, conn->transactions > 0);
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
    delivery->dsn_passed = cli_extensions(conn->client.cli)->dsn && !conn->client.hop->route.lmtp;
    cli_conn_begin(&conn->client, &conn->msg, conn->rcpt_states);
}

void relay_log_passed_over(const struct relay_conn *conn, struct slice reason, const char *effect)
{
    const struct hop *hop = conn->client.hop;
    struct log *log = &hop->deliver->shard->log;
    struct log_line *line = log_begin(log, LOG_INFO, "address-passed-over");
    log_slice(line, "route", hop->route.name);
    if (hop->domain.len > 0) {
        log_slice(line, "domain", hop->domain);
    }
    log_slice(line, "host", cli_conn_host(&conn->client));
    log_text(line, "peer", conn->client.remote);
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
           conn->client.address + 1 < conn->client.hop->address_count &&
           !conn->client.hop->deliver->stopping && !conn->client.hop->retired;
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
    if (o->code == 530 && conn->client.without_tls) {
        o->kind = OUTCOME_TEMPORARY;
        o->status[0] = 4;
    }
}

void relay_txn_outcome(struct cli_conn *client)
{
    struct relay_conn *conn = mx_container_of(client, struct relay_conn, client);
    struct outcome outcome = *cli_outcome(conn->client.cli);
    const struct outcome *o = &outcome;
    struct delivery *delivery = conn->delivery;
    soften(conn, &outcome);
    if (wants_fresh(conn, o)) {
        conn->used_up = true; /* for all recipients */
        return;
    }
    if (refuses_for_now(conn, o)) {
        if (!conn->refused_mail) {
            relay_log_passed_over(conn, o->text, "the message goes to the next address");
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

void relay_put_off(struct delivery *delivery, const struct outcome *problem)
{
    struct outcome outcome = *problem;
    outcome.host_fault = false; /* other hosts of this hop work */
    delivery_decide_rest(delivery, &outcome);
    delivery_done(delivery);
}

void relay_go_elsewhere(struct relay_conn *conn, struct delivery *delivery)
{
    struct hop *hop = conn->client.hop;
    unsigned address = conn->client.address + 1;
    forget_peer(delivery);
    delivery->refused = true;
    if (hop->deliver->stopping || hop->retired || hop->paused) {
        delivery_drop(delivery);
    } else if (address < hop->address_count && relay_open(hop, address, delivery, false)) {
        return;
    } else if (address < hop->address_count && !conn->client.gone) {
        conn->reserved = delivery;
        conn->moves_on = true;
    } else {
        struct outcome problem = deliver_problem(
            SLICE_LITERAL("no connection to another mail host now"), SLICE_LITERAL("connect"));
        relay_put_off(delivery, &problem);
    }
}

/* Once, on another connection. */
static void go_again(struct hop *hop, struct delivery *delivery)
{
    delivery->retried = true;
    forget_peer(delivery);
    hop_give_back(hop, delivery);
}

void relay_txn_end(struct cli_conn *client)
{
    struct relay_conn *conn = mx_container_of(client, struct relay_conn, client);
    struct delivery *delivery = conn->delivery;
    conn->delivery = NULL;
    relay_content_end(conn);
    hdr_add(&conn->client.hop->stats->attempt_ns,
            conn->client.hop->deliver->shard->now_ns - conn->delivery_ns);
    if (conn->client.gone) {
        slot_failed(conn->client.hop);
    } else {
        slot_worked(conn->client.hop);
    }
    if (conn->used_up) {
        go_again(conn->client.hop, delivery);
    } else if (conn->refused_mail) {
        relay_go_elsewhere(conn, delivery);
    } else {
        delivery_done(delivery);
    }
}

void relay_txn_lost(struct relay_conn *conn, mx_err why)
{
    struct delivery *delivery = conn->delivery;
    bool kept = conn->transactions > 1;
    bool nothing_sent = cli_phase(conn->client.cli) <= CLI_PHASE_DATA;
    if (kept && nothing_sent && !delivery->retried) {
        /* A kept connection that the other side had given up: a fresh one decides. */
        conn->delivery = NULL;
        relay_content_end(conn);
        go_again(conn->client.hop, delivery);
        return;
    }
    cli_conn_lost(&conn->client, why);
    uint8_t buf[CLI_OUT_BYTES];
    struct slice none = SLICE_EMPTY;
    while (conn->delivery != NULL) {
        struct writer out = writer_init(buf, sizeof buf);
        enum cli_act act = cli_next(conn->client.cli, &none, &out);
        if (act == CLI_OUTCOME) {
            relay_txn_outcome(&conn->client);
        } else if (act == CLI_DONE) {
            relay_txn_end(&conn->client);
        } else {
            MX_ASSERT(act == CLI_OUTCOME);
        }
    }
}
