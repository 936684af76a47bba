/* What the parts of the simulated network share: net.c (connections), ring.c (io/ring.h), kernel.c
 * (operations that complete). */
#pragma once

#include "core/check.h"
#include "tests/sim/net.h"
#include "tests/sim/sim.h"

enum {
    SOCKS_MAX = 2048,
    SOCK_FD_FIRST = 10000,
    QUEUE_MAX = 64,
    LISTENS_MAX = 8,
    OPS_MAX = 4096,
    IOV_MAX_RING = 64,
    CQ_MAX = 4096,
    SQ_MAX = 64,
    DATAGRAM_MAX = 512,
    DATAGRAMS_MAX = 4,
};

enum op_kind { OP_ACCEPT = 1, OP_RECV, OP_SEND, OP_CONNECT, OP_READ, OP_WRITE };

/* A descriptor of the program. What every step looks at stands first. */
struct end {
    bool used;
    bool listening;
    bool udp;          /* connected to `at` */
    struct sock *sock; /* NULL: not connected yet */
    unsigned queued, datagram_count;
    struct netaddr at;             /* listening */
    struct sock *queue[QUEUE_MAX]; /* connections that nobody accepted yet */
    struct {
        size_t len;
        uint8_t bytes[DATAGRAM_MAX];
    } datagrams[DATAGRAMS_MAX]; /* that have come */
};

/* An operation in flight. */
struct flight {
    struct op *op; /* NULL: free */
    struct ring *ring;
    int fd;
    bool submitted, cancel;
    uint64_t ready_ns;
    uint64_t offset;
    void *buf;
    size_t len, done;
    bool dsync;
    unsigned parts;
    struct slice *part; /* IOV_MAX_RING of them: elsewhere, because every step reads all flights */
    struct netaddr to;
    bool stall;
    uint64_t serial;
};

struct done {
    struct op *op;
    struct op_result result;
};

struct ring {
    struct ring *next;
    struct done cq[CQ_MAX];
    unsigned cq_head, cq_count;
    unsigned pending, unsubmitted, sq_size;
    bool woken;
    bool news; /* a completion, or woken */
    unsigned buf_count, buf_bytes, buf_free;
    uint8_t *bufs;
    bool *lent;
};

struct net {
    struct end ends[SOCKS_MAX];
    unsigned ends_top; /* none above it is in use */
    struct flight flights[OPS_MAX];
    unsigned flights_top;
    struct slice parts[OPS_MAX][IOV_MAX_RING]; /* of the flights */
    uint64_t serial;
    struct ring *rings;
    struct {
        struct netaddr at;
        void (*accept)(void *arg, struct sock *sock);
        void *arg;
    } listens[LISTENS_MAX];
    unsigned listen_count;
    uint16_t next_port;
    struct sock_past *pasts[65536];
    unsigned past_count;
};
extern struct net net;

static inline struct end *end_of(int fd)
{
    MX_ASSERT(fd >= SOCK_FD_FIRST && fd < SOCK_FD_FIRST + SOCKS_MAX);
    struct end *end = &net.ends[fd - SOCK_FD_FIRST];
    MX_ASSERT(end->used);
    return end;
}

/* Two connected ends. */
struct sock *pair_new(struct netaddr here, struct netaddr there);
struct netaddr some_address(void); /* of a client: never the same again */
int end_new(struct sock *sock);
void end_close(struct end *end, bool abort);
/* The connection that has waited longest to be accepted, or NULL. */
struct sock *queue_take(struct end *end);
/* A datagram is on its way to an end; dropped when too many are. */
void datagram_add(struct end *end, struct slice bytes);
/* Takes the oldest datagram; its bytes, at most cap, go to out. */
size_t datagram_take(struct end *end, uint8_t *out, size_t cap);
/* A datagram of the program arrives at the name server (dns.c). */
void dns_receive(struct end *end, struct slice query);
/* The operation has its result. */
void complete(struct flight *flight, struct op_result result);
void finish(struct flight *flight, mx_err err, int32_t value);
/* Acts them out, whatever their time. */
void do_read(struct flight *flight);
void do_write(struct flight *flight);
