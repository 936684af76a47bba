#include "core/check.h"
#include "tests/sim/net_inside.h"
#include "tests/sim/peer.h"

#include <stdlib.h>

struct net net;

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
    sock->buf = sim_realloc(NULL, sock->cap);
    sock->here = here;
    sock->there = there;
    return sock;
}

/* Two connected ends. */
struct sock *pair_new(struct netaddr here, struct netaddr there)
{
    struct sock *a = sock_new(here, there);
    struct sock *b = sock_new(there, here);
    a->other = b;
    b->other = a;
    if (net.past_count == mx_countof(net.pasts)) {
        sim_fail("more than %zu connections", mx_countof(net.pasts));
    }
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

struct netaddr some_address(void)
{
    return (struct netaddr){.family = 4, .bytes = {192, 0, 2, 1}, .port = ++net.next_port};
}

struct sock *net_connect_from(struct peer *peer, const struct netaddr *from,
                              const struct netaddr *to)
{
    struct end *found[SIM_CORES_MAX * 4];
    unsigned count = 0;
    for (unsigned i = 0; i < net.ends_top && count < mx_countof(found); i++) {
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
    struct netaddr here = *from;
    here.port = ++net.next_port;
    struct sock *mine = pair_new(here, *to);
    mine->peer = peer;
    end->queue[end->queued++] = mine->other;
    return mine;
}

struct sock *net_connect(struct peer *peer, const struct netaddr *to)
{
    static const struct netaddr usual = {.family = 4, .bytes = {192, 0, 2, 1}};
    return net_connect_from(peer, &usual, to);
}

/* --- the program's ends
 */

int end_new(struct sock *sock)
{
    for (unsigned i = 0; i < SOCKS_MAX; i++) {
        if (!net.ends[i].used) {
            net.ends[i] = (struct end){.used = true, .sock = sock};
            net.ends_top = i >= net.ends_top ? i + 1 : net.ends_top;
            return SOCK_FD_FIRST + (int)i;
        }
    }
    sim_fail("the program has %d sockets open", SOCKS_MAX);
}

void datagram_add(struct end *end, struct slice bytes)
{
    MX_ASSERT(bytes.len <= DATAGRAM_MAX);
    if (end->datagram_count == DATAGRAMS_MAX) {
        return;
    }
    end->datagrams[end->datagram_count].len = bytes.len;
    memcpy(end->datagrams[end->datagram_count++].bytes, bytes.ptr, bytes.len);
}

size_t datagram_take(struct end *end, uint8_t *out, size_t cap)
{
    size_t len = mx_min_size(end->datagrams[0].len, cap);
    memcpy(out, end->datagrams[0].bytes, len);
    end->datagram_count--;
    memmove(end->datagrams, end->datagrams + 1, end->datagram_count * sizeof end->datagrams[0]);
    return len;
}

unsigned net_open(void)
{
    unsigned count = 0;
    for (unsigned i = 0; i < net.ends_top; i++) {
        count += net.ends[i].used;
    }
    return count;
}

unsigned net_listening(void)
{
    unsigned count = 0;
    for (unsigned i = 0; i < net.ends_top; i++) {
        count += net.ends[i].used && net.ends[i].listening;
    }
    return count;
}

void end_close(struct end *end, bool abort)
{
    for (unsigned i = 0; i < end->queued; i++) {
        sock_close(end->queue[i], true);
    }
    if (end->sock != NULL) {
        sock_close(end->sock, abort);
    }
    *end = (struct end){0};
}

struct sock *queue_take(struct end *end)
{
    if (end->queued == 0) {
        return NULL;
    }
    struct sock *sock = end->queue[0];
    end->queued--;
    memmove(end->queue, end->queue + 1, end->queued * sizeof(struct sock *));
    return sock;
}

void net_after_kill(void)
{
    for (unsigned i = 0; i < net.ends_top; i++) {
        if (net.ends[i].used) {
            end_close(&net.ends[i], sim_chance(2));
        }
    }
    net.ends_top = 0;
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
