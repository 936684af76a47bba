/* io/ring.h: operations begin here; they complete in kernel.c. */
#include "core/check.h"
#include "tests/sim/net_inside.h"

#include <netinet/in.h>
#include <stdlib.h>
#include <sys/uio.h>

/* --- descriptors -------------------------------------------------------------------------------
 */

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

mx_err ring_socket_from(int *out_fd, const struct ring_addr *from)
{
    (void)from; /* the simulated network does not look at it */
    return ring_socket(out_fd, 0);
}

mx_err ring_udp(int *out_fd, const struct ring_addr *to)
{
    if (sim.faults && sim_chance(50)) {
        return MX_ERR_NOFILES;
    }
    *out_fd = end_new(NULL);
    end_of(*out_fd)->udp = true;
    end_of(*out_fd)->at = ring_addr_netaddr(to);
    return MX_OK;
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
    *flight = (struct flight){
        .op = op, .ring = ring, .fd = fd, .part = net.parts[at], .serial = ++net.serial};
    op->pending = true;
    op->kind = (uint8_t)kind;
    op->aux = (uint16_t)at;
    ring->pending++;
    ring->unsubmitted++;
    flight->ready_ns =
        sim.now_ns + sim_scale(0, sim.faults && sim_chance(20) ? 2000000000 : 100000);
    return flight;
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

void ring_accept(struct ring *ring, struct op *op, int fd)
{
    begin(ring, op, OP_ACCEPT, fd);
}

void ring_recv(struct ring *ring, struct op *op, int fd, bool poll_first)
{
    (void)poll_first;
    begin(ring, op, OP_RECV, fd);
}

/* Once: the kernel may end a multishot receive at any time. */
void ring_recv_multishot(struct ring *ring, struct op *op, int fd)
{
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

void ring_stats(const struct ring *ring, struct ring_stats *out_stats)
{
    *out_stats = (struct ring_stats){
        .pending = ring_pending(ring), .recv_free = ring->buf_free, .recv_count = ring->buf_count};
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
