/* Streams on real loopback sockets: an echo server on one shard, blocking clients in the same
 * thread. */
#include "tests/check.h"

#include "io/listen.h"
#include "io/shard.h"
#include "io/stream.h"

#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { CONNS_MAX = 400 };

/* How the server treats its input. */
enum mode {
    ECHO,     /* gives back everything */
    LINES,    /* gives back whole lines only: the rest stays parked */
    PAUSING,  /* takes one byte, pauses, is resumed by a timer */
    SAY_BYE,  /* answers the first input with a text and closes, unread input or not */
    ABORT_IT, /* aborts within the callback */
};

struct conn {
    struct stream stream;
    struct timer timer;
    bool open;
    mx_err why;
    unsigned drained;
    size_t pending; /* echo that did not fit */
};

static struct shard shard;
static struct listener listener;
static struct conn conns[CONNS_MAX];
static unsigned accepted, closed;
static enum mode mode;

static void resume_fire(struct timer *timer, uint64_t now_ns)
{
    (void)now_ns;
    stream_resume(&mx_container_of(timer, struct conn, timer)->stream);
}

static size_t echo(struct conn *conn, struct slice in)
{
    size_t room = stream_room(&conn->stream);
    size_t n = in.len < room ? in.len : room;
    if (n > 0) {
        CHECK(stream_write(&conn->stream, slice_first(in, n)) == MX_OK);
    }
    if (n < in.len) {
        conn->stream.want_drained = true;
        stream_pause(&conn->stream);
    }
    return n;
}

static size_t on_input(struct stream *stream, struct slice in)
{
    struct conn *conn = mx_container_of(stream, struct conn, stream);
    CHECK(in.len > 0 && conn->open);
    switch (mode) {
    case ECHO:
        return echo(conn, in);
    case LINES: {
        size_t end = in.len;
        while (end > 0 && in.ptr[end - 1] != '\n') {
            end--;
        }
        return end > 0 ? echo(conn, slice_first(in, end)) : 0;
    }
    case PAUSING:
        CHECK(stream_write(stream, slice_first(in, 1)) == MX_OK);
        stream_pause(stream);
        conn->timer.fire = resume_fire;
        shard_after(&shard, &conn->timer, 1);
        return 1;
    case SAY_BYE:
        CHECK(stream_write(stream, SLICE_LITERAL("bye\n")) == MX_OK);
        stream_close(stream);
        stream_close(stream); /* harmless */
        CHECK(stream_write(stream, SLICE_LITERAL("late")) == MX_ERR_CLOSED);
        return in.len;
    default:
        stream_abort(stream, MX_ERR_LIMIT);
        return in.len;
    }
}

static void on_drained(struct stream *stream)
{
    struct conn *conn = mx_container_of(stream, struct conn, stream);
    conn->drained++;
    stream_resume(stream);
}

static void on_closed(struct stream *stream, mx_err why)
{
    struct conn *conn = mx_container_of(stream, struct conn, stream);
    CHECK(conn->open);
    conn->open = false;
    conn->why = why;
    wheel_cancel(&shard.wheel, &conn->timer);
    closed++;
}

static const struct stream_ops ops = {
    .input = on_input, .drained = on_drained, .closed = on_closed};

static void on_accepted(struct listener *l, int fd)
{
    (void)l;
    CHECK(accepted < CONNS_MAX);
    struct conn *conn = &conns[accepted++];
    memset(conn, 0, sizeof *conn);
    conn->open = true;
    stream_open(&conn->stream, &shard, &ops, fd);
}

static void turns(unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        shard_turn(&shard, MX_NS_PER_MS);
    }
}

static void until_closed(unsigned wanted)
{
    for (unsigned i = 0; closed < wanted; i++) {
        CHECK(i < 20000);
        shard_turn(&shard, MX_NS_PER_MS);
    }
}

static struct sockaddr_in server_addr;

static int client(void)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    CHECK(fd >= 0 && connect(fd, (struct sockaddr *)&server_addr, sizeof server_addr) == 0);
    return fd;
}

/* Reads exactly len bytes while the server runs. */
static void expect(int fd, const void *bytes, size_t len)
{
    size_t have = 0;
    for (unsigned i = 0; have < len; i++) {
        char buf[65536];
        CHECK(i < 100000);
        shard_turn(&shard, MX_NS_PER_MS);
        ssize_t got =
            recv(fd, buf, sizeof buf < len - have ? sizeof buf : len - have, MSG_DONTWAIT);
        CHECK(got != 0);
        if (got > 0) {
            CHECK(memcmp(buf, (const char *)bytes + have, (size_t)got) == 0);
            have += (size_t)got;
        }
    }
}

static void expect_eof(int fd)
{
    char byte;
    for (unsigned i = 0;; i++) {
        CHECK(i < 10000);
        shard_turn(&shard, MX_NS_PER_MS);
        ssize_t got = recv(fd, &byte, 1, MSG_DONTWAIT);
        if (got == 0) {
            return;
        }
        CHECK(got < 0);
    }
}

static void begin(enum mode next)
{
    CHECK(closed == accepted);
    mode = next;
    accepted = closed = 0;
}

static void pools_empty(void)
{
    CHECK(shard.blocks.used == 0 && shard.park_blocks.used == 0);
}

static void test_echo_and_eof(void)
{
    begin(ECHO);
    int fd = client();
    CHECK(send(fd, "hello\n", 6, 0) == 6);
    expect(fd, "hello\n", 6);
    turns(3);
    pools_empty(); /* an idle stream holds nothing */
    /* The last words of a client that half-closes are still answered. */
    CHECK(send(fd, "last\n", 5, 0) == 5 && shutdown(fd, SHUT_WR) == 0);
    expect(fd, "last\n", 5);
    expect_eof(fd);
    close(fd);
    until_closed(1);
    CHECK(conns[0].why == MX_OK);
    pools_empty();
}

static void test_lines_in_single_bytes(void)
{
    begin(LINES);
    int fd = client();
    const char text[] = "one line that comes byte by byte\n";
    for (size_t i = 0; i < sizeof text - 1; i++) {
        CHECK(send(fd, text + i, 1, 0) == 1);
        turns(2);
    }
    expect(fd, text, sizeof text - 1);
    close(fd);
    until_closed(1);
    pools_empty();
}

static void test_pause_and_resume(void)
{
    begin(PAUSING);
    int fd = client();
    CHECK(send(fd, "pause", 5, 0) == 5);
    expect(fd, "pause", 5);
    close(fd);
    until_closed(1);
    pools_empty();
}

/* More than fits into the output: back-pressure both ways, and nothing is lost. */
static void test_backpressure(void)
{
    enum { TOTAL = 48 * 1024 * 1024 }; /* more than the kernel buffers */
    begin(ECHO);
    int fd = client();
    char *out = malloc(TOTAL), *in = malloc(TOTAL);
    size_t sent = 0, got = 0;
    CHECK(out != NULL && in != NULL);
    for (size_t i = 0; i < TOTAL; i++) {
        out[i] = (char)(i * 13 + i / 251);
    }
    /* First only send, until nothing moves any more. */
    for (unsigned stuck = 0; stuck < 50 && sent < TOTAL;) {
        ssize_t n = send(fd, out + sent, TOTAL - sent, MSG_DONTWAIT);
        stuck = n > 0 ? 0 : stuck + 1;
        sent += n > 0 ? (size_t)n : 0;
        shard_turn(&shard, 0);
        CHECK(conns[0].stream.out.bytes <= STREAM_OUT_MAX);
    }
    while (got < TOTAL) {
        if (sent < TOTAL) {
            ssize_t n = send(fd, out + sent, TOTAL - sent, MSG_DONTWAIT);
            sent += n > 0 ? (size_t)n : 0;
        }
        shard_turn(&shard, 0);
        ssize_t n = recv(fd, in + got, TOTAL - got, MSG_DONTWAIT);
        got += n > 0 ? (size_t)n : 0;
    }
    CHECK(memcmp(out, in, TOTAL) == 0);
    CHECK(conns[0].drained > 0);
    close(fd);
    until_closed(1);
    pools_empty();
    free(out);
    free(in);
}

/* The peer goes on sending; the last words must reach it all the same. */
static void test_last_words_survive_unread_input(void)
{
    begin(SAY_BYE);
    int fd = client();
    static char flood[200000];
    CHECK(send(fd, flood, sizeof flood, MSG_DONTWAIT) > 0);
    turns(5);
    CHECK(send(fd, flood, 1000, MSG_DONTWAIT | MSG_NOSIGNAL) > 0);
    expect(fd, "bye\n", 4);
    expect_eof(fd);
    close(fd);
    until_closed(1);
    CHECK(conns[0].why == MX_OK);
    pools_empty();
}

static void test_abort_in_callback(void)
{
    begin(ABORT_IT);
    int fd = client();
    CHECK(send(fd, "x", 1, 0) == 1);
    until_closed(1);
    CHECK(conns[0].why == MX_ERR_LIMIT);
    close(fd);
    pools_empty();
}

static void test_reset_by_peer(void)
{
    begin(PAUSING);
    int fd = client();
    struct linger now = {.l_onoff = 1, .l_linger = 0};
    CHECK(send(fd, "abc", 3, 0) == 3);
    turns(2);
    CHECK(setsockopt(fd, SOL_SOCKET, SO_LINGER, &now, sizeof now) == 0);
    close(fd);
    until_closed(1);
    CHECK(conns[0].why != MX_OK);
    pools_empty();
}

/* Many streams, four receive buffers: all are served. */
static void test_few_buffers(void)
{
    enum { COUNT = 300 };
    int fds[COUNT];
    begin(ECHO);
    for (unsigned i = 0; i < COUNT; i++) {
        fds[i] = client();
        turns(1);
    }
    for (unsigned round = 0; round < 5; round++) {
        for (unsigned i = 0; i < COUNT; i++) {
            char text[32];
            int len = snprintf(text, sizeof text, "stream %u round %u\n", i, round);
            CHECK(send(fds[i], text, (size_t)len, 0) == len);
        }
        for (unsigned i = 0; i < COUNT; i++) {
            char text[32];
            int len = snprintf(text, sizeof text, "stream %u round %u\n", i, round);
            expect(fds[i], text, (size_t)len);
        }
    }
    for (unsigned i = 0; i < COUNT; i++) {
        close(fds[i]);
    }
    until_closed(COUNT);
    CHECK(list_empty(&shard.streams_starved));
    pools_empty();
}

/* --- outgoing ----------------------------------------------------------------------------------
 */

static bool out_ready;

static void on_ready(struct stream *stream)
{
    out_ready = true;
    CHECK(stream_write(stream, SLICE_LITERAL("hi\n")) == MX_OK);
}

static size_t out_input(struct stream *stream, struct slice in)
{
    CHECK(slice_equal(in, SLICE_LITERAL("hi\n")));
    stream_close(stream);
    return in.len;
}

static const struct stream_ops out_ops = {
    .input = out_input, .ready = on_ready, .closed = on_closed};

static void test_connect(void)
{
    begin(ECHO);
    static struct conn out;
    struct ring_addr to = {.len = sizeof server_addr};
    memcpy(to.bytes, &server_addr, sizeof server_addr);
    memset(&out, 0, sizeof out);
    out.open = true;
    stream_connect(&out.stream, &shard, &out_ops, &to);
    until_closed(2); /* both ends */
    CHECK(out_ready && out.why == MX_OK);
    pools_empty();
    accepted = closed;

    /* Nobody listens there. */
    struct sockaddr_in nobody = server_addr;
    begin(ECHO);
    nobody.sin_port = htons(1);
    memcpy(to.bytes, &nobody, sizeof nobody);
    out.open = true;
    stream_connect(&out.stream, &shard, &out_ops, &to);
    CHECK(out.open); /* never from within the call */
    until_closed(1);
    CHECK(out.why == MX_ERR_REFUSED);
    pools_empty();
    accepted = closed;
}

int main(void)
{
    struct shard_conf conf = {.count = 1,
                              .cpu = -1,
                              .blocks_max = 4096,
                              .log_level = LOG_WARN,
                              .ring = {.recv_bufs = 4, .sq_entries = 32}};
    struct netaddr any = {.family = 4, .bytes = {127, 0, 0, 1}};
    struct ring_listen_conf listen_conf = {
        .addr = ring_addr_of(&any), .backlog = 512, .no_delay = true};
    struct ring_addr bound;
    int fd;
    CHECK(shard_init(&shard, &conf) == MX_OK && shard_open(&shard) == MX_OK);
    CHECK(ring_listen(&fd, &listen_conf) == MX_OK && ring_local(&bound, fd) == MX_OK);
    memcpy(&server_addr, bound.bytes, sizeof server_addr);
    listener_open(&listener, &shard, fd, on_accepted);
    test_echo_and_eof();
    test_lines_in_single_bytes();
    test_pause_and_resume();
    test_backpressure();
    test_last_words_survive_unread_input();
    test_abort_in_callback();
    test_reset_by_peer();
    test_few_buffers();
    test_connect();
    listener_close(&listener);
    turns(5);
    CHECK(listener.fd == -1 && ring_pending(shard.ring) == 0);
    shard_close(&shard);
    shard_fini(&shard);
    return 0;
}
