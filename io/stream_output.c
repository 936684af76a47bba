#include "io/stream_private.h"

#include "core/count.h"

#include <sys/uio.h>

enum { SEND_BLOCKS_MAX = 16 };

static void send_done(struct op *op, const struct op_result *result)
{
    struct stream *stream = mx_container_of(op, struct stream, send_op);
    if (stream->state == STREAM_DEAD) {
        stream_make_ready(stream);
        return;
    }
    if (result->err) {
        stream_die(stream, result->err);
        return;
    }
    chain_consume(&stream->out, &stream->shard->blocks, (size_t)result->value);
    stream->bytes_out += (uint64_t)result->value;
    count_add(&stream->shard->stats.bytes_out, (uint64_t)result->value);
    stream->active_ns = stream->shard->now_ns;
    if (stream->out.bytes > 0) {
        stream_make_dirty(stream);
    } else if (stream->state == STREAM_CLOSING) {
        stream_linger_begin(stream);
    }
    if (stream->want_drained && stream->out.bytes <= STREAM_OUT_LOW &&
        stream->state == STREAM_OPEN) {
        stream->want_drained = false;
        stream->ops->drained(stream);
    }
}

static void send_start(struct stream *stream)
{
    struct iovec iov[SEND_BLOCKS_MAX];
    unsigned count = 0;
    for (const struct block *b = stream->out.head; b != NULL && count < SEND_BLOCKS_MAX;
         b = b->next) {
        struct slice part = block_slice(b);
        iov[count++] = (struct iovec){.iov_base = (void *)(uintptr_t)part.ptr, .iov_len = part.len};
    }
    stream->send_op.done = send_done;
    if (count == 1) {
        ring_send(stream->shard->ring, &stream->send_op, stream->fd, block_slice(stream->out.head));
    } else {
        ring_sendv(stream->shard->ring, &stream->send_op, stream->fd, iov, count);
    }
}

void streams_flush(struct shard *shard)
{
    struct list_node *node;
    while ((node = list_pop_front(&shard->streams_dirty)) != NULL) {
        struct stream *stream = mx_container_of(node, struct stream, dirty_node);
        if (stream->state != STREAM_DEAD && !stream->send_op.pending && stream->out.bytes > 0) {
            send_start(stream);
        }
    }
}

mx_err stream_write(struct stream *stream, struct slice bytes)
{
    if (stream->state != STREAM_OPEN) {
        return MX_ERR_CLOSED;
    }
    if (stream->out.bytes + bytes.len > STREAM_OUT_MAX) {
        stream->want_drained = stream->ops->drained != NULL;
        return MX_ERR_AGAIN;
    }
    if (stream->tls != NULL) {
        mx_err err = tls_write(stream->tls, bytes);
        if (err) {
            return err;
        }
        stream_tls_collect(stream);
        return stream->state == STREAM_DEAD ? MX_ERR_NOMEM : MX_OK;
    }
    mx_err err = chain_append(&stream->out, &stream->shard->blocks, bytes);
    if (!err) {
        stream_make_dirty(stream);
    }
    return err;
}

size_t stream_room(const struct stream *stream)
{
    return stream->out.bytes >= STREAM_OUT_MAX ? 0 : STREAM_OUT_MAX - stream->out.bytes;
}
