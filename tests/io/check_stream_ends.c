/* Streams over real loopback sockets. How a stream ends: at the end of input, lingering, by time,
 * by a reset. */
#include "tests/io/stream_peer.h"

static void check_eof(void)
{
    int fd;
    struct peer *peer = peer_open(GREEDY, &fd);
    peer->keep_on_eof = true;
    say(&shard, fd, "abc", 3);
    CHECK(shutdown(fd, SHUT_WR) == 0);
    TURN_UNTIL(&shard, peer->eofs == 1);
    CHECK(peer->seen == 3 && peer->closes == 0);
    stream_pause(&peer->stream);
    stream_resume(&peer->stream);
    turn_some(&shard, 5);
    CHECK(peer->eofs == 1); /* told once */
    CHECK(stream_write(&peer->stream, SLICE_LITERAL("still here\n")) == MX_OK);
    stream_close(&peer->stream);
    hear_text(&shard, fd, "still here\n");
    CHECK(hear_end(&shard, fd) == 0);
    peer_end(peer, fd, MX_OK);
}

/* The peer sends everything and shuts down while the owner waits for something else. */
static void check_eof_while_paused(void)
{
    int fd;
    struct peer *peer = peer_open(LINES, &fd);
    turn_some(&shard, 2); /* a receive is armed */
    stream_pause(&peer->stream);
    say(&shard, fd, "one\ntwo\n", 8);
    turn_some(&shard, 3);
    CHECK(shutdown(fd, SHUT_WR) == 0);
    turn_some(&shard, 5);
    CHECK(peer->lines == 0 && peer->eofs == 0 && peer->closes == 0);
    CHECK(stream_write(&peer->stream, SLICE_LITERAL("zero\n")) == MX_OK);
    stream_resume(&peer->stream);
    hear_text(&shard, fd, "zero\none\ntwo\n");
    CHECK(hear_end(&shard, fd) == 0);
    CHECK(peer->eofs == 1);
    peer_end(peer, fd, MX_OK);
}

/* Only the end arrives while paused. */
static void check_bare_eof_while_paused(void)
{
    int fd;
    struct peer *peer = peer_open(LINES, &fd);
    turn_some(&shard, 2);
    stream_pause(&peer->stream);
    CHECK(shutdown(fd, SHUT_WR) == 0);
    turn_some(&shard, 5);
    CHECK(peer->eofs == 0 && peer->closes == 0);
    CHECK(stream_write(&peer->stream, SLICE_LITERAL("late\n")) == MX_OK);
    stream_resume(&peer->stream);
    hear_text(&shard, fd, "late\n");
    CHECK(hear_end(&shard, fd) == 0 && peer->eofs == 1);
    peer_end(peer, fd, MX_OK);
}

static void check_eof_default(void)
{
    int pair[2];
    tcp_pair(pair);
    struct peer *peer = calloc(1, sizeof *peer);
    CHECK(peer != NULL);
    peer->what = GREEDY;
    stream_open(&peer->stream, &shard, &ops_no_eof, pair[0]);
    CHECK(stream_write(&peer->stream, SLICE_LITERAL("hello\n")) == MX_OK);
    CHECK(shutdown(pair[1], SHUT_WR) == 0);
    hear_text(&shard, pair[1], "hello\n");
    CHECK(hear_end(&shard, pair[1]) == 0);
    peer_end(peer, pair[1], MX_OK);
}

/* Who has said good-bye is not waited for, unless he has sent more all the same. */
static void check_part(void)
{
    static uint8_t bytes[400 * 1024];
    int fd;
    struct peer *peer = peer_open(PART_INPUT, &fd);
    say(&shard, fd, "x", 1);
    TURN_UNTIL(&shard, peer->closes == 1);
    hear_text(&shard, fd, "bye\n");
    CHECK(hear_end(&shard, fd) == 0);
    peer_end(peer, fd, MX_OK);

    peer = peer_open(PART_INPUT, &fd);
    memset(bytes, 'x', sizeof bytes);
    say(&shard, fd, bytes, sizeof bytes);
    turn_some(&shard, 50);
    hear_text(&shard, fd, "bye\n");
    CHECK(hear_end(&shard, fd) == 0);
    CHECK(peer->closes == 0);
    peer_end(peer, fd, MX_OK);
}

/* Unread input must not turn the close into a reset that destroys the reply. */
static void check_linger(void)
{
    static uint8_t bytes[400 * 1024];
    int fd;
    struct peer *peer = peer_open(CLOSE_INPUT, &fd);
    memset(bytes, 'x', sizeof bytes);
    say(&shard, fd, bytes, sizeof bytes);
    turn_some(&shard, 50);
    hear_text(&shard, fd, "bye\n");
    CHECK(hear_end(&shard, fd) == 0);
    CHECK(peer->closes == 0); /* it still waits for our end */
    peer_end(peer, fd, MX_OK);
}

static void check_linger_bytes(void)
{
    static uint8_t bytes[64 * 1024];
    int fd;
    struct peer *peer = peer_open(CLOSE_INPUT, &fd);
    memset(bytes, 'x', sizeof bytes);
    size_t sent = 0;
    for (unsigned i = 0; i < TURNS_MAX && peer->closes == 0; i++) {
        ssize_t n = send(fd, bytes, sizeof bytes, MSG_NOSIGNAL);
        sent += n > 0 ? (size_t)n : 0;
        shard_turn(&shard, 0);
    }
    CHECK(peer->closes == 1 && sent >= STREAM_LINGER_BYTES);
    peer_end(peer, fd, MX_OK);
}

static void fire_timers(uint64_t after_ms)
{
    (void)wheel_advance(&shard.wheel, shard.now_ns + after_ms * MX_NS_PER_MS, 100);
}

static void check_linger_time(void)
{
    int fd;
    struct peer *peer = peer_open(CLOSE_INPUT, &fd);
    say(&shard, fd, "x", 1);
    hear_text(&shard, fd, "bye\n");
    turn_some(&shard, 3);
    CHECK(peer->closes == 0);
    fire_timers(STREAM_LINGER_MS + 200);
    TURN_UNTIL(&shard, peer->closes == 1);
    peer_end(peer, fd, MX_OK);
}

/* A peer that never reads cannot keep a closing stream. */
static void check_close_unread(void)
{
    static uint8_t bytes[STREAM_OUT_MAX / 4];
    int fd;
    struct peer *peer = peer_open(GREEDY, &fd);
    while (stream_write(&peer->stream, slice_of(bytes, sizeof bytes)) == MX_OK) {
        turn_some(&shard, 3);
    }
    stream_close(&peer->stream);
    CHECK(stream_write(&peer->stream, SLICE_LITERAL("x")) == MX_ERR_CLOSED);
    turn_some(&shard, 5);
    CHECK(peer->closes == 0);
    fire_timers(STREAM_FLUSH_MS + 200);
    TURN_UNTIL(&shard, peer->closes == 1);
    peer_end(peer, fd, MX_ERR_TIMEOUT);
}

static void check_reset(void)
{
    int fd;
    struct peer *peer = peer_open(GREEDY, &fd);
    turn_some(&shard, 2);
    struct linger hard = {.l_onoff = 1, .l_linger = 0};
    CHECK(setsockopt(fd, SOL_SOCKET, SO_LINGER, &hard, sizeof hard) == 0);
    peer_end(peer, fd, MX_ERR_RESET);

    /* After our own close a reset is as good as an end: SIGPIPE and errors do not matter. */
    peer = peer_open(CLOSE_INPUT, &fd);
    say(&shard, fd, "x", 1);
    hear_text(&shard, fd, "bye\n");
    turn_some(&shard, 3);
    CHECK(setsockopt(fd, SOL_SOCKET, SO_LINGER, &hard, sizeof hard) == 0);
    peer_end(peer, fd, MX_OK);
}

static void check_abort(void)
{
    int fd;
    struct peer *peer = peer_open(GREEDY, &fd);
    CHECK(stream_write(&peer->stream, SLICE_LITERAL("lost")) == MX_OK);
    stream_abort(&peer->stream, MX_ERR_TIMEOUT);
    stream_abort(&peer->stream, MX_ERR_BUG); /* the first reason stays */
    CHECK(peer->closes == 0);                /* never from within */
    CHECK(stream_write(&peer->stream, SLICE_LITERAL("x")) == MX_ERR_CLOSED);
    stream_resume(&peer->stream);
    stream_close(&peer->stream);
    peer_end(peer, -1, MX_ERR_TIMEOUT);
    (void)close(fd);

    peer = peer_open(ABORT_INPUT, &fd);
    say(&shard, fd, "abc", 3);
    peer_end(peer, -1, MX_ERR_LIMIT);
    (void)close(fd);

    peer = peer_open(GREEDY, &fd);
    peer->abort_on_eof = true;
    peer_end(peer, fd, MX_ERR_SHUTDOWN);
}

static void check_close_on_drained(void)
{
    static uint8_t bytes[STREAM_OUT_MAX / 8];
    int fd;
    struct peer *peer = peer_open(GREEDY, &fd);
    peer->close_on_drained = true;
    size_t written = 0;
    while (stream_write(&peer->stream, slice_of(bytes, sizeof bytes)) == MX_OK) {
        written += sizeof bytes;
        turn_some(&shard, 3);
    }
    CHECK(hear_end(&shard, fd) == written);
    CHECK(peer->drains == 1);
    peer_end(peer, fd, MX_OK);
}

int main(void)
{
    RUN(eof);
    RUN(eof_while_paused);
    RUN(bare_eof_while_paused);
    RUN(eof_default);
    RUN(part);
    RUN(linger);
    RUN(linger_bytes);
    RUN(linger_time);
    RUN(close_unread);
    RUN(reset);
    RUN(abort);
    RUN(close_on_drained);
    printf("stream ends: all good\n");
    return 0;
}
