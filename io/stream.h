/* A TCP connection with bounded input and output and optional TLS. It is embedded in its owner (a
 * pump) and costs nothing but its own size while idle: receive buffers are lent by the ring only
 * when bytes have arrived, output blocks exist only until they are sent.
 *
 * Input is offered with ops->input; what the owner does not consume is parked (at most
 * STREAM_PARK_BYTES; the owner must consume something or pause when the park is full) and offered
 * again, joined with what follows. While paused, nothing is received: that is the back-pressure.
 * Output is collected during a turn and leaves in one send per turn.
 *
 * Life: stream_open -> events -> closed (exactly once, after every operation has ended and the
 * descriptor is closed). Only then may the owner be released. */
#pragma once

#include "core/block.h"
#include "core/list.h"
#include "core/wheel.h"
#include "io/ring.h"
#include "io/tls.h"

struct shard;
struct stream;

enum {
    STREAM_PARK_BYTES = RING_RECV_BYTES + 8192,
    STREAM_PARK_SMALL_BYTES = 1024, /* half a line does not take a whole park */
    STREAM_OUT_MAX = 256 * 1024,    /* unsent bytes over which stream_write says MX_ERR_AGAIN */
    STREAM_OUT_LOW = 64 * 1024,     /* below it, ops->drained is called again */
    STREAM_FLUSH_MS = 30000, /* how long a graceful close waits for a peer that does not read */
    STREAM_LINGER_MS = 2000, /* how long input is thrown away after a graceful close */
    STREAM_LINGER_BYTES = 1024 * 1024,
};

struct stream_ops {
    /* Plaintext that arrived; returns the number of bytes consumed. */
    size_t (*input)(struct stream *stream, struct slice in);
    /* The peer has sent its last byte; more output is still possible. Told once, after all input
     * was offered and not while paused. NULL: close gracefully. */
    void (*eof)(struct stream *stream);
    /* After MX_ERR_AGAIN from stream_write: there is room again. May be NULL. */
    void (*drained)(struct stream *stream);
    /* Outgoing connection is up, or the TLS handshake is complete. May be NULL. */
    void (*ready)(struct stream *stream);
    /* The end. MX_OK after a graceful close, MX_ERR_TIMEOUT when the peer did not take the last
     * output. The owner may release the memory in here. */
    void (*closed)(struct stream *stream, mx_err why);
};

struct stream {
    const struct stream_ops *ops;
    struct shard *shard;
    int fd;
    uint8_t state;       /* private: enum stream_state */
    uint8_t tls_failure; /* enum tls_failure, after MX_ERR_TLS */
    bool paused : 1;
    bool sock_more : 1; /* the last receive saw more bytes waiting */
    bool want_drained : 1;
    bool in_input : 1;    /* ops->input is running */
    bool again : 1;       /* resumed from within ops->input: offer the rest once more */
    bool discard : 1;     /* TLS began within ops->input: the rest of that input is thrown away */
    bool rest_is_tls : 1; /* ... or is the beginning of the handshake */
    bool sock_eof : 1;    /* the socket has ended */
    bool eof_told : 1;    /* ... and the owner knows */
    bool park_small : 1;  /* park is a slot of shard->park_small */
    bool tls_client : 1;  /* of the handshake: which side we are */
    bool soon : 1;        /* closing does not wait for the peer's end */
    bool multishot : 1;   /* set by the owner of a connection that is being opened: one receive goes
                         on  until the end. It must not pause the stream. */
    mx_err why;
    struct op recv_op;
    struct op send_op;
    struct list_node dirty_node;
    struct list_node ready_node; /* in streams_ready or streams_starved */
    struct chain out;
    uint8_t *park; /* a slot of shard->park_blocks or park_small, or NULL */
    uint32_t park_len;
    uint32_t linger_left;
    struct timer linger; /* bounds closing */
    struct tls *tls;
    uint64_t bytes_in, bytes_out;
    uint64_t active_ns; /* last time bytes moved; for idle timeouts */
};

/* Takes over a connected descriptor and starts receiving (unless the owner pauses it at once). */
void stream_open(struct stream *stream, struct shard *shard, const struct stream_ops *ops, int fd);
/* Opens an outgoing connection; ops->ready or ops->closed follows (never from within this call). */
void stream_connect(struct stream *stream, struct shard *shard, const struct stream_ops *ops,
                    const struct ring_addr *to);
/* The same from this address of the machine; family 0: the system chooses. When it is not ours the
 * stream ends with MX_ERR_NOADDR or the like. */
void stream_connect_from(struct stream *stream, struct shard *shard, const struct stream_ops *ops,
                         const struct ring_addr *to, const struct netaddr *from);
/* The same on the caller's unconnected socket, which may be bound; it is the stream's from here on.
 * -1: there is none, the stream ends with MX_ERR_NOFILES. */
void stream_connect_fd(struct stream *stream, struct shard *shard, const struct stream_ops *ops,
                       const struct ring_addr *to, int fd);
/* Copies bytes to the output. MX_ERR_AGAIN: over STREAM_OUT_MAX, nothing was taken, ops->drained
 * follows; MX_ERR_NOMEM: memory budget; MX_ERR_CLOSED: the stream is closing. */
MX_MUST_CHECK mx_err stream_write(struct stream *stream, struct slice bytes);
/* Bytes that stream_write would take now without MX_ERR_AGAIN. */
size_t stream_room(const struct stream *stream);
/* A receive is armed: what the peer has not sent is all that is waited for. */
bool stream_receives(const struct stream *stream);
/* Stops offering and receiving input. */
void stream_pause(struct stream *stream);
/* Goes on: parked input is offered again later, else a receive is armed; never offers from within
 * this call. From within ops->input it means: offer the rest once more after the others had their
 * turn. */
void stream_resume(struct stream *stream);
/* Throws parked input away (STARTTLS: RFC 3207 section 4.2) and starts the handshake; output
 * written before is sent in clear first. ops->ready when done; failure closes with MX_ERR_TLS. host
 * as in tls_new. */
void stream_start_tls(struct stream *stream, struct tls_ctx *ctx, struct slice host);
/* The same on our side of a peer that begins with the handshake, perhaps behind something else:
 * what ops->input leaves when it calls this belongs to the handshake and is no longer offered. */
void stream_accept_tls(struct stream *stream, struct tls_ctx *ctx);
/* Why it ended with MX_ERR_TLS, in words; static. */
const char *stream_tls_problem(const struct stream *stream);
/* Sends what is written (STREAM_FLUSH_MS at most), half-closes, throws input away for a bounded
 * time, closes. While connecting or in a handshake: as stream_abort. */
void stream_close(struct stream *stream);
/* The same of a peer that has said that it sends no more, and of which nothing is unread: closes as
 * soon as everything is sent, without waiting for its end. Under TLS as stream_close. */
void stream_part(struct stream *stream);
/* As stream_close without the time for the peer: what it has sent by then, or sends later, may turn
 * into a reset that destroys the last of our output on its way. Also of a stream that is closing.
 */
void stream_close_soon(struct stream *stream);
/* Closes now; unsent output is lost. The first reason counts. */
void stream_abort(struct stream *stream, mx_err why);

/* --- for the shard's loop --- */

/* Offers parked input of resumed streams, ends dead ones; each stream at most once per call. */
void streams_run_ready(struct shard *shard);
/* Starts one send for every stream that has new output. */
void streams_flush(struct shard *shard);
/* Receives again for streams that had found no buffer. */
void streams_feed_starved(struct shard *shard);
