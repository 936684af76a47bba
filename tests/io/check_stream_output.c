/* Streams over real loopback sockets. What is written: its bounds, and when it is sent. */
#include "tests/io/stream_peer.h"

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

int main(void)
{
    RUN(output_bound);
    RUN(one_send_per_turn);
    check_memory_budget();
    printf("stream output: all good\n");
    return 0;
}
