#include "io/stream_private.h"

#include "core/check.h"
#include "core/count.h"

enum { TLS_CHUNK_BYTES = 16 * 1024 };

const char *stream_tls_problem(const struct stream *stream)
{
    static const char *const texts[] = {
        [TLS_FAILURE_CLOSED] = "the other side went away",
        [TLS_FAILURE_ALERT] = "the other side refused",
        [TLS_FAILURE_NO_COMMON] = "no version or cipher in common",
        [TLS_FAILURE_CERTIFICATE] = "the certificate does not verify",
        [TLS_FAILURE_PROTOCOL] = "the other side does not speak TLS, or wrongly",
    };
    return texts[stream->tls_failure];
}

void stream_tls_collect(struct stream *stream)
{
    uint8_t buf[TLS_CHUNK_BYTES];
    size_t len;
    while ((len = tls_drain(stream->tls, buf, sizeof buf)) > 0) {
        if (chain_append(&stream->out, &stream->shard->blocks, slice_of(buf, len)) != MX_OK) {
            stream_die(stream, MX_ERR_NOMEM);
            return;
        }
    }
    if (stream->out.bytes > 0) {
        stream_make_dirty(stream);
    }
}

void stream_tls_take(struct stream *stream)
{
    uint8_t buf[TLS_CHUNK_BYTES];
    while (stream_may_offer(stream) && stream_park_has_room(stream) && !stream->eof_told) {
        size_t len = 0;
        mx_err err = tls_read(stream->tls, &len, buf, sizeof buf);
        if (err == MX_ERR_AGAIN) {
            break;
        }
        if (err == MX_ERR_CLOSED) {
            stream_take_eof(stream);
            break;
        }
        if (err) {
            stream->tls_failure = (uint8_t)tls_failure(stream->tls);
            stream_begin_close(stream, err);
            return;
        }
        stream_take_plain(stream, slice_of(buf, len));
    }
    if (stream->state != STREAM_DEAD) {
        stream_tls_collect(stream); /* key updates and the like */
    }
}

void stream_handshake_step(struct stream *stream)
{
    mx_err err = tls_handshake(stream->tls);
    stream_tls_collect(stream);
    if (stream->state == STREAM_DEAD || err == MX_ERR_AGAIN) {
        return;
    }
    if (err) {
        stream->tls_failure = (uint8_t)tls_failure(stream->tls);
        count_one(&stream_handshakes(stream)->failed[stream->tls_failure]);
        stream_begin_close(stream, err);
        return;
    }
    struct handshake_stats *stats = stream_handshakes(stream);
    count_one(tls_resumed(stream->tls) ? &stats->resumed : &stats->full);
    stream->state = STREAM_OPEN;
    if (stream->ops->ready != NULL) {
        stream->ops->ready(stream);
    }
    if (stream->state == STREAM_OPEN) {
        stream_tls_take(stream);
    }
}

void stream_start_tls(struct stream *stream, struct tls_ctx *ctx, struct slice host)
{
    MX_ASSERT(stream->tls == NULL && stream->state == STREAM_OPEN);
    if (stream->in_input) {
        stream->discard = true;
    } else {
        stream_park_release(stream);
    }
    mx_err err = stream->sock_eof ? MX_ERR_TLS : tls_new(&stream->tls, ctx, host);
    if (err) {
        stream_die(stream, err);
        return;
    }
    stream->paused = false;
    stream->tls_client = host.len > 0; /* a server has no host to go to */
    stream->state = STREAM_HANDSHAKE;
    stream_handshake_step(stream);
    stream_recv_arm(stream);
}

void stream_accept_tls(struct stream *stream, struct tls_ctx *ctx)
{
    stream->rest_is_tls = stream->in_input;
    stream_start_tls(stream, ctx, SLICE_EMPTY);
}
