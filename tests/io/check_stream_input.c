/* Streams over real loopback sockets. What is received, parked, offered again and paused. */
#include "tests/io/stream_peer.h"

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

int main(void)
{
    RUN(echo);
    RUN(single_bytes);
    RUN(long_lines);
    RUN(pause);
    RUN(resume_within_input);
    RUN(stubborn_owner);
    check_starvation();
    check_starved_ends();
    printf("stream input: all good\n");
    return 0;
}
