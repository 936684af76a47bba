#include "tests/sim/peer.h"

#include "core/check.h"
#include "tests/sim/sim.h"

#include <stdarg.h>
#include <stdio.h>

static struct peer *all;

void bytes_add(struct bytes *bytes, struct slice more)
{
    if ((size_t)(bytes->at - bytes->base) + bytes->len + more.len > bytes->cap) {
        uint8_t *old = bytes->base;
        bytes->cap =
            bytes->len + more.len > bytes->cap / 2 ? (bytes->len + more.len) * 2 : bytes->cap;
        bytes->base = sim_realloc(NULL, bytes->cap);
        if (bytes->len > 0) {
            memcpy(bytes->base, bytes->at, bytes->len);
        }
        bytes->at = bytes->base;
        sim_free(old);
    }
    if (more.len > 0) {
        memcpy(bytes->at + bytes->len, more.ptr, more.len);
    }
    bytes->len += more.len;
}

void bytes_drop(struct bytes *bytes, size_t len)
{
    bytes->at += len;
    bytes->len -= len;
}

void bytes_clear(struct bytes *bytes)
{
    sim_free(bytes->base);
    *bytes = (struct bytes){0};
}

void peer_init(struct peer *peer, void (*step)(struct peer *peer))
{
    struct peer **end = &all;
    while (*end != NULL) {
        end = &(*end)->next;
    }
    *end = peer;
    peer->step = step;
    peer->wake_ns = UINT64_MAX;
    peer->poked = true;
    peer->chunk = (unsigned)(sim_chance(3) ? sim_scale(1, 4096) : 65536);
}

void peer_poke(struct peer *peer)
{
    peer->poked = true;
}

void peer_close(struct peer *peer, bool abort)
{
    if (peer->sock != NULL) {
        sock_close(peer->sock, abort);
        peer->sock = NULL;
    }
    peer->gone = true;
}

static void write_some(struct peer *peer)
{
    size_t n = mx_min_size(peer->out.len, peer->chunk);
    if (peer->cut_at > 0 && peer->sent + n > peer->cut_at) {
        n = (size_t)(peer->cut_at - peer->sent);
    }
    n = sock_write(peer->sock, peer->out.at, n);
    peer->sent += n;
    bytes_drop(&peer->out, n);
    if (peer->out.len > 0 && n > 0) {
        peer->poked = true;
    }
    if (peer->cut_at > 0 && peer->sent >= peer->cut_at) {
        peer_close(peer, sim_chance(2));
    }
}

bool peer_pump(struct peer *peer)
{
    if (peer->sock == NULL) {
        return false;
    }
    uint8_t buf[16384];
    size_t most = mx_min_size(sizeof buf, peer->chunk);
    size_t n = sock_read(peer->sock, buf, most);
    bytes_add(&peer->in, slice_of(buf, n));
    peer->poked = peer->poked || peer->sock->len > 0;
    if (peer->sock->len == 0 && (peer->sock->eof || peer->sock->reset) && n == 0) {
        peer_close(peer, false);
        return false;
    }
    if (n > 0 && peer->sock->eof) {
        peer->poked = true;
    }
    if (peer->out.len > 0) {
        write_some(peer);
    }
    if (peer->sock != NULL && peer->closing && peer->out.len == 0) {
        peer_close(peer, false);
    }
    return peer->sock != NULL;
}

void peer_say(struct peer *peer, const char *format, ...)
{
    char text[1024];
    va_list args;
    va_start(args, format);
    int len = vsnprintf(text, sizeof text, format, args);
    va_end(args);
    MX_ASSERT(len >= 0 && (size_t)len < sizeof text);
    bytes_add(&peer->out, slice_of(text, (size_t)len));
    peer->poked = true;
}

bool peer_line(struct peer *peer, struct slice *out_line, size_t *out_bytes)
{
    struct slice in = slice_of(peer->in.at, peer->in.len);
    size_t at = slice_find(in, '\n');
    if (at == in.len) {
        return false;
    }
    *out_bytes = at + 1;
    *out_line = slice_first(in, at > 0 && in.ptr[at - 1] == '\r' ? at - 1 : at);
    return true;
}

static void peer_free(struct peer *peer)
{
    if (peer->end != NULL) {
        peer->end(peer);
    }
    bytes_clear(&peer->in);
    bytes_clear(&peer->out);
    sim_free(peer);
}

void peers_reset(void)
{
    while (all != NULL) {
        struct peer *next = all->next;
        peer_close(all, true);
        peer_free(all);
        all = next;
    }
}

static bool is_ready(const struct peer *peer)
{
    return !peer->finished && (peer->poked || peer->wake_ns <= sim.now_ns);
}

unsigned peers_ready(uint64_t *next_ns)
{
    unsigned count = 0;
    struct peer **at = &all;
    while (*at != NULL) {
        struct peer *peer = *at;
        if (peer->finished) {
            *at = peer->next;
            peer_free(peer);
            continue;
        }
        if (is_ready(peer)) {
            count++;
        } else if (peer->wake_ns < *next_ns) {
            *next_ns = peer->wake_ns;
        }
        at = &peer->next;
    }
    return count;
}

void peers_step(unsigned n)
{
    for (struct peer *peer = all; peer != NULL; peer = peer->next) {
        if (is_ready(peer) && n-- == 0) {
            peer->poked = false;
            if (peer->wake_ns <= sim.now_ns) {
                peer->wake_ns = UINT64_MAX;
            }
            peer->step(peer);
            return;
        }
    }
}
