/* The kernel's side of the ring: what becomes of operations, one at a time, in the order that the
 * seed decides. */
#include "core/check.h"
#include "tests/sim/disk.h"
#include "tests/sim/net_inside.h"

#include <stdlib.h>

void complete(struct flight *flight, struct op_result result)
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

/* --- completing operations ---------------------------------------------------------------------
 */

void finish(struct flight *flight, mx_err err, int32_t value)
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

/* A receive buffer, lent; -1: there is none. */
static int lend(struct ring *ring)
{
    if (ring->buf_free == 0) {
        return -1;
    }
    int id = 0;
    while (ring->lent[id]) {
        id++;
    }
    ring->lent[id] = true;
    ring->buf_free--;
    return id;
}

static void do_recv_datagram(struct flight *flight)
{
    struct ring *ring = flight->ring;
    struct end *end = end_of(flight->fd);
    int id = flight->cancel ? -1 : lend(ring);
    if (id < 0) {
        finish(flight, flight->cancel ? MX_ERR_CANCELLED : MX_ERR_AGAIN, 0);
        return;
    }
    uint8_t *buf = ring->bufs + (size_t)id * ring->buf_bytes;
    size_t n = datagram_take(end, buf, ring->buf_bytes);
    complete(flight,
             (struct op_result){.value = (int32_t)n, .has_buf = true, .buf_id = (uint16_t)id});
}

static void do_recv(struct flight *flight)
{
    struct ring *ring = flight->ring;
    struct sock *sock = end_of(flight->fd)->sock;
    if (end_of(flight->fd)->udp) {
        do_recv_datagram(flight);
        return;
    }
    if (flight->cancel && (sock->len == 0 || sim_chance(2))) {
        finish(flight, MX_ERR_CANCELLED, 0);
        return;
    }
    if (sock->len == 0) {
        finish(flight, sock->reset ? MX_ERR_RESET : MX_OK, 0);
        return;
    }
    int id = lend(ring);
    if (id < 0) {
        finish(flight, MX_ERR_AGAIN, 0);
        return;
    }
    size_t most = mx_min_size(sock->len, ring->buf_bytes);
    size_t want = sim_chance(4) ? (size_t)sim_scale(1, most) : most;
    size_t n = sock_read(sock, ring->bufs + (size_t)id * ring->buf_bytes, want);
    sock->past->taken += n;
    complete(flight, (struct op_result){.value = (int32_t)n,
                                        .has_buf = true,
                                        .buf_id = (uint16_t)id,
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
    if (end_of(flight->fd)->udp) {
        dns_receive(end_of(flight->fd), flight->part[0]);
        finish(flight, MX_OK, (int32_t)flight->part[0].len);
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
        bool away = sim.now_ns < sim.hops_from_ns && flight->to.bytes[3] != NET_HOP_FINAL;
        if (away || (sim.faults && sim_chance(30))) {
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

void do_read(struct flight *flight)
{
    struct inode *file = disk_file(flight->fd);
    MX_ASSERT(file != NULL);
    if (sim_read_fails(disk_name(file))) {
        bool is_short = sim_chance(3);
        size_t some =
            is_short ? disk_read(file, flight->buf, (size_t)sim_below(flight->len), flight->offset)
                     : 0;
        finish(flight, is_short ? MX_OK : MX_ERR_IO, (int32_t)some);
        return;
    }
    size_t n = disk_read(file, flight->buf, flight->len, flight->offset);
    finish(flight, MX_OK, (int32_t)n);
}

void do_write(struct flight *flight)
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
        if (end->udp) {
            return end->datagram_count > 0;
        }
        return end->sock->len > 0 || end->sock->eof || end->sock->reset;
    case OP_SEND:
        end = end_of(flight->fd);
        return end->udp || end->sock->other == NULL || end->sock->reset ||
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
