/* For the plain tests of rings and streams: a core without a thread, and the other end of a
 * connection as a blocking-free descriptor that the test reads and writes by hand. */
#pragma once

#include "tests/check.h"

#include "io/listen.h"
#include "io/shard.h"
#include "io/stream.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/* Takes turns until cond holds; a test that waits longer than this has failed. */
enum { TURNS_MAX = 20000, TURN_WAIT_NS = 1000000 };
#define TURN_UNTIL(shard, cond)                                          \
    do {                                                                 \
        for (unsigned turns_ = 0; !(cond); turns_++) {                   \
            if (turns_ == TURNS_MAX) {                                   \
                printf("%s:%d: never: %s\n", __FILE__, __LINE__, #cond); \
                exit(1);                                                 \
            }                                                            \
            shard_turn((shard), TURN_WAIT_NS);                           \
        }                                                                \
    } while (0)

static inline void turn_some(struct shard *shard, unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        shard_turn(shard, TURN_WAIT_NS);
    }
}

static inline void core_open(struct shard *shard, unsigned recv_bufs)
{
    struct shard_conf conf = {.count = 1, .cpu = -1, .blocks_max = 4096};
    conf.ring.recv_bufs = recv_bufs;
    CHECK(shard_init(shard, &conf) == MX_OK);
    CHECK(shard_open(shard) == MX_OK);
}

/* Everything must have been given back. */
static inline void core_close(struct shard *shard)
{
    CHECK(ring_pending(shard->ring) == 0);
    CHECK(shard->blocks.used == 0);
    CHECK(shard->park_blocks.used == 0);
    CHECK(shard->park_small.used == 0);
    CHECK(list_empty(&shard->streams_ready));
    CHECK(list_empty(&shard->streams_dirty));
    CHECK(list_empty(&shard->streams_starved));
    CHECK(shard->wheel.armed == 0);
    CHECK(ring_recv_free(shard->ring) ==
          (shard->conf.ring.recv_bufs ? shard->conf.ring.recv_bufs : 128));
    shard_close(shard);
    shard_fini(shard);
}

static inline void set_nonblock(int fd)
{
    CHECK(fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK) == 0);
}

static inline struct ring_addr loopback(uint16_t port)
{
    struct netaddr addr = {.family = 4, .bytes = {127, 0, 0, 1}, .port = port};
    return ring_addr_of(&addr);
}

/* A listening socket on a free port of the loopback interface. */
static inline int listen_any(struct ring_addr *out_addr)
{
    int fd = -1;
    struct ring_listen_conf conf = {.addr = loopback(0), .backlog = 512, .no_delay = true};
    CHECK(ring_listen(&fd, &conf) == MX_OK);
    CHECK(ring_local(out_addr, fd) == MX_OK);
    return fd;
}

static inline int dial(const struct ring_addr *to)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    CHECK(fd >= 0);
    CHECK(connect(fd, (const void *)to->bytes, to->len) == 0);
    set_nonblock(fd);
    return fd;
}

/* A connected pair over TCP: [0] for a stream, [1] for the test. */
static inline void tcp_pair(int pair[2])
{
    struct ring_addr addr;
    int listener = listen_any(&addr);
    pair[1] = dial(&addr);
    CHECK(ring_accept_now(&pair[0], listener) == MX_OK);
    ring_close_fd(listener);
}

/* Sends all of it, taking turns while the socket is full. */
static inline void say(struct shard *shard, int fd, const void *bytes, size_t len)
{
    size_t done = 0;
    for (unsigned turns = 0; done < len; turns++) {
        ssize_t n = send(fd, (const char *)bytes + done, len - done, MSG_NOSIGNAL);
        CHECK(n > 0 || errno == EAGAIN);
        CHECK(turns < TURNS_MAX);
        done += n > 0 ? (size_t)n : 0;
        if (n <= 0) {
            shard_turn(shard, TURN_WAIT_NS);
        }
    }
}

/* Reads exactly len bytes, taking turns while there is nothing. */
static inline void hear(struct shard *shard, int fd, void *bytes, size_t len)
{
    size_t done = 0;
    for (unsigned turns = 0; done < len; turns++) {
        ssize_t n = recv(fd, (char *)bytes + done, len - done, 0);
        CHECK(n > 0 || (n < 0 && errno == EAGAIN));
        CHECK(turns < TURNS_MAX);
        done += n > 0 ? (size_t)n : 0;
        if (n < 0) {
            shard_turn(shard, TURN_WAIT_NS);
        }
    }
}

static inline void hear_text(struct shard *shard, int fd, const char *expected)
{
    char buf[512];
    size_t len = strlen(expected);
    CHECK(len <= sizeof buf);
    hear(shard, fd, buf, len);
    CHECK(memcmp(buf, expected, len) == 0);
}

/* Reads up to the end; fails on a reset. Returns the number of bytes before it. */
static inline size_t hear_end(struct shard *shard, int fd)
{
    char buf[4096];
    size_t total = 0;
    for (unsigned turns = 0; turns < TURNS_MAX; turns++) {
        ssize_t n = recv(fd, buf, sizeof buf, 0);
        if (n == 0) {
            return total;
        }
        CHECK(n > 0 || errno == EAGAIN);
        total += n > 0 ? (size_t)n : 0;
        if (n < 0) {
            shard_turn(shard, TURN_WAIT_NS);
        }
    }
    CHECK(!"no end of stream");
    return 0;
}

/* Bytes that differ from place to place, so that a lost or doubled one shows. */
static inline void fill_pattern(uint8_t *out, size_t len, uint32_t seed)
{
    uint32_t x = seed * 2654435761u + 1;
    for (size_t i = 0; i < len; i++) {
        x = x * 1664525u + 1013904223u;
        out[i] = (uint8_t)(x >> 24);
    }
}
