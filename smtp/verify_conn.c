/* Connections that only ask about recipients. They are few, kept while there is something to ask,
 * and never carry mail, so whatever happens to them nothing is lost. */
#include "smtp/verify.h"

#include "core/check.h"
#include "core/text.h"
#include "smtp/cli_conn.h"
#include "smtp/hop.h"

struct verify_conn {
    struct cli_conn client; /* its node is in hop->verify.idle, its all_node in hop->verify.conns */
    unsigned refusals;      /* so far */
    bool useful;            /* some question was answered */
    bool yields;            /* to one of another strategy: counted in hop->verify.yielding */
    /* the transaction */
    struct envelope env;
    struct cli_message msg;
    struct verify_question *asked[VERIFY_BATCH_MAX]; /* NULL: answered */
    struct envelope_rcpt rcpts[VERIFY_BATCH_MAX];
    uint32_t indexes[VERIFY_BATCH_MAX];
    uint8_t states[VERIFY_BATCH_MAX];
};

static bool conn_open(struct hop *hop, unsigned address, struct verify_question *q,
                      bool without_tls);

size_t verify_conn_bytes(void)
{
    return sizeof(struct verify_conn);
}

static const struct performance *tuning(const struct verify_conn *conn)
{
    return &conn->client.hop->deliver->performance;
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

static void answered(struct cli_conn *client)
{
    struct verify_conn *conn = mx_container_of(client, struct verify_conn, client);
    const struct outcome *o = cli_outcome(client->cli);
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

/* As before its strategies are known: what they are asked for is the same at any time. */
static struct routing_host host_of(const struct verify_conn *conn)
{
    return (struct routing_host){cli_conn_host(&conn->client), &conn->client.peer, NULL};
}

/* Up to so many as the host may refuse without being annoyed. */
static bool ask_some(struct verify_conn *conn)
{
    unsigned room = VERIFY_REFUSALS_MAX - conn->refusals;
    unsigned max = room < VERIFY_BATCH_MAX ? room : VERIFY_BATCH_MAX;
    uint32_t count = 0;
    struct verify_question *q;
    struct routing_host host = host_of(conn);
    const struct strategy_kept *kept = &conn->client.strategy;
    conn->env = (struct envelope){.rcpts = conn->rcpts};
    while (count < max && (q = verify_take(conn->client.hop, kept, &host)) != NULL) {
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
    cli_conn_begin(&conn->client, &conn->msg, conn->states);
    return true;
}

/* Asked on another connection, once. At the end of a transaction: what a 421 has left. */
static void give_back(struct cli_conn *client)
{
    struct verify_conn *conn = mx_container_of(client, struct verify_conn, client);
    for (unsigned i = VERIFY_BATCH_MAX; i > 0; i--) { /* the first is the first again */
        struct verify_question *q = conn->asked[i - 1];
        conn->asked[i - 1] = NULL;
        if (q != NULL) {
            verify_give_back(q);
        }
    }
}

static void yield(struct verify_conn *conn)
{
    conn->yields = true;
    conn->client.hop->verify.yielding++;
    cli_conn_quit(&conn->client);
}

/* True: a transaction has begun, or the end. */
static bool on_ready(struct cli_conn *client)
{
    struct verify_conn *conn = mx_container_of(client, struct verify_conn, client);
    const struct hop *hop = client->hop;
    struct verify_hop *vh = &client->hop->verify;
    if (!client->ever_ready) {
        client->ever_ready = true;
        vh->connecting--;
    }
    client->limit_ms = tuning(conn)->verify_timeout_ms;
    if (client->ending || hop->retired || hop->deliver->stopping ||
        conn->refusals >= VERIFY_REFUSALS_MAX || !strategy_is_there(&client->strategy, hop) ||
        vh->connections > tuning(conn)->verify_connections) {
        cli_conn_quit(client);
        return true;
    }
    if (ask_some(conn)) {
        return true;
    }
    if (!client->rest_timed && verify_wants_room(hop)) {
        yield(conn);
        return true;
    }
    if (client->rest_timed) { /* it only looked */
        list_push_back(&vh->idle, &client->node);
    } else {
        list_push_front(&vh->idle, &client->node); /* the others may go when they are not needed */
    }
    cli_conn_rest(client);
    return false;
}

void verify_conns_use_idle(struct hop *hop)
{
    struct list idle;
    struct list_node *node;
    list_init(&idle);
    list_splice(&idle, &hop->verify.idle); /* those that cannot ask anything come back */
    while (!list_empty(&hop->verify.waiting) && (node = list_pop_front(&idle)) != NULL) {
        cli_conn_drive(mx_container_of(node, struct cli_conn, node), NULL);
    }
    list_splice(&hop->verify.idle, &idle);
}

void verify_conns_make_room(struct hop *hop)
{
    const struct list *idle = &hop->verify.idle;
    struct list_node *last = NULL;
    for (struct list_node *node = list_first(idle); node != NULL; node = list_next(idle, node)) {
        last = node;
    }
    if (last != NULL) {
        struct verify_conn *conn = mx_container_of(last, struct verify_conn, client.node);
        list_remove(last);
        yield(conn);
        cli_conn_drive(&conn->client, NULL);
    }
}

/* --- begin and end -----------------------------------------------------------------------------
 */

/* It answered nothing: another one is tried, in clear or at the next address. */
static void conn_unusable(struct verify_conn *conn, mx_err why)
{
    struct hop *hop = conn->client.hop;
    bool in_clear = cli_conn_may_go_clear(&conn->client);
    unsigned address = conn->client.address + !in_clear;
    struct routing_host host = host_of(conn);
    struct verify_question *q = verify_find(hop, &conn->client.strategy, &host);
    if (address < hop->address_count && q != NULL && conn_open(hop, address, q, in_clear)) {
        return;
    }
    char text[CLI_TEXT_MAX];
    struct writer w = writer_init(text, sizeof text);
    /* Where others work, a limit of the host, or chance. */
    verify_pause(hop, &conn->client.strategy, cli_conn_problem(&conn->client, &w, why).text);
}

static void on_closed(struct cli_conn *client, mx_err why)
{
    struct verify_conn *conn = mx_container_of(client, struct verify_conn, client);
    struct hop *hop = client->hop;
    hop->verify.connections--;
    hop->verify.connecting -= !client->ever_ready;
    hop->verify.yielding -= conn->yields;
    give_back(client);
    bool counts = !client->ending && !client->aborting && !hop->retired && !hop->deliver->stopping;
    if (counts && !conn->useful && strategy_is_there(&client->strategy, hop)) {
        conn_unusable(conn, why);
    }
    cli_conn_fini(client);
    pool_release(&hop->deliver->verify.conns, conn);
    hop_run(hop);
}

static const struct cli_conn_ops callbacks = {
    .ready = on_ready, .outcome = answered, .done = give_back, .closed = on_closed};

static bool conn_open(struct hop *hop, unsigned address, struct verify_question *q,
                      bool without_tls)
{
    struct verify *v = &hop->deliver->verify;
    struct verify_conn *conn = pool_acquire_zero(&v->conns);
    if (conn == NULL || !cli_conn_init(&conn->client, &callbacks, hop, address)) {
        pool_release(&v->conns, conn);
        return false;
    }
    struct routing_host host = host_of(conn);
    struct strategy_pick pick;
    if (!verify_pick(q, &pick, &host)) {
        cli_conn_fini(&conn->client);
        pool_release(&v->conns, conn);
        return true;
    }
    strategy_keep(&conn->client.strategy, hop, &pick, &conn->client.peer);
    conn->client.limit_ms = tuning(conn)->verify_timeout_ms;
    hop->verify.connections++;
    hop->verify.connecting++;
    cli_conn_dial(&conn->client, &hop->verify.conns, without_tls);
    return true;
}

bool verify_conn_open(struct hop *hop, unsigned address, struct verify_question *q)
{
    return conn_open(hop, address, q, false);
}

unsigned verify_conns_coming(const struct hop *hop, const struct strategy_pick *pick)
{
    const struct list *conns = &hop->verify.conns;
    unsigned count = 0;
    for (struct list_node *node = list_first(conns); node != NULL; node = list_next(conns, node)) {
        const struct cli_conn *client = mx_container_of(node, struct cli_conn, all_node);
        count += !client->ever_ready && strategy_is(&client->strategy, pick);
    }
    return count;
}

void verify_conns_stop(struct hop *hop)
{
    struct list_node *node = list_first(&hop->verify.conns);
    while (node != NULL) {
        struct list_node *next = list_next(&hop->verify.conns, node);
        struct cli_conn *client = mx_container_of(node, struct cli_conn, all_node);
        if (list_linked(&client->node)) {
            list_remove(&client->node);
            cli_conn_quit(client);
            cli_conn_drive(client, NULL);
        } else {
            cli_conn_abort(client);
        }
        node = next;
    }
}
