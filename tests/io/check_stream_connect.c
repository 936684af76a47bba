/* Streams over real loopback sockets. Connections that are opened. */
#include "tests/io/stream_peer.h"

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

int main(void)
{
    RUN(connect);
    RUN(connect_many);
    printf("stream connect: all good\n");
    return 0;
}
