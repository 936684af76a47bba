/* The DNS client's sockets, with a ring that is in here: every operation ends, every buffer is
 * given back, whatever comes when. */
#include "tests/check.h"

#include "io/dns.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { OPS_MAX = 16, BUF_ID = 5 };

/* Receives and sends that are on their way, oldest first. */
static struct op *receiving[OPS_MAX], *sending[OPS_MAX];
static unsigned receiving_count, sending_count, open_sockets, lent;
static uint8_t datagram[512];

static void begin(struct op **ops, unsigned *count, struct op *op)
{
    CHECK(!op->pending && *count < OPS_MAX);
    op->pending = true;
    ops[(*count)++] = op;
}

#define ring_udp(out_fd, to) ((void)(to), *(out_fd) = 100, open_sockets++, MX_OK)
#define ring_send(ring, op, fd, bytes) \
    ((void)(ring), (void)(bytes), begin(sending, &sending_count, op))
#define ring_recv(ring, op, fd, any) begin(receiving, &receiving_count, op)
#define ring_recv_buf(ring, id) datagram
#define ring_recv_return(ring, id) (CHECK(lent > 0 && (id) == BUF_ID), lent--)
#define ring_cancel(ring, op) ((void)(op))
#define ring_close_fd(fd) (CHECK((fd) == 100 && open_sockets > 0), open_sockets--)
#include "io/dns.c"

static struct shard shard;
static struct dns dns;
static struct resolv_conf conf;
static struct dns_query query;
static struct dns_name name;
static unsigned done;
static mx_err done_err;

static void on_done(struct dns_query *of, mx_err err, const struct dns_answer *answer,
                    const char *problem)
{
    (void)answer;
    (void)problem;
    CHECK(of == &query);
    done++;
    done_err = err;
}

static void setup(void)
{
    struct netaddr servers[2];
    CHECK(netaddr_parse(&servers[0], SLICE_LITERAL("127.0.0.1")) == MX_OK);
    CHECK(netaddr_parse(&servers[1], SLICE_LITERAL("127.0.0.2")) == MX_OK);
    servers[0].port = servers[1].port = 53;
    resolv_custom(&conf, servers, 2);
    conf.timeout_ms = 1000;
    conf.attempts = 1; /* each of them once */
    memset(&shard, 0, sizeof shard);
    shard.now_ns = MX_NS_PER_S;
    wheel_init(&shard.wheel, shard.now_ns);
    receiving_count = sending_count = open_sockets = lent = done = 0;
    CHECK(dns_open(&dns, &shard, &conf) == MX_OK);
    CHECK(dns_name_parse(&name, SLICE_LITERAL("example.org")) == MX_OK);
    query.done = on_done;
    dns_ask(&dns, &query, &name, DNS_A);
    CHECK(receiving_count == 1 && sending_count == 1 && open_sockets == 1);
}

static void op_ends(struct op **ops, unsigned *count, const struct op_result *result)
{
    CHECK(*count > 0);
    struct op *op = ops[0];
    memmove(ops, ops + 1, --*count * sizeof *ops);
    op->pending = false;
    lent += result->has_buf;
    op->done(op, result);
}

static void received(const struct op_result *result)
{
    op_ends(receiving, &receiving_count, result);
}

static void sent(void)
{
    op_ends(sending, &sending_count, &(struct op_result){0});
}

static void time_passes(uint64_t ms)
{
    for (uint64_t i = 0; i < ms; i += WHEEL_TICK_MS) {
        shard.now_ns += WHEEL_TICK_MS * MX_NS_PER_MS;
        (void)wheel_advance(&shard.wheel, shard.now_ns, 1000);
    }
}

/* Ends all operations, as the ring does when they are cancelled. */
static void teardown(void)
{
    dns_stop(&dns);
    while (receiving_count > 0) {
        received(&(struct op_result){.err = MX_ERR_CANCELLED});
    }
    while (sending_count > 0) {
        sent();
    }
    CHECK(dns_quiet(&dns) && open_sockets == 0 && lent == 0 && done == 1);
    time_passes(5000);
    CHECK(receiving_count == 0); /* no timer begins anything */
    dns_close(&dns);
}

/* A receive that had found no buffer was begun again after its query had been given up, and then
 * nobody ended it: the end of the process waited for it for ever. */
static void query_given_up_never_listens_again(void)
{
    setup();
    received(&(struct op_result){.err = MX_ERR_AGAIN}); /* no buffers */
    CHECK(receiving_count == 0);
    dns_stop(&dns); /* before it could listen again */
    CHECK(done == 1 && done_err == MX_ERR_SHUTDOWN);
    time_passes(1000);
    CHECK(receiving_count == 0);
    sent();
    CHECK(open_sockets == 0 && dns_quiet(&dns));
    teardown();
}

static void receive_without_a_buffer_goes_on(void)
{
    setup();
    received(&(struct op_result){.err = MX_ERR_AGAIN});
    time_passes(2 * WHEEL_TICK_MS);
    CHECK(receiving_count == 1 && done == 0);
    teardown();
}

static void every_buffer_is_given_back(void)
{
    static const struct op_result results[] = {
        {.has_buf = true, .buf_id = BUF_ID, .value = 7},            /* no answer at all */
        {.has_buf = true, .buf_id = BUF_ID, .value = 0},            /* empty */
        {.has_buf = true, .buf_id = BUF_ID, .err = MX_ERR_REFUSED}, /* nobody there */
        {.has_buf = true, .buf_id = BUF_ID, .err = MX_ERR_IO},      /* or worse */
        {.has_buf = true, .buf_id = BUF_ID, .err = MX_ERR_AGAIN},   /* and no other buffer */
        {.has_buf = true, .buf_id = BUF_ID, .value = (int)sizeof datagram}, /* much */
    };
    for (size_t i = 0; i < mx_countof(results); i++) {
        setup();
        received(&results[i]);
        CHECK(lent == 0);
        teardown();
        setup();
        dns_stop(&dns); /* given up: it comes too late */
        received(&results[i]);
        CHECK(lent == 0);
        teardown();
    }
}

int main(void)
{
    query_given_up_never_listens_again();
    receive_without_a_buffer_goes_on();
    every_buffer_is_given_back();
    return 0;
}
