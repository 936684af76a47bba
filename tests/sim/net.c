/* The network, and io/ring.h on top of it and of the disk. */
#include "tests/sim/net.h"

#include "core/check.h"
#include "tests/sim/disk.h"
#include "tests/sim/oracle.h"
#include "tests/sim/peer.h"
#include "tests/sim/sim.h"

#include <netinet/in.h>
#include <stdlib.h>
#include <sys/uio.h>

enum {
    SOCKS_MAX = 2048,
    SOCK_FD_FIRST = 10000,
    QUEUE_MAX = 64,
    LISTENS_MAX = 8,
    OPS_MAX = 4096,
    IOV_MAX_RING = 64,
    CQ_MAX = 4096,
    SQ_MAX = 64,
};

enum op_kind { OP_ACCEPT = 1, OP_RECV, OP_SEND, OP_CONNECT, OP_READ, OP_WRITE };

/* A descriptor of the program. */
struct end {
    bool used;
    bool listening;
    struct netaddr at;             /* listening */
    struct sock *queue[QUEUE_MAX]; /* connections that nobody accepted yet */
    unsigned queued;
    struct sock *sock; /* NULL: not connected yet */
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
    struct slice part[IOV_MAX_RING];
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

static struct {
    struct end ends[SOCKS_MAX];
    struct flight flights[OPS_MAX];
    unsigned flights_top;
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
} net;

/* --- sockets -----------------------------------------------------------------------------------
 */

static void poke(struct sock *sock)
{
    if (sock->peer != NULL) {
        peer_poke(sock->peer);
    }
}

static struct sock *sock_new(struct netaddr here, struct netaddr there)
{
    struct sock *sock = sim_alloc(sizeof *sock);
    sock->cap = (size_t)sim_scale(512, SOCK_BYTES_MAX);
    sock->buf = sim_alloc(sock->cap);
    sock->here = here;
    sock->there = there;
    return sock;
}

/* Two connected ends. */
static struct sock *pair_new(struct netaddr here, struct netaddr there)
{
    struct sock *a = sock_new(here, there);
    struct sock *b = sock_new(there, here);
    a->other = b;
    b->other = a;
    MX_ASSERT(net.past_count < mx_countof(net.pasts));
    a->past = b->past = net.pasts[net.past_count++] = sim_alloc(sizeof *a->past);
    return a;
}

size_t sock_read(struct sock *sock, void *buf, size_t len)
{
    size_t n = mx_min_size(len, sock->len);
    memcpy(buf, sock->buf + sock->from, n);
    sock->from += n;
    sock->len -= n;
    if (n > 0 && sock->other != NULL) {
        poke(sock->other); /* it has room again */
    }
    return n;
}

size_t sock_write(struct sock *sock, const void *bytes, size_t len)
{
    struct sock *other = sock->other;
    if (other == NULL || sock->reset || sock->shut) {
        return 0;
    }
    size_t n = mx_min_size(len, other->cap - other->len);
    if (n > 0 && other->from + other->len + n > other->cap) {
        memmove(other->buf, other->buf + other->from, other->len);
        other->from = 0;
    }
    memcpy(other->buf + other->from + other->len, bytes, n);
    other->len += n;
    if (n > 0) {
        poke(other);
    }
    return n;
}

void sock_shut(struct sock *sock)
{
    sock->shut = true;
    if (sock->other != NULL) {
        sock->other->eof = true;
        poke(sock->other);
    }
}

/* With unread input, or on purpose, the other end sees a reset, which may destroy what is on its
 * way to it. */
void sock_close(struct sock *sock, bool abort)
{
    struct sock *other = sock->other;
    if (other != NULL) {
        other->other = NULL;
        other->eof = true;
        if (abort || sock->len > 0) {
            other->reset = true;
            other->len = sim_chance(2) ? 0 : other->len;
        }
        poke(other);
    }
    sim_free(sock->buf);
    sim_free(sock);
}

void net_listen(const struct netaddr *at, void (*accept)(void *arg, struct sock *sock), void *arg)
{
    MX_ASSERT(net.listen_count < LISTENS_MAX);
    net.listens[net.listen_count].at = *at;
    net.listens[net.listen_count].accept = accept;
    net.listens[net.listen_count++].arg = arg;
}

static struct netaddr some_address(void)
{
    return (struct netaddr){.family = 4, .bytes = {192, 0, 2, 1}, .port = ++net.next_port};
}

struct sock *net_connect(struct peer *peer, const struct netaddr *to)
{
    struct end *found[SIM_CORES_MAX * 4];
    unsigned count = 0;
    for (unsigned i = 0; i < SOCKS_MAX && count < mx_countof(found); i++) {
        struct end *end = &net.ends[i];
        if (end->used && end->listening && netaddr_equal(&end->at, to) &&
            end->at.port == to->port && end->queued < QUEUE_MAX) {
            found[count++] = end;
        }
    }
    if (count == 0) {
        return NULL;
    }
    struct end *end = found[sim_below(count)]; /* SO_REUSEPORT */
    struct sock *mine = pair_new(some_address(), *to);
    mine->peer = peer;
    end->queue[end->queued++] = mine->other;
    return mine;
}

/* --- descriptors -------------------------------------------------------------------------------
 */

static int end_new(struct sock *sock)
{
    for (int i = 0; i < SOCKS_MAX; i++) {
        if (!net.ends[i].used) {
            net.ends[i] = (struct end){.used = true, .sock = sock};
            return SOCK_FD_FIRST + i;
        }
    }
    sim_fail("the program has %d sockets open", SOCKS_MAX);
}

static struct end *end_of(int fd)
{
    MX_ASSERT(fd >= SOCK_FD_FIRST && fd < SOCK_FD_FIRST + SOCKS_MAX);
    struct end *end = &net.ends[fd - SOCK_FD_FIRST];
    MX_ASSERT(end->used);
    return end;
}

unsigned net_open(void)
{
    unsigned count = 0;
    for (int i = 0; i < SOCKS_MAX; i++) {
        count += net.ends[i].used;
    }
    return count;
}

static void end_close(struct end *end, bool abort)
{
    for (unsigned i = 0; i < end->queued; i++) {
        sock_close(end->queue[i], true);
    }
    if (end->sock != NULL) {
        sock_close(end->sock, abort);
    }
    *end = (struct end){0};
}

mx_err ring_listen(int *out_fd, const struct ring_listen_conf *conf)
{
    int fd = end_new(NULL);
    end_of(fd)->listening = true;
    end_of(fd)->at = ring_addr_netaddr(&conf->addr);
    *out_fd = fd;
    return MX_OK;
}

mx_err ring_socket(int *out_fd, int family)
{
    (void)family;
    if (sim.faults && sim_chance(50)) {
        return MX_ERR_NOFILES;
    }
    *out_fd = end_new(NULL);
    return MX_OK;
}

static struct sock *queue_take(struct end *end)
{
    if (end->queued == 0) {
        return NULL;
    }
    struct sock *sock = end->queue[0];
    end->queued--;
    memmove(end->queue, end->queue + 1, end->queued * sizeof(struct sock *));
    return sock;
}

mx_err ring_accept_now(int *out_fd, int fd)
{
    struct sock *sock = queue_take(end_of(fd));
    if (sock == NULL) {
        return MX_ERR_AGAIN;
    }
    *out_fd = end_new(sock);
    return MX_OK;
}

mx_err ring_peer(struct ring_addr *out_peer, int fd)
{
    struct end *end = end_of(fd);
    if (end->sock == NULL || end->sock->other == NULL) {
        return MX_ERR_CLOSED; /* as ENOTCONN */
    }
    *out_peer = ring_addr_of(&end->sock->there);
    return MX_OK;
}

mx_err ring_local(struct ring_addr *out_local, int fd)
{
    struct end *end = end_of(fd);
    if (end->sock == NULL) {
        return MX_ERR_CLOSED;
    }
    *out_local = ring_addr_of(&end->sock->here);
    return MX_OK;
}

void ring_shutdown_write(int fd)
{
    struct end *end = end_of(fd);
    if (end->sock != NULL) {
        sock_shut(end->sock);
    }
}

void ring_close_fd(int fd)
{
    end_close(end_of(fd), false);
}

struct ring_addr ring_addr_of(const struct netaddr *addr)
{
    struct ring_addr out = {.len = 0};
    if (addr->family == 4) {
        struct sockaddr_in in = {.sin_family = AF_INET, .sin_port = htons(addr->port)};
        memcpy(&in.sin_addr, addr->bytes, 4);
        memcpy(out.bytes, &in, sizeof in);
        out.len = sizeof in;
    }
    return out;
}

struct netaddr ring_addr_netaddr(const struct ring_addr *addr)
{
    struct netaddr out = {0};
    if (addr->len == sizeof(struct sockaddr_in)) {
        struct sockaddr_in in;
        memcpy(&in, addr->bytes, sizeof in);
        out.family = 4;
        out.port = ntohs(in.sin_port);
        memcpy(out.bytes, &in.sin_addr, 4);
    }
    return out;
}

/* --- the ring ----------------------------------------------------------------------------------
 */

mx_err ring_open(struct ring **out_ring, const struct ring_conf *conf)
{
    struct ring *ring = malloc(sizeof *ring);
    memset(ring, 0, sizeof *ring);
    ring->buf_count = conf->recv_bufs ? conf->recv_bufs : 128;
    ring->buf_bytes = conf->recv_buf_bytes ? conf->recv_buf_bytes : RING_RECV_BYTES;
    ring->sq_size = conf->sq_entries ? conf->sq_entries : SQ_MAX;
    ring->bufs = malloc((size_t)ring->buf_count * ring->buf_bytes);
    ring->lent = calloc(ring->buf_count, sizeof *ring->lent);
    ring->buf_free = ring->buf_count;
    ring->next = net.rings;
    net.rings = ring;
    *out_ring = ring;
    return MX_OK;
}

void ring_probe(struct ring_probe *out_probe)
{
    *out_probe = (struct ring_probe){.advice = ""};
}

static void submit(struct ring *ring)
{
    for (unsigned i = 0; ring->unsubmitted > 0 && i < net.flights_top; i++) {
        struct flight *flight = &net.flights[i];
        if (flight->op != NULL && flight->ring == ring) {
            flight->submitted = true;
        }
    }
    ring->unsubmitted = 0;
}

static struct flight *begin(struct ring *ring, struct op *op, enum op_kind kind, int fd)
{
    unsigned at = 0;
    MX_ASSERT(op->done != NULL && !op->pending);
    if (ring->unsubmitted >= ring->sq_size) {
        submit(ring);
    }
    while (at < OPS_MAX && net.flights[at].op != NULL) {
        at++;
    }
    MX_ASSERT(at < OPS_MAX);
    net.flights_top = at >= net.flights_top ? at + 1 : net.flights_top;
    struct flight *flight = &net.flights[at];
    *flight = (struct flight){.op = op, .ring = ring, .fd = fd, .serial = ++net.serial};
    op->pending = true;
    op->kind = (uint8_t)kind;
    op->aux = (uint16_t)at;
    ring->pending++;
    ring->unsubmitted++;
    flight->ready_ns =
        sim.now_ns + sim_scale(0, sim.faults && sim_chance(20) ? 2000000000 : 100000);
    return flight;
}

static void complete(struct flight *flight, struct op_result result)
{
    struct ring *ring = flight->ring;
    MX_ASSERT(ring->cq_count < CQ_MAX);
    ring->cq[(ring->cq_head + ring->cq_count++) % CQ_MAX] =
        (struct done){.op = flight->op, .result = result};
    if (!result.more) {
        flight->op = NULL;
        ring->pending--;
    }
    ring->news = true;
}

void ring_wait(struct ring *ring, uint64_t timeout_ns)
{
    submit(ring);
    if (ring->cq_count > 0 || ring->woken) {
        ring->woken = false;
        ring->news = ring->cq_count > 0;
        if (sim_chance(2)) {
            fiber_wait(0, NULL);
        }
        return;
    }
    uint64_t until = timeout_ns == UINT64_MAX ? UINT64_MAX : sim.now_ns + timeout_ns;
    ring->news = false;
    fiber_wait(until, &ring->news);
    ring->woken = false;
    ring->news = ring->cq_count > 0;
}

unsigned ring_reap(struct ring *ring, unsigned max)
{
    unsigned count = 0;
    while (count < max && ring->cq_count > 0) {
        struct done done = ring->cq[ring->cq_head];
        ring->cq_head = (ring->cq_head + 1) % CQ_MAX;
        ring->cq_count--;
        count++;
        if (!done.result.more) {
            done.op->pending = false;
        }
        done.op->done(done.op, &done.result);
    }
    ring->news = ring->cq_count > 0;
    return count;
}

void ring_wake(struct ring *ring)
{
    ring->woken = true;
    ring->news = true;
}

unsigned ring_pending(const struct ring *ring)
{
    return ring->pending + ring->cq_count;
}

void ring_stats(const struct ring *ring, struct ring_stats *out_stats)
{
    *out_stats = (struct ring_stats){
        .pending = ring_pending(ring), .recv_free = ring->buf_free, .recv_count = ring->buf_count};
}

void ring_accept(struct ring *ring, struct op *op, int fd)
{
    begin(ring, op, OP_ACCEPT, fd);
}

void ring_recv(struct ring *ring, struct op *op, int fd, bool poll_first)
{
    (void)poll_first;
    begin(ring, op, OP_RECV, fd);
}

const uint8_t *ring_recv_buf(const struct ring *ring, uint16_t buf_id)
{
    MX_ASSERT(buf_id < ring->buf_count && ring->lent[buf_id]);
    return ring->bufs + (size_t)buf_id * ring->buf_bytes;
}

void ring_recv_return(struct ring *ring, uint16_t buf_id)
{
    MX_ASSERT(ring->lent[buf_id]);
    ring->lent[buf_id] = false;
    ring->buf_free++;
    memset(ring->bufs + (size_t)buf_id * ring->buf_bytes, 0xdb, mx_min_size(ring->buf_bytes, 256));
}

/* A core of the simulation keeps its buffers. */
void ring_recv_resize(struct ring *ring, unsigned count)
{
    (void)ring;
    (void)count;
}

unsigned ring_recv_free(const struct ring *ring)
{
    return ring->buf_free;
}

void ring_send(struct ring *ring, struct op *op, int fd, struct slice bytes)
{
    struct flight *flight = begin(ring, op, OP_SEND, fd);
    flight->part[0] = bytes;
    flight->parts = 1;
}

void ring_sendv(struct ring *ring, struct op *op, int fd, const struct iovec *iov, unsigned count)
{
    MX_ASSERT(count > 0 && count <= IOV_MAX_RING);
    struct flight *flight = begin(ring, op, OP_SEND, fd);
    for (unsigned i = 0; i < count; i++) {
        flight->part[i] = slice_of(iov[i].iov_base, iov[i].iov_len);
    }
    flight->parts = count;
}

void ring_connect(struct ring *ring, struct op *op, int fd, const struct sockaddr *addr,
                  unsigned addr_len)
{
    struct ring_addr to = {.len = (uint8_t)addr_len};
    memcpy(to.bytes, addr, addr_len);
    struct flight *flight = begin(ring, op, OP_CONNECT, fd);
    flight->to = ring_addr_netaddr(&to);
    flight->stall = sim.faults && sim_chance(100);
}

void ring_read(struct ring *ring, struct op *op, int fd, void *buf, uint32_t len, uint64_t offset)
{
    struct flight *flight = begin(ring, op, OP_READ, fd);
    flight->buf = buf;
    flight->len = len;
    flight->offset = offset;
}

void ring_write(struct ring *ring, struct op *op, int fd, const void *buf, uint32_t len,
                uint64_t offset, bool dsync)
{
    struct flight *flight = begin(ring, op, OP_WRITE, fd);
    flight->buf = (void *)(uintptr_t)buf;
    flight->len = len;
    flight->offset = offset;
    flight->dsync = dsync;
    flight->ready_ns = sim.now_ns + sim_scale(20000, 20000000);
}

void ring_cancel(struct ring *ring, struct op *op)
{
    (void)ring;
    struct flight *flight = &net.flights[op->aux];
    if (op->pending && flight->op == op) {
        flight->cancel = true;
        flight->ready_ns = sim.now_ns + sim_scale(0, 100000);
    }
}

/* --- completing operations ---------------------------------------------------------------------
 */

static void finish(struct flight *flight, mx_err err, int32_t value)
{
    complete(flight, (struct op_result){.err = err, .value = value});
}

static void do_accept(struct flight *flight)
{
    if (flight->cancel) {
        finish(flight, MX_ERR_CANCELLED, 0);
    } else if (sim.faults && sim_chance(40)) {
        finish(flight, sim_chance(2) ? MX_ERR_NOFILES : MX_ERR_RESET, 0);
    } else {
        int fd = end_new(queue_take(end_of(flight->fd)));
        bool more = !sim_chance(10);
        complete(flight, (struct op_result){.value = fd, .more = more});
    }
}

static void do_recv(struct flight *flight)
{
    struct ring *ring = flight->ring;
    struct sock *sock = end_of(flight->fd)->sock;
    if (flight->cancel && (sock->len == 0 || sim_chance(2))) {
        finish(flight, MX_ERR_CANCELLED, 0);
        return;
    }
    if (sock->len == 0) {
        finish(flight, sock->reset ? MX_ERR_RESET : MX_OK, 0);
        return;
    }
    if (ring->buf_free == 0) {
        finish(flight, MX_ERR_AGAIN, 0);
        return;
    }
    uint16_t id = 0;
    while (ring->lent[id]) {
        id++;
    }
    size_t most = mx_min_size(sock->len, ring->buf_bytes);
    size_t want = sim_chance(4) ? (size_t)sim_scale(1, most) : most;
    size_t n = sock_read(sock, ring->bufs + (size_t)id * ring->buf_bytes, want);
    sock->past->taken += n;
    ring->lent[id] = true;
    ring->buf_free--;
    complete(flight, (struct op_result){.value = (int32_t)n,
                                        .has_buf = true,
                                        .buf_id = id,
                                        .sock_more = sock->len > 0 && !sim_chance(4)});
}

/* Moves what there is room for; completes when all is out or nothing more can be. */
static void do_send(struct flight *flight)
{
    struct sock *sock = end_of(flight->fd)->sock;
    size_t skip = flight->done;
    bool all = true;
    enum sim_fault fault = skip == 0 ? sim_op("send", NULL) : FAULT_NONE;
    if (fault == FAULT_KILL || fault == FAULT_POWER) {
        return;
    }
    if (fault == FAULT_IO) {
        finish(flight, MX_ERR_RESET, 0);
        return;
    }
    for (unsigned i = 0; i < flight->parts; i++) {
        struct slice part = flight->part[i];
        if (skip >= part.len) {
            skip -= part.len;
            continue;
        }
        part = slice_from(part, skip);
        skip = 0;
        size_t n = sock_write(sock, part.ptr, part.len);
        flight->done += n;
        if (n < part.len) {
            all = false;
            break;
        }
    }
    if (all) {
        finish(flight, MX_OK, (int32_t)flight->done);
    } else if (sock->other == NULL || sock->reset) {
        finish(flight, flight->done > 0 ? MX_OK : MX_ERR_RESET, (int32_t)flight->done);
    } else if (flight->cancel) {
        finish(flight, flight->done > 0 ? MX_OK : MX_ERR_CANCELLED, (int32_t)flight->done);
    } else if (flight->done > 0 && sim_chance(8)) {
        finish(flight, MX_OK, (int32_t)flight->done); /* short */
    }
}

static void do_connect(struct flight *flight)
{
    if (flight->cancel) {
        finish(flight, MX_ERR_CANCELLED, 0);
        return;
    }
    for (unsigned i = 0; i < net.listen_count; i++) {
        if (!netaddr_equal(&net.listens[i].at, &flight->to) ||
            net.listens[i].at.port != flight->to.port) {
            continue;
        }
        if (sim.faults && sim_chance(30)) {
            break;
        }
        struct sock *mine = pair_new(some_address(), flight->to);
        end_of(flight->fd)->sock = mine;
        net.listens[i].accept(net.listens[i].arg, mine->other);
        finish(flight, MX_OK, 0);
        return;
    }
    finish(flight, sim_chance(2) ? MX_ERR_REFUSED : MX_ERR_UNREACHABLE, 0);
}

static void do_read(struct flight *flight)
{
    struct inode *file = disk_file(flight->fd);
    MX_ASSERT(file != NULL);
    size_t n = disk_read(file, flight->buf, flight->len, flight->offset);
    finish(flight, MX_OK, (int32_t)n);
}

static void do_write(struct flight *flight)
{
    struct inode *file = disk_file(flight->fd);
    MX_ASSERT(file != NULL);
    enum sim_fault fault = sim_op("write", disk_name(file));
    if (fault == FAULT_KILL || fault == FAULT_POWER) {
        return; /* it stays in flight: see kernel_kill */
    }
    if (fault == FAULT_IO) {
        disk_write_torn(file, flight->buf, flight->len, flight->offset);
        bool is_short = sim_chance(3);
        finish(flight, is_short ? MX_OK : MX_ERR_IO,
               is_short ? (int32_t)sim_below(flight->len) : 0);
        return;
    }
    mx_err err = disk_write(file, flight->buf, flight->len, flight->offset, flight->dsync);
    finish(flight, err, err ? 0 : (int32_t)flight->len);
}

/* What a connection may do next: is there anything? */
static bool can_go(const struct flight *flight)
{
    const struct end *end;
    if (flight->cancel) {
        return true;
    }
    switch (flight->op->kind) {
    case OP_ACCEPT:
        return end_of(flight->fd)->queued > 0;
    case OP_RECV:
        end = end_of(flight->fd);
        return end->sock->len > 0 || end->sock->eof || end->sock->reset;
    case OP_SEND:
        end = end_of(flight->fd);
        return end->sock->other == NULL || end->sock->reset ||
               end->sock->other->len < end->sock->other->cap;
    case OP_CONNECT:
        return !flight->stall;
    default:
        return true;
    }
}

unsigned kernel_ready(uint64_t *next_ns)
{
    unsigned count = 0;
    for (unsigned i = 0; i < net.flights_top; i++) {
        const struct flight *flight = &net.flights[i];
        if (flight->op == NULL || !flight->submitted || !can_go(flight)) {
            continue;
        }
        if (flight->ready_ns <= sim.now_ns) {
            count++;
        } else {
            *next_ns = flight->ready_ns < *next_ns ? flight->ready_ns : *next_ns;
        }
    }
    return count;
}

void kernel_step(unsigned n)
{
    static void (*const acts[])(struct flight * flight) = {
        [OP_ACCEPT] = do_accept,   [OP_RECV] = do_recv, [OP_SEND] = do_send,
        [OP_CONNECT] = do_connect, [OP_READ] = do_read, [OP_WRITE] = do_write};
    for (unsigned i = 0; i < net.flights_top; i++) {
        struct flight *flight = &net.flights[i];
        if (flight->op != NULL && flight->submitted && can_go(flight) &&
            flight->ready_ns <= sim.now_ns && n-- == 0) {
            sim_note("op", flight->op->kind, flight->serial);
            acts[flight->op->kind](flight);
            return;
        }
    }
}

/* --- the end of a ring -------------------------------------------------------------------------
 */

void ring_close(struct ring *ring)
{
    if (ring == NULL) {
        return;
    }
    for (unsigned i = 0; i < net.flights_top; i++) {
        struct flight *flight = &net.flights[i];
        if (flight->op != NULL && flight->ring == ring) {
            if (flight->op->kind == OP_WRITE) {
                do_write(flight);
            } else if (flight->op->kind == OP_READ) {
                do_read(flight);
            } else {
                finish(flight, MX_ERR_CANCELLED, 0);
            }
        }
    }
    while (ring_reap(ring, UINT32_MAX) > 0) {
    }
    struct ring **at = &net.rings;
    while (*at != ring) {
        at = &(*at)->next;
    }
    *at = ring->next;
    free(ring->bufs);
    free(ring->lent);
    free(ring);
}

void kernel_kill(bool power)
{
    (void)power;
    for (unsigned i = 0; i < net.flights_top; i++) {
        struct flight *flight = &net.flights[i];
        struct inode *file = flight->op == NULL ? NULL : disk_file(flight->fd);
        if (file != NULL && flight->op->kind == OP_WRITE && flight->submitted) {
            disk_write_torn(file, flight->buf, flight->len, flight->offset);
        }
        flight->op = NULL;
    }
    net.flights_top = 0;
    net.rings = NULL;
}

void net_after_kill(void)
{
    for (unsigned i = 0; i < SOCKS_MAX; i++) {
        if (net.ends[i].used) {
            end_close(&net.ends[i], sim_chance(2));
        }
    }
}

void net_reset(void)
{
    net_after_kill();
    net.listen_count = 0;
    net.next_port = 20000;
    net.serial = 0;
    for (unsigned i = 0; i < net.past_count; i++) {
        sim_free(net.pasts[i]);
    }
    net.past_count = 0;
}
