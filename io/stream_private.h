/* What the parts of a stream share: for io/stream*.c alone. */
#pragma once

#include "io/shard.h"
#include "io/stream.h"

/* Legal paths: connecting -> open; open -> handshake -> open; open | handshake -> closing ->
 * lingering -> dead; anything -> dead. A dead stream waits for its operations and is ended by
 * streams_run_ready alone, so ops->closed is never called from within another call. */
enum stream_state {
    STREAM_CONNECTING, /* the connect is in flight, as send_op */
    STREAM_OPEN,
    STREAM_HANDSHAKE,
    STREAM_CLOSING,   /* output is being sent; input is thrown away */
    STREAM_LINGERING, /* our side is shut; input is thrown away until the peer ends or time is up */
    STREAM_DEAD,      /* no new operations */
};

/* --- life: stream.c --- */

/* No new operations; streams_run_ready ends it. The first reason counts. */
void stream_die(struct stream *stream, mx_err why);
/* Of a dead stream: the end, unless its operations are still in flight. */
void stream_end_if_idle(struct stream *stream);
/* From open: sends the rest of the output, then lingers. why is what ops->closed will be told. */
void stream_begin_close(struct stream *stream, mx_err why);
/* Of a closing stream whose output is out. */
void stream_linger_begin(struct stream *stream);

static inline void stream_make_ready(struct stream *stream)
{
    list_remove(&stream->ready_node);
    list_push_back(&stream->shard->streams_ready, &stream->ready_node);
}

/* --- input: stream_input.c --- */

/* Receives more, if it may and should. */
void stream_recv_arm(struct stream *stream);
/* Plaintext that has just arrived. */
void stream_take_plain(struct stream *stream, struct slice bytes);
/* The peer's last byte was offered. */
void stream_take_eof(struct stream *stream);

/* Open, not paused, and the owner did not ask for a break. */
static inline bool stream_may_offer(const struct stream *stream)
{
    return stream->state == STREAM_OPEN && !stream->paused && !stream->again;
}

/* Gives back the slot of what the owner has not consumed. */
void stream_park_release(struct stream *stream);

static inline bool stream_park_has_room(const struct stream *stream)
{
    return stream->park_len + RING_RECV_BYTES <= STREAM_PARK_BYTES;
}

/* --- output: stream_output.c --- */

static inline void stream_make_dirty(struct stream *stream)
{
    if (!list_linked(&stream->dirty_node) && !stream->send_op.pending) {
        list_push_back(&stream->shard->streams_dirty, &stream->dirty_node);
    }
}

/* --- TLS: stream_tls.c --- */

/* Goes on with the handshake with what was fed. */
void stream_handshake_step(struct stream *stream);
/* Decrypts what has arrived, as long as the owner takes it. */
void stream_tls_take(struct stream *stream);
/* Moves waiting ciphertext to the output. */
void stream_tls_collect(struct stream *stream);

static inline struct handshake_stats *stream_handshakes(const struct stream *stream)
{
    struct shard_stats *stats = &stream->shard->stats;
    return stream->tls_client ? &stats->client_tls : &stats->server_tls;
}
