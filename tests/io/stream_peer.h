/* An owner of a stream over a real loopback socket, for check_stream_*.c: does with its input what
 * the test says, and notes what it was told. */
#pragma once

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

static inline struct peer *peer_of(struct stream *stream)
{
    return mx_container_of(stream, struct peer, stream);
}

static inline size_t consume_lines(struct peer *peer, struct slice in, unsigned max)
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

static inline size_t echo(struct peer *peer, struct slice in)
{
    mx_err err = stream_write(&peer->stream, in);
    if (err == MX_ERR_AGAIN) {
        stream_pause(&peer->stream);
        return 0;
    }
    CHECK(err == MX_OK);
    return in.len;
}

static inline size_t on_input(struct stream *stream, struct slice in)
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

static inline void on_eof(struct stream *stream)
{
    struct peer *peer = peer_of(stream);
    peer->eofs++;
    if (peer->abort_on_eof) {
        stream_abort(stream, MX_ERR_SHUTDOWN);
    } else if (!peer->keep_on_eof) {
        stream_close(stream);
    }
}

static inline void on_drained(struct stream *stream)
{
    struct peer *peer = peer_of(stream);
    peer->drains++;
    if (peer->close_on_drained) {
        stream_close(stream);
    } else {
        stream_resume(stream);
    }
}

static inline void on_ready(struct stream *stream)
{
    struct peer *peer = peer_of(stream);
    peer->readies++;
    if (peer->abort_on_ready) {
        stream_abort(stream, MX_ERR_SHUTDOWN);
    }
}

static inline void on_closed(struct stream *stream, mx_err why)
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

static inline struct peer *peer_open(enum what what, int *out_fd)
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

static inline void peer_end(struct peer *peer, int fd, mx_err why)
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

static inline void run(const char *name, void (*check)(void))
{
    printf("%s\n", name);
    fflush(stdout);
    core_open(&shard, 0);
    check();
    core_close(&shard);
}

#define RUN(name) run(#name, check_##name)
