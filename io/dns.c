#include "io/dns.h"

#include "core/check.h"
#include "core/count.h"
#include "core/hash.h"
#include "io/random.h"
#include "io/stream.h"

#include <stdlib.h>

struct dns_attempt;

struct dns_lookup {
    struct list_node running;
    struct dns *dns;
    struct list waiting; /* struct dns_query */
    uint64_t began_ns;
    uint64_t hash;        /* of the name and type */
    struct dns_name name; /* lower case */
    struct dns_engine engine;
    struct dns_attempt *attempt; /* the query that is out, or NULL */
    struct timer timer;
};

/* One query to one server. Given up, it lives until its socket's operations have ended. */
struct dns_attempt {
    struct dns *dns;
    struct dns_lookup *lookup; /* NULL: given up */
    bool tcp;
    int fd; /* UDP */
    struct op send_op, recv_op;
    struct timer again; /* the receive found no buffer */
    unsigned ignored;
    struct stream stream; /* TCP */
    uint8_t *response;    /* of which a part has come; NULL: nothing yet, or all at once */
    size_t response_len, response_got;
    size_t message_len;
    uint8_t message[2 + DNS_QUERY_BYTES]; /* the length, for TCP, and the query */
};

enum { LENGTH_BYTES = 2 };

static void act(struct dns_lookup *lookup, enum dns_step step);

static void fill_entropy(uint64_t out[5])
{
    random_fill(out, 5 * sizeof *out);
}

/* --- the end of a lookup -----------------------------------------------------------------------
 */

static void attempt_give_up(struct dns_attempt *attempt);

static void lookup_end(struct dns_lookup *lookup, mx_err err, const struct dns_answer *answer)
{
    struct dns *dns = lookup->dns;
    const char *problem = lookup->engine.problem;
    struct list_node *node;
    wheel_cancel(&dns->shard->wheel, &lookup->timer);
    hdr_add(&dns->stats.ns, dns->shard->now_ns - lookup->began_ns);
    list_remove(&lookup->running);
    if (lookup->attempt != NULL) {
        attempt_give_up(lookup->attempt);
    }
    while ((node = list_pop_front(&lookup->waiting)) != NULL) {
        struct dns_query *query = mx_container_of(node, struct dns_query, node);
        query->done(query, err, answer, problem);
    }
    pool_release(&dns->lookups, lookup);
}

static void lookup_failed(struct dns_lookup *lookup)
{
    struct dns *dns = lookup->dns;
    struct dns_answer unknown = {.status = DNS_UNKNOWN,
                                 .type = (uint16_t)lookup->engine.question.type,
                                 .ttl_s = DNS_FAILURE_KEEP_S};
    count_one(&dns->stats.failures);
    dns_cache_keep(&dns->cache, &lookup->name, &unknown, dns->shard->now_ns);
    lookup_end(lookup, MX_ERR_DNS_TEMPORARY, NULL);
}

static void lookup_answered(struct dns_lookup *lookup)
{
    struct dns *dns = lookup->dns;
    dns->first = dns_engine_server(&lookup->engine);
    dns_cache_keep(&dns->cache, &lookup->name, dns->scratch, dns->shard->now_ns);
    lookup_end(lookup, MX_OK, dns->scratch);
}

/* --- attempts ----------------------------------------------------------------------------------
 */

static void attempt_release(struct dns_attempt *attempt)
{
    if (attempt->send_op.pending || attempt->recv_op.pending) {
        return;
    }
    ring_close_fd(attempt->fd);
    pool_release(&attempt->dns->attempts, attempt);
}

static void attempt_give_up(struct dns_attempt *attempt)
{
    attempt->lookup->attempt = NULL;
    attempt->lookup = NULL;
    wheel_cancel(&attempt->dns->shard->wheel, &attempt->again); /* nobody would end that receive */
    if (attempt->tcp) {
        stream_abort(&attempt->stream, MX_ERR_CANCELLED);
        return;
    }
    ring_cancel(attempt->dns->shard->ring, &attempt->recv_op);
    attempt_release(attempt);
}

static void silent(struct dns_lookup *lookup, const char *problem)
{
    uint64_t entropy[5];
    fill_entropy(entropy);
    act(lookup, dns_engine_silent(&lookup->engine, problem, entropy));
}

static void respond(struct dns_lookup *lookup, struct slice message)
{
    uint64_t entropy[5];
    fill_entropy(entropy);
    act(lookup, dns_engine_response(&lookup->engine, message, lookup->dns->scratch, entropy));
}

static void udp_receive(struct dns_attempt *attempt)
{
    ring_recv(attempt->dns->shard->ring, &attempt->recv_op, attempt->fd, true);
}

static void udp_again(struct timer *timer, uint64_t now_ns)
{
    (void)now_ns;
    udp_receive(mx_container_of(timer, struct dns_attempt, again));
}

static void udp_sent(struct op *op, const struct op_result *result)
{
    struct dns_attempt *attempt = mx_container_of(op, struct dns_attempt, send_op);
    if (attempt->lookup == NULL) {
        attempt_release(attempt);
    } else if (result->err) {
        silent(attempt->lookup, "the query could not be sent");
    }
}

static void udp_received(struct op *op, const struct op_result *result)
{
    struct dns_attempt *attempt = mx_container_of(op, struct dns_attempt, recv_op);
    struct dns *dns = attempt->dns; /* the attempt may be gone before the end */
    if (attempt->lookup == NULL) {
        attempt_release(attempt);
    } else if (result->err == MX_ERR_AGAIN) {
        shard_after(dns->shard, &attempt->again, 0);
    } else if (result->err) {
        silent(attempt->lookup, result->err == MX_ERR_REFUSED
                                    ? "nobody listens at the name server's address"
                                    : "the name server cannot be reached");
    } else if (result->has_buf) {
        const uint8_t *bytes = ring_recv_buf(dns->shard->ring, result->buf_id);
        respond(attempt->lookup, slice_of(bytes, (size_t)result->value));
    } else {
        respond(attempt->lookup, SLICE_EMPTY);
    }
    if (result->has_buf) {
        ring_recv_return(dns->shard->ring, result->buf_id);
    }
}

/* More than a stream keeps for its owner may be on its way. */
static void tcp_append(struct dns_attempt *attempt, struct slice in)
{
    in = slice_first(in, attempt->response_len - attempt->response_got);
    if (in.len > 0) {
        memcpy(attempt->response + attempt->response_got, in.ptr, in.len);
        attempt->response_got += in.len;
    }
    if (attempt->response_got == attempt->response_len) {
        respond(attempt->lookup, slice_of(attempt->response, attempt->response_len));
    }
}

static size_t tcp_input(struct stream *stream, struct slice in)
{
    struct dns_attempt *attempt = mx_container_of(stream, struct dns_attempt, stream);
    if (attempt->lookup == NULL) {
        return in.len;
    }
    if (attempt->response != NULL) {
        tcp_append(attempt, in);
        return in.len;
    }
    if (in.len < LENGTH_BYTES) {
        return 0;
    }
    size_t len = (size_t)in.ptr[0] << 8 | in.ptr[1];
    struct slice body = slice_from(in, LENGTH_BYTES);
    if (len > DNS_TCP_BYTES) {
        silent(attempt->lookup, "the answer is too long");
    } else if (body.len >= len) {
        respond(attempt->lookup, slice_first(body, len));
    } else {
        attempt->response = malloc(len);
        attempt->response_len = len;
        if (attempt->response == NULL) {
            silent(attempt->lookup, "out of memory for the answer");
        } else {
            tcp_append(attempt, body);
        }
    }
    return in.len;
}

static void tcp_ready(struct stream *stream)
{
    struct dns_attempt *attempt = mx_container_of(stream, struct dns_attempt, stream);
    if (attempt->lookup != NULL &&
        stream_write(stream, slice_of(attempt->message, attempt->message_len))) {
        silent(attempt->lookup, "out of memory for the query");
    }
}

static void tcp_closed(struct stream *stream, mx_err why)
{
    struct dns_attempt *attempt = mx_container_of(stream, struct dns_attempt, stream);
    struct dns_lookup *lookup = attempt->lookup;
    (void)why;
    if (lookup != NULL) {
        lookup->attempt = NULL;
    }
    free(attempt->response);
    pool_release(&attempt->dns->attempts, attempt);
    if (lookup != NULL) {
        silent(lookup, "the name server closed the connection");
    }
}

static const struct stream_ops tcp_callbacks = {
    .input = tcp_input, .ready = tcp_ready, .closed = tcp_closed};

/* --- asking ------------------------------------------------------------------------------------
 */

static bool udp_ask(struct dns_attempt *attempt, const struct ring_addr *to)
{
    struct ring *ring = attempt->dns->shard->ring;
    if (ring_udp(&attempt->fd, to)) {
        return false;
    }
    attempt->send_op.done = udp_sent;
    attempt->recv_op.done = udp_received;
    attempt->again.fire = udp_again;
    ring_send(ring, &attempt->send_op, attempt->fd,
              slice_of(attempt->message + LENGTH_BYTES, attempt->message_len - LENGTH_BYTES));
    udp_receive(attempt);
    return true;
}

/* False: no socket or no memory. */
static bool ask(struct dns_lookup *lookup)
{
    struct dns *dns = lookup->dns;
    struct dns_engine *engine = &lookup->engine;
    struct ring_addr to = ring_addr_of(&engine->conf->servers[dns_engine_server(engine)]);
    struct dns_attempt *attempt = pool_acquire_zero(&dns->attempts);
    if (attempt == NULL) {
        return false;
    }
    attempt->dns = dns;
    attempt->tcp = engine->tcp;
    attempt->message[0] = (uint8_t)(engine->query_len >> 8);
    attempt->message[1] = (uint8_t)engine->query_len;
    memcpy(attempt->message + LENGTH_BYTES, engine->query, engine->query_len);
    attempt->message_len = LENGTH_BYTES + engine->query_len;
    if (!attempt->tcp && !udp_ask(attempt, &to)) {
        pool_release(&dns->attempts, attempt);
        return false;
    }
    if (attempt->tcp) {
        stream_connect(&attempt->stream, dns->shard, &tcp_callbacks, &to);
        count_one(&dns->stats.by_tcp);
    }
    attempt->lookup = lookup;
    lookup->attempt = attempt;
    shard_after(dns->shard, &lookup->timer, engine->conf->timeout_ms * MX_NS_PER_MS);
    count_one(&dns->stats.queries);
    return true;
}

/* What a step of the engine asks for. The lookup may be gone afterwards. */
static void act(struct dns_lookup *lookup, enum dns_step step)
{
    uint64_t entropy[5];
    while (step == DNS_STEP_ASK) {
        if (lookup->attempt != NULL) {
            attempt_give_up(lookup->attempt);
        }
        if (ask(lookup)) {
            return;
        }
        fill_entropy(entropy);
        step = dns_engine_silent(&lookup->engine, "no socket for the query", entropy);
    }
    if (step == DNS_STEP_DONE) {
        lookup_answered(lookup);
    } else if (step == DNS_STEP_FAILED) {
        lookup_failed(lookup);
    } else if (lookup->attempt->ignored++ < DNS_IGNORED_MAX) {
        udp_receive(lookup->attempt);
    } else {
        silent(lookup, "too many datagrams that are not the answer");
    }
}

static void lookup_timeout(struct timer *timer, uint64_t now_ns)
{
    struct dns_lookup *lookup = mx_container_of(timer, struct dns_lookup, timer);
    (void)now_ns;
    count_one(&lookup->dns->stats.timeouts);
    silent(lookup, "the name server did not answer in time");
}

static void lookup_begin(struct dns_lookup *lookup, enum dns_type type)
{
    uint64_t entropy[5];
    fill_entropy(entropy);
    dns_engine_init(&lookup->engine, lookup->dns->conf, &lookup->name, type, lookup->dns->first);
    act(lookup, dns_engine_begin(&lookup->engine, entropy));
}

static struct dns_lookup *find_running(struct dns *dns, const struct dns_name *name,
                                       enum dns_type type, uint64_t hash)
{
    for (struct list_node *node = list_first(&dns->running); node != NULL;
         node = list_next(&dns->running, node)) {
        struct dns_lookup *lookup = mx_container_of(node, struct dns_lookup, running);
        if (lookup->hash == hash && lookup->engine.question.type == type &&
            dns_name_equal(&lookup->name, name)) {
            return lookup;
        }
    }
    return NULL;
}

static void start(struct dns *dns, struct dns_query *query, const struct dns_name *name,
                  enum dns_type type, uint64_t hash)
{
    struct dns_lookup *lookup = pool_acquire_zero(&dns->lookups);
    count_one(&dns->stats.lookups);
    if (lookup == NULL) {
        count_one(&dns->stats.failures);
        query->done(query, MX_ERR_AGAIN, NULL, "too many names are being looked up");
        return;
    }
    lookup->dns = dns;
    lookup->began_ns = dns->shard->now_ns;
    lookup->hash = hash;
    lookup->name = *name;
    lookup->timer.fire = lookup_timeout;
    list_init(&lookup->waiting);
    list_push_back(&lookup->waiting, &query->node);
    list_push_back(&dns->running, &lookup->running);
    lookup_begin(lookup, type);
}

void dns_ask(struct dns *dns, struct dns_query *query, const struct dns_name *name,
             enum dns_type type)
{
    struct dns_name lower = *name;
    dns_name_lower(&lower);
    const struct dns_answer *kept = dns_cache_find(&dns->cache, &lower, type, dns->shard->now_ns);
    query->node = (struct list_node){0};
    if (dns->stopping) {
        query->done(query, MX_ERR_SHUTDOWN, NULL, "shutting down");
        return;
    }
    if (kept != NULL) {
        bool unknown = kept->status == DNS_UNKNOWN;
        query->done(query, unknown ? MX_ERR_DNS_TEMPORARY : MX_OK, unknown ? NULL : kept,
                    unknown ? "no name server could say it a moment ago" : "");
        return;
    }
    uint64_t hash = hash_seeded(slice_of(lower.wire, lower.len), type);
    struct dns_lookup *running = find_running(dns, &lower, type, hash);
    if (running != NULL) {
        list_push_back(&running->waiting, &query->node);
    } else {
        start(dns, query, &lower, type, hash);
    }
}

bool dns_has_room(const struct dns *dns)
{
    return dns->lookups.used < DNS_LOOKUPS_MAX / 4;
}

void dns_cancel(struct dns_query *query)
{
    list_remove(&query->node);
}

/* --- start and end -----------------------------------------------------------------------------
 */

mx_err dns_open(struct dns *dns, struct shard *shard, const struct resolv_conf *conf)
{
    *dns = (struct dns){.shard = shard, .conf = conf};
    list_init(&dns->running);
    mx_err err = dns_cache_init(&dns->cache, DNS_CACHE_BYTES, random_u64());
    if (!err) {
        err = pool_init(&dns->lookups, "dns lookups", sizeof(struct dns_lookup), DNS_LOOKUPS_MAX);
    }
    if (!err) {
        err =
            pool_init(&dns->attempts, "dns attempts", sizeof(struct dns_attempt), DNS_ATTEMPTS_MAX);
    }
    dns->scratch = err ? NULL : malloc(sizeof *dns->scratch + DNS_ANSWER_BYTES);
    if (!err && dns->scratch == NULL) {
        err = MX_ERR_NOMEM;
    }
    if (err) {
        dns_close(dns);
    }
    return err;
}

void dns_configure(struct dns *dns, const struct resolv_conf *conf)
{
    struct list again;
    struct list_node *node;
    list_init(&again);
    list_splice(&again, &dns->running);
    dns->conf = conf;
    dns->first = 0;
    dns_cache_clear(&dns->cache);
    while ((node = list_pop_front(&again)) != NULL) {
        struct dns_lookup *lookup = mx_container_of(node, struct dns_lookup, running);
        list_push_back(&dns->running, node);
        if (lookup->attempt != NULL) {
            attempt_give_up(lookup->attempt);
        }
        lookup_begin(lookup, lookup->engine.question.type);
    }
}

void dns_forget(struct dns *dns)
{
    dns_configure(dns, dns->conf);
}

void dns_forget_absent(struct dns *dns)
{
    dns_cache_clear_absent(&dns->cache);
}

void dns_stop(struct dns *dns)
{
    struct list_node *node;
    dns->stopping = true;
    while ((node = list_first(&dns->running)) != NULL) {
        struct dns_lookup *lookup = mx_container_of(node, struct dns_lookup, running);
        lookup->engine.problem = "shutting down";
        lookup_end(lookup, MX_ERR_SHUTDOWN, NULL);
    }
}

bool dns_quiet(const struct dns *dns)
{
    return list_empty(&dns->running) && dns->attempts.used == 0;
}

void dns_close(struct dns *dns)
{
    MX_ASSERT(dns->attempts.used == 0 && dns->lookups.used == 0);
    dns_cache_fini(&dns->cache);
    pool_fini(&dns->lookups);
    pool_fini(&dns->attempts);
    free(dns->scratch);
    *dns = (struct dns){0};
}
