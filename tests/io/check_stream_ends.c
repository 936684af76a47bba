/* Streams over real loopback sockets: what is received, parked, paused, written, closed. */
#include "tests/io/support.h"

enum what {
    ECHO,        /* writes back what comes, pauses while the output is full */
    LINES,       /* consumes whole lines and echoes them */
    LINE_A_TURN, /* one line per offer, then resumes from within */
    GREEDY,      /* consumes and counts */
    STUBBORN,    /* consumes nothing */
    ABORT_INPUT, /* aborts on the first byte */
    CLOSE_INPUT, /* answers "bye\n" and closes on the first byte */
    PART_INPUT,  /* the same to a peer that has said good-bye */
};

struct peer {
    struct stream stream;
    enum what what;
    struct slice owed; /* echo that did not fit */
    uint8_t owed_bytes[STREAM_PARK_BYTES];
    size_t seen;
    unsigned offers, lines, eofs, drains, readies, closes;
    bool keep_on_eof, close_on_drained, abort_on_ready, abort_on_eof;
    mx_err why;
};

static struct shard shard;

static struct peer *peer_of(struct stream *stream)
{
    return mx_container_of(stream, struct peer, stream);
}

static size_t consume_lines(struct peer *peer, struct slice in, unsigned max)
{
    size_t used = 0;
    for (unsigned i = 0; i < max; i++) {
        struct slice rest = slice_from(in, used);
        size_t end = slice_find(rest, '\n');
        if (end == rest.len) {
            break;
        }
        CHECK(stream_write(&peer->stream, slice_first(rest, end + 1)) == MX_OK);
        used += end + 1;
        peer->lines++;
    }
    return used;
}

static size_t echo(struct peer *peer, struct slice in)
{
    mx_err err = stream_write(&peer->stream, in);
    if (err == MX_ERR_AGAIN) {
        stream_pause(&peer->stream);
        return 0;
    }
    CHECK(err == MX_OK);
    return in.len;
}

static size_t on_input(struct stream *stream, struct slice in)
{
    struct peer *peer = peer_of(stream);
    CHECK(peer->closes == 0 && in.len > 0);
    peer->offers++;
    switch (peer->what) {
    case ECHO:
        return echo(peer, in);
    case LINES:
        return consume_lines(peer, in, UINT32_MAX);
    case LINE_A_TURN: {
        size_t used = consume_lines(peer, in, 1);
        if (used > 0) {
            stream_pause(stream);
            stream_resume(stream);
        }
        return used;
    }
    case STUBBORN:
        return 0;
    case ABORT_INPUT:
        stream_abort(stream, MX_ERR_LIMIT);
        return 0;
    case CLOSE_INPUT:
        CHECK(stream_write(stream, SLICE_LITERAL("bye\n")) == MX_OK);
        stream_close(stream);
        CHECK(in.ptr[in.len - 1] != 0); /* still readable in here */
        return 0;
    case PART_INPUT:
        CHECK(stream_write(stream, SLICE_LITERAL("bye\n")) == MX_OK);
        stream_part(stream);
        return in.len;
    case GREEDY:
    default:
        peer->seen += in.len;
        return in.len;
    }
}

static void on_eof(struct stream *stream)
{
    struct peer *peer = peer_of(stream);
    peer->eofs++;
    if (peer->abort_on_eof) {
        stream_abort(stream, MX_ERR_SHUTDOWN);
    } else if (!peer->keep_on_eof) {
        stream_close(stream);
    }
}

static void on_drained(struct stream *stream)
{
    struct peer *peer = peer_of(stream);
    peer->drains++;
    if (peer->close_on_drained) {
        stream_close(stream);
    } else {
        stream_resume(stream);
    }
}

static void on_ready(struct stream *stream)
{
    struct peer *peer = peer_of(stream);
    peer->readies++;
    if (peer->abort_on_ready) {
        stream_abort(stream, MX_ERR_SHUTDOWN);
    }
}

static void on_closed(struct stream *stream, mx_err why)
{
    struct peer *peer = peer_of(stream);
    CHECK(peer->closes == 0);
    peer->closes++;
    peer->why = why;
    memset(stream, 0xa5, sizeof *stream); /* the owner may release it here */
}

static const struct stream_ops ops = {.input = on_input,
                                      .eof = on_eof,
                                      .drained = on_drained,
                                      .ready = on_ready,
                                      .closed = on_closed};
static const struct stream_ops ops_no_eof = {.input = on_input, .closed = on_closed};

static struct peer *peer_open(enum what what, int *out_fd)
{
    int pair[2];
    tcp_pair(pair);
    struct peer *peer = calloc(1, sizeof *peer);
    CHECK(peer != NULL);
    peer->what = what;
    stream_open(&peer->stream, &shard, &ops, pair[0]);
    *out_fd = pair[1];
    return peer;
}

static void peer_end(struct peer *peer, int fd, mx_err why)
{
    if (fd >= 0) {
        (void)close(fd);
    }
    TURN_UNTIL(&shard, peer->closes == 1);
    if (peer->why != why) {
        printf("closed with \"%s\", expected \"%s\"\n", err_text(peer->why), err_text(why));
        exit(1);
    }
    free(peer);
}

/* --- input --- */

static void check_echo(void)
{
    enum { LEN = 3 * 1024 * 1024 };
    int fd;
    struct peer *peer = peer_open(ECHO, &fd);
    uint8_t *out = malloc(LEN);
    uint8_t *in = malloc(LEN);
    CHECK(out != NULL && in != NULL);
    fill_pattern(out, LEN, 1);
    /* The client writes on without reading for as long as it can: the back-pressure must hold. */
    size_t sent = 0;
    size_t got = 0;
    for (unsigned turns = 0; got < LEN; turns++) {
        CHECK(turns < 100 * TURNS_MAX);
        ssize_t n = sent < LEN ? send(fd, out + sent, LEN - sent, MSG_NOSIGNAL) : -1;
        sent += n > 0 ? (size_t)n : 0;
        shard_turn(&shard, 0);
        if (n <= 0) {
            n = recv(fd, in + got, LEN - got, 0);
            got += n > 0 ? (size_t)n : 0;
        }
        CHECK(peer->stream.out.bytes <= STREAM_OUT_MAX);
    }
    CHECK(memcmp(in, out, LEN) == 0);
    CHECK(peer->stream.bytes_in == LEN && peer->stream.bytes_out == LEN);
    free(out);
    free(in);
    peer_end(peer, fd, MX_OK);
}

static void check_single_bytes(void)
{
    static const char text[] = "one\ntwo\nthree\n";
    int fd;
    struct peer *peer = peer_open(LINES, &fd);
    for (size_t i = 0; i < sizeof text - 1; i++) {
        say(&shard, fd, text + i, 1);
        TURN_UNTIL(&shard, peer->stream.bytes_in == i + 1);
        CHECK((peer->stream.park_len == 0) == (peer->stream.park == NULL));
        CHECK(shard.park_blocks.used == 0); /* half a line costs a small slot only */
    }
    hear_text(&shard, fd, text);
    CHECK(peer->lines == 3);
    CHECK(peer->stream.park == NULL && peer->stream.out.head == NULL); /* idle: holds nothing */
    peer_end(peer, fd, MX_OK);
}

/* Every offer leaves a part; the rest grows past the small slot and back. */
static void check_long_lines(void)
{
    enum { LINE = 7000, COUNT = 20 };
    static uint8_t lines[COUNT * LINE];
    static uint8_t back[sizeof lines];
    memset(lines, 'x', sizeof lines);
    for (unsigned i = 0; i < COUNT; i++) {
        lines[i * LINE + i] = (uint8_t)('a' + i);
        lines[i * LINE + LINE - 1] = '\n';
    }
    int fd;
    struct peer *peer = peer_open(LINES, &fd);
    for (size_t at = 0; at < sizeof lines; at += 900) {
        say(&shard, fd, lines + at, mx_min_size(900, sizeof lines - at));
        turn_some(&shard, 1);
    }
    hear(&shard, fd, back, sizeof back);
    CHECK(memcmp(back, lines, sizeof back) == 0);
    peer_end(peer, fd, MX_OK);
}

static void check_pause(void)
{
    static uint8_t bytes[512 * 1024];
    int fd;
    struct peer *peer = peer_open(GREEDY, &fd);
    fill_pattern(bytes, sizeof bytes, 2);
    stream_pause(&peer->stream);
    ssize_t sent = send(fd, bytes, sizeof bytes, MSG_NOSIGNAL);
    CHECK(sent > 4 * RING_RECV_BYTES);
    turn_some(&shard, 20);
    CHECK(peer->seen == 0 && peer->offers == 0);
    CHECK(peer->stream.bytes_in <= RING_RECV_BYTES); /* the receive that was armed already */
    stream_resume(&peer->stream);
    CHECK(peer->offers == 0); /* never from within resume */
    TURN_UNTIL(&shard, peer->seen == (size_t)sent);
    peer_end(peer, fd, MX_OK);
}

static void check_resume_within_input(void)
{
    static const char text[] = "a\nb\nc\nd\ne\nf\n";
    int fd;
    struct peer *peer = peer_open(LINE_A_TURN, &fd);
    say(&shard, fd, text, sizeof text - 1);
    hear_text(&shard, fd, text); /* the client says no more: all lines must come without it */
    CHECK(peer->lines == 6 && peer->offers >= 6);
    peer_end(peer, fd, MX_OK);
}

static void check_stubborn_owner(void)
{
    static uint8_t bytes[STREAM_PARK_BYTES];
    int fd;
    struct peer *peer = peer_open(STUBBORN, &fd);
    say(&shard, fd, bytes, sizeof bytes);
    TURN_UNTIL(&shard, peer->closes == 1);
    peer_end(peer, fd, MX_ERR_LIMIT);
}

static void check_starvation(void)
{
    enum { PEERS = 64, LEN = 100000 };
    static uint8_t bytes[LEN];
    static uint8_t back[PEERS][LEN];
    static int fds[PEERS];
    struct peer *peers[PEERS];
    size_t sent[PEERS] = {0};
    size_t got[PEERS] = {0};
    size_t total = 0;
    core_open(&shard, 2);
    fill_pattern(bytes, LEN, 3);
    for (unsigned i = 0; i < PEERS; i++) {
        peers[i] = peer_open(ECHO, &fds[i]);
    }
    for (unsigned rounds = 0; total < (size_t)PEERS * LEN; rounds++) {
        CHECK(rounds < TURNS_MAX);
        for (unsigned i = 0; i < PEERS; i++) {
            ssize_t n = send(fds[i], bytes + sent[i], LEN - sent[i], MSG_NOSIGNAL);
            sent[i] += n > 0 ? (size_t)n : 0;
            n = recv(fds[i], back[i] + got[i], LEN - got[i], 0);
            got[i] += n > 0 ? (size_t)n : 0;
            total += n > 0 ? (size_t)n : 0;
        }
        shard_turn(&shard, 0);
    }
    for (unsigned i = 0; i < PEERS; i++) {
        CHECK(memcmp(back[i], bytes, LEN) == 0);
        peer_end(peers[i], fds[i], MX_OK);
    }
    core_close(&shard);
}

/* Starved streams that end, pause or close must not be served from the list any more. */
static void check_starved_ends(void)
{
    enum { PEERS = 16 };
    int fds[PEERS];
    struct peer *peers[PEERS];
    core_open(&shard, 1);
    for (unsigned i = 0; i < PEERS; i++) {
        peers[i] = peer_open(GREEDY, &fds[i]);
    }
    turn_some(&shard, 2);
    for (unsigned i = 0; i < PEERS; i++) {
        say(&shard, fds[i], "x", 1);
    }
    for (unsigned rounds = 0; rounds < 8; rounds++) {
        shard_turn(&shard, TURN_WAIT_NS);
        struct peer *peer = peers[rounds];
        if (rounds % 2 == 0) {
            stream_abort(&peer->stream, MX_ERR_SHUTDOWN);
        } else {
            stream_pause(&peer->stream);
            stream_resume(&peer->stream);
        }
    }
    for (unsigned i = 0; i < PEERS; i++) {
        bool aborted = i < 8 && i % 2 == 0;
        if (!aborted) {
            TURN_UNTIL(&shard, peers[i]->seen == 1);
        }
        peer_end(peers[i], fds[i], aborted ? MX_ERR_SHUTDOWN : MX_OK);
    }
    core_close(&shard);
}

/* --- output --- */

static void check_output_bound(void)
{
    static uint8_t bytes[10000];
    int fd;
    struct peer *peer = peer_open(GREEDY, &fd);
    fill_pattern(bytes, sizeof bytes, 4);
    size_t written = 0;
    mx_err err = MX_OK;
    for (unsigned i = 0; err == MX_OK; i++) {
        CHECK(i < TURNS_MAX);
        err = stream_write(&peer->stream, slice_of(bytes, sizeof bytes));
        written += err == MX_OK ? sizeof bytes : 0;
        shard_turn(&shard, 0);
    }
    CHECK(err == MX_ERR_AGAIN && written > STREAM_OUT_MAX - sizeof bytes);
    CHECK(stream_room(&peer->stream) < sizeof bytes && peer->drains == 0);
    for (size_t heard = 0; heard < written; heard += sizeof bytes) {
        uint8_t buf[sizeof bytes];
        hear(&shard, fd, buf, sizeof buf);
        CHECK(memcmp(buf, bytes, sizeof buf) == 0);
    }
    turn_some(&shard, 5);
    CHECK(peer->drains == 1 && peer->stream.out.bytes == 0);
    CHECK(stream_room(&peer->stream) == STREAM_OUT_MAX);
    peer_end(peer, fd, MX_OK);
}

static void check_one_send_per_turn(void)
{
    int fd;
    struct peer *peer = peer_open(GREEDY, &fd);
    for (unsigned i = 0; i < 10; i++) {
        CHECK(stream_write(&peer->stream, SLICE_LITERAL("250 ok\r\n")) == MX_OK);
    }
    turn_some(&shard, 3);
    char buf[256];
    CHECK(recv(fd, buf, sizeof buf, 0) == 80);
    peer_end(peer, fd, MX_OK);
}

static void check_memory_budget(void)
{
    int fd;
    struct shard_conf conf = {.count = 1, .cpu = -1, .blocks_max = 4};
    static uint8_t bytes[5 * BLOCK_BYTES];
    CHECK(shard_init(&shard, &conf) == MX_OK && shard_open(&shard) == MX_OK);
    struct peer *peer = peer_open(GREEDY, &fd);
    CHECK(stream_write(&peer->stream, slice_of(bytes, sizeof bytes)) == MX_ERR_NOMEM);
    CHECK(shard.blocks.used == 0);
    CHECK(stream_write(&peer->stream, SLICE_LITERAL("452 later\r\n")) == MX_OK);
    hear_text(&shard, fd, "452 later\r\n");
    peer_end(peer, fd, MX_OK);
    core_close(&shard);
}

/* --- the end --- */

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

/* --- outgoing --- */

static struct peer *peer_connect(const struct ring_addr *to)
{
    struct peer *peer = calloc(1, sizeof *peer);
    CHECK(peer != NULL);
    peer->what = GREEDY;
    stream_connect(&peer->stream, &shard, &ops, to);
    CHECK(peer->readies == 0 && peer->closes == 0);
    return peer;
}

static void check_connect(void)
{
    struct ring_addr addr;
    int listener = listen_any(&addr);
    struct peer *peer = peer_connect(&addr);
    TURN_UNTIL(&shard, peer->readies == 1);
    int fd = -1;
    CHECK(ring_accept_now(&fd, listener) == MX_OK);
    CHECK(stream_write(&peer->stream, SLICE_LITERAL("EHLO\r\n")) == MX_OK);
    hear_text(&shard, fd, "EHLO\r\n");
    say(&shard, fd, "250\r\n", 5);
    TURN_UNTIL(&shard, peer->seen == 5);
    peer_end(peer, fd, MX_OK);

    peer = peer_connect(&addr);
    peer->abort_on_ready = true;
    peer_end(peer, -1, MX_ERR_SHUTDOWN);

    peer = peer_connect(&addr);
    stream_close(&peer->stream); /* while connecting */
    peer_end(peer, -1, MX_ERR_CANCELLED);

    ring_close_fd(listener);
    peer = peer_connect(&addr);
    peer_end(peer, -1, MX_ERR_REFUSED);
}

/* Many at once: no connection may cost a large slot only to keep its address. */
static void check_connect_many(void)
{
    enum { PEERS = 100 };
    struct ring_addr addr;
    struct peer *peers[PEERS];
    int listener = listen_any(&addr);
    for (unsigned i = 0; i < PEERS; i++) {
        peers[i] = peer_connect(&addr);
    }
    CHECK(shard.park_blocks.used == 0);
    for (unsigned i = 0; i < PEERS; i++) {
        TURN_UNTIL(&shard, peers[i]->readies == 1);
    }
    for (unsigned i = 0; i < PEERS; i++) {
        stream_abort(&peers[i]->stream, MX_ERR_SHUTDOWN);
        peer_end(peers[i], -1, MX_ERR_SHUTDOWN);
    }
    ring_close_fd(listener);
}

static void run(const char *name, void (*check)(void))
{
    printf("%s\n", name);
    fflush(stdout);
    core_open(&shard, 0);
    check();
    core_close(&shard);
}

int main(void)
{
#define RUN(name) run(#name, check_##name)
    RUN(echo);
    RUN(single_bytes);
    RUN(long_lines);
    RUN(pause);
    RUN(resume_within_input);
    RUN(stubborn_owner);
    RUN(output_bound);
    RUN(one_send_per_turn);
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
    RUN(connect);
    RUN(connect_many);
    check_memory_budget();
    check_starvation();
    check_starved_ends();
    printf("stream: all good\n");
    return 0;
}
