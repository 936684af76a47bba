#include "smtp/relay.h"

#include "core/check.h"
#include "smtp/hop.h"
#include "smtp/hop_lookup.h"
#include "smtp/pace.h"
#include "smtp/relay_private.h"
#include "smtp/slots.h"

void relay_conn_free(struct relay_conn *conn)
{
    struct deliver *d = conn->client.hop->deliver;
    MX_ASSERT(!conn->reading);
    conn->client.hop->references -= conn->zombie;
    relay_content_end(conn);
    cli_conn_fini(&conn->client);
    pool_release(&d->conns, conn);
}

size_t relay_conn_bytes(void)
{
    return sizeof(struct relay_conn);
}

/* --- what a connection does next ---------------------------------------------------------------
 */

/* False: nothing is left of the delivery, its recipients wait for their turn. */
static bool is_in_turn(const struct relay_conn *conn, struct delivery *delivery)
{
    struct routing_host host = cli_conn_routing(&conn->client);
    struct netaddr local;
    struct ring_addr own;
    if (!pace_is_set(delivery->active->deliver)) {
        return true;
    }
    if (host.local == NULL && ring_local(&own, conn->client.stream.fd) == MX_OK) {
        local = ring_addr_netaddr(&own);
        host.local = &local;
    }
    return pace_admit(delivery, &host);
}

static bool may_take(const struct relay_conn *conn, struct delivery *delivery)
{
    struct routing_host host = cli_conn_routing(&conn->client);
    return strategy_fits(&conn->client.strategy, delivery, &host);
}

/* The first of the queue that may go over this connection, or NULL; looks at so many only. */
static struct delivery *take_fitting(const struct relay_conn *conn)
{
    struct hop *hop = conn->client.hop;
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
    unsigned max = (unsigned)conn->client.hop->deliver->performance.connection_transactions;
    return conn->transactions >= max ||
           (conn->client.without_tls && conn->transactions >= RELAY_CLEAR_MESSAGES);
}

/* Its slot goes to another core. */
static bool is_called_back(struct relay_conn *conn, bool idle)
{
    if (!conn->leaving && slot_is_due(conn->client.hop, conn->opened_ns, idle)) {
        conn->leaving = true;
        conn->client.hop->account->leaving++;
    }
    return conn->leaving;
}

/* The connection has nothing to do. True: a transaction was begun. */
static bool on_ready(struct cli_conn *client)
{
    struct relay_conn *conn = mx_container_of(client, struct relay_conn, client);
    struct hop *hop = client->hop;
    if (!client->ever_ready) {
        client->ever_ready = true;
        hop->connecting--;
    }
    hop_works(hop);
    if (conn->moves_on) {
        cli_conn_quit(client);
        return true;
    }
    bool leave = hop->deliver->stopping || is_spent(conn) || is_called_back(conn, false) ||
                 !strategy_is_there(&client->strategy, hop);
    struct delivery *delivery = conn->reserved;
    conn->reserved = NULL;
    if (delivery != NULL && conn->chosen_of != hop->deliver->image->generation &&
        !may_take(conn, delivery)) { /* another configuration */
        hop_give_back(hop, delivery);
        delivery = NULL;
        leave = true;
    }
    if (delivery == NULL && !leave) {
        delivery = take_fitting(conn);
        leave = delivery == NULL && (client->without_tls || is_called_back(conn, true));
    }
    if (delivery != NULL && is_in_turn(conn, delivery)) {
        relay_txn_begin(conn, delivery);
        return true;
    }
    if (delivery != NULL && !leave) {
        return true; /* the next one may be */
    }
    if (leave || hop->retired) {
        cli_conn_quit(client);
        return true;
    }
    list_push_back(&hop->idle, &client->node);
    if (!client->rest_timed && hop_ready_queue(hop) >= 0) {
        shard_again(hop->deliver->shard); /* it may have to make room for what does not fit */
    }
    cli_conn_rest(client);
    return false;
}

bool relay_has_session(const struct hop *hop)
{
    return hop->connections > hop->connecting;
}

/* --- the end of a connection -------------------------------------------------------------------
 */

static void give_back_reserved(struct relay_conn *conn)
{
    hop_give_back(conn->client.hop, conn->reserved);
    conn->reserved = NULL;
}

/* What failed is the TLS that it needs, which others may not need. */
static bool is_own_fault(const struct relay_conn *conn, const struct outcome *problem)
{
    return problem->tls_fault && !strategy_is_fixed(conn->client.hop);
}

/* A session that may serve what this connection was for. */
static bool has_session_like(const struct relay_conn *conn)
{
    const struct hop *hop = conn->client.hop;
    struct list_node *node = list_first(&hop->conns);
    for (; node != NULL; node = list_next(&hop->conns, node)) {
        const struct relay_conn *other = mx_container_of(node, struct relay_conn, client.all_node);
        if (other->client.ever_ready &&
            strategy_is_like(&other->client.strategy, &conn->client.strategy)) {
            return true;
        }
    }
    return false;
}

/* Another connection takes the place of one that failed: in clear, or to the next address. */
static bool retry_elsewhere(struct relay_conn *conn, const struct outcome *problem)
{
    struct hop *hop = conn->client.hop;
    unsigned address = conn->client.address;
    bool in_clear = cli_conn_may_go_clear(&conn->client) && address < hop->address_count;
    if (in_clear) {
        relay_log_passed_over(conn, problem->text, "the same attempt goes on without TLS");
    } else if (++address >= hop->address_count) {
        return false;
    } else if (hop->first_address == conn->client.address) {
        if (!is_own_fault(conn, problem)) {
            hop->first_address = address;
        }
        relay_log_passed_over(conn, problem->text, "the next address is tried");
    }
    if (relay_open(hop, address, conn->reserved, in_clear)) {
        conn->reserved = NULL;
    } else if (conn->reserved != NULL) {
        give_back_reserved(conn);
    }
    return true;
}

/* The session never got to a transaction: the host is to blame, or the way to it. */
static void conn_unusable(struct relay_conn *conn, mx_err why)
{
    struct hop *hop = conn->client.hop;
    if (hop->retired) {
        return;
    }
    char text[CLI_TEXT_MAX];
    struct writer w = writer_init(text, sizeof text);
    struct outcome problem = cli_conn_problem(&conn->client, &w, why);
    if (problem.code != 0) {
        problem.host = relay_host_name(conn);
    }
    if (retry_elsewhere(conn, &problem)) {
        return;
    }
    if (conn->reserved != NULL && is_own_fault(conn, &problem)) {
        relay_put_off(conn->reserved, &problem);
        conn->reserved = NULL;
        return;
    }
    slot_failed(hop);
    bool session = relay_has_session(hop);
    if (conn->reserved != NULL && session && (conn->reserved->refused || !has_session_like(conn))) {
        relay_put_off(conn->reserved, &problem); /* the sessions that there are cannot take it */
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

static void on_closed(struct cli_conn *client, mx_err why)
{
    struct relay_conn *conn = mx_container_of(client, struct relay_conn, client);
    struct hop *hop = client->hop;
    hop->account->leaving -= conn->leaving;
    hop->yielding -= conn->yields;
    slot_give(hop);
    hop->connections--;
    hop->connecting -= !client->ever_ready;
    count_add(&hop->stats->connections_failed, !client->ever_ready);
    if (conn->reading) {
        conn->zombie = true; /* freed when the read is back */
        hop->references++;
    }
    if (conn->delivery != NULL && client->aborting) {
        struct delivery *delivery = conn->delivery;
        conn->delivery = NULL;
        delivery_drop(delivery);
    } else if (conn->delivery != NULL) {
        relay_txn_lost(conn, why);
    } else if (!client->ever_ready && !client->aborting && !hop->deliver->stopping) {
        conn_unusable(conn, why);
    } else if (conn->moves_on && !client->aborting) {
        struct delivery *reserved = conn->reserved;
        conn->reserved = NULL;
        relay_go_elsewhere(conn, reserved);
    }
    if (conn->reserved != NULL) {
        delivery_drop(conn->reserved);
        conn->reserved = NULL;
    }
    if (!conn->zombie) {
        relay_conn_free(conn);
    }
    slots_settle(hop);
    hop_run(hop);
}

/* --- connections of a next hop -----------------------------------------------------------------
 */

static const struct cli_conn_ops callbacks = {.ready = on_ready,
                                              .body = relay_content_step,
                                              .outcome = relay_txn_outcome,
                                              .done = relay_txn_end,
                                              .closed = on_closed};

/* With a slot, which it gives back with NULL: no memory now. */
static struct relay_conn *conn_new(struct hop *hop, unsigned address)
{
    struct deliver *d = hop->deliver;
    struct relay_conn *conn = pool_acquire_zero(&d->conns);
    if (conn == NULL || !cli_conn_init(&conn->client, &callbacks, hop, address)) {
        pool_release(&d->conns, conn);
        slot_give(hop);
        return NULL;
    }
    conn->opened_ns = d->shard->now_ns;
    return conn;
}

bool relay_open(struct hop *hop, unsigned address, struct delivery *reserved, bool without_tls)
{
    struct relay_conn *conn = slot_take(hop) ? conn_new(hop, address) : NULL;
    if (conn == NULL) {
        return false;
    }
    struct routing_host host = cli_conn_routing(&conn->client);
    if (reserved == NULL && !strategy_is_fixed(hop)) {
        reserved = hop_take(hop); /* whose strategies they are */
    }
    bool wanted = reserved != NULL || strategy_is_fixed(hop);
    if (!wanted || !strategy_choose(&conn->client.strategy, hop, reserved, &host)) {
        relay_conn_free(conn);
        slot_give(hop);
        return true;
    }
    conn->reserved = reserved;
    conn->chosen_of = hop->deliver->image->generation;
    hop->connections++;
    hop->connecting++;
    count_one(&hop->stats->connections);
    cli_conn_dial(&conn->client, &hop->conns, without_tls);
    return true;
}

/* Taken out of the list. */
static void quit_idle(struct relay_conn *conn)
{
    cli_conn_quit(&conn->client);
    cli_conn_drive(&conn->client, NULL);
}

/* What waits fits no connection that rests, and there can only be another one in the place of one
 * of them: that which has rested for longest, and one at a time, as the others may be needed. */
static void make_room(struct hop *hop)
{
    struct list_node *node = hop->yielding == 0 ? list_pop_front(&hop->idle) : NULL;
    if (node != NULL) {
        struct relay_conn *conn = mx_container_of(node, struct relay_conn, client.node);
        conn->yields = true;
        hop->yielding++;
        quit_idle(conn);
    }
}

void relay_run(struct hop *hop)
{
    struct list idle;
    struct list_node *node;
    list_init(&idle);
    list_splice(&idle, &hop->idle); /* those that cannot take anything come back */
    while (hop_ready_queue(hop) >= 0 && (node = list_pop_front(&idle)) != NULL) {
        cli_conn_drive(mx_container_of(node, struct cli_conn, node), NULL);
    }
    list_splice(&hop->idle, &idle);
    if (hop_ready_queue(hop) < 0 || !hop_addresses_known(hop)) {
        return;
    }
    bool opened = true;
    while (opened && hop_ready_queue(hop) >= 0 && !(hop->down && hop->connections > 0) &&
           (hop->connecting < hop->waiting_count || !strategy_is_fixed(hop))) {
        opened = relay_open(hop, hop->first_address, NULL, false);
    }
    if (!opened && slot_is_wanting(hop)) {
        make_room(hop);
    }
    slots_settle(hop);
}

static bool idle_quit(struct hop *hop, bool lends)
{
    struct list_node *node = list_pop_front(&hop->idle);
    if (node == NULL) {
        return false;
    }
    struct relay_conn *conn = mx_container_of(node, struct relay_conn, client.node);
    conn->leaving = lends;
    hop->account->leaving += lends;
    quit_idle(conn);
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
        cli_conn_rest_again(mx_container_of(node, struct cli_conn, node));
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
        struct relay_conn *conn = mx_container_of(node, struct relay_conn, client.all_node);
        bool early = conn->delivery == NULL ? !conn->client.ever_ready
                                            : cli_phase(conn->client.cli) <= CLI_PHASE_DATA;
        if (early) {
            cli_conn_abort(&conn->client);
        }
        node = next;
    }
}

void relay_abort_all(struct hop *hop)
{
    struct list_node *node = list_first(&hop->conns);
    while (node != NULL) {
        struct list_node *next = list_next(&hop->conns, node);
        cli_conn_abort(mx_container_of(node, struct cli_conn, all_node));
        node = next;
    }
}
