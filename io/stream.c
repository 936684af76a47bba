#include "io/stream_private.h"

#include "core/check.h"
#include "core/count.h"

#include <sys/socket.h>

_Static_assert(sizeof(struct stream) <= 320, "a session must fit into 1 KiB");

void stream_die(struct stream *stream, mx_err why)
{
    if (stream->state == STREAM_DEAD) {
        return;
    }
    if (stream->state == STREAM_HANDSHAKE) {
        count_one(&stream_handshakes(stream)->failed[TLS_FAILURE_CLOSED]);
    }
    stream->state = STREAM_DEAD;
    stream->why = why;
    ring_cancel(stream->shard->ring, &stream->recv_op);
    ring_cancel(stream->shard->ring, &stream->send_op);
    wheel_cancel(&stream->shard->wheel, &stream->linger);
    stream_make_ready(stream);
}

void stream_end_if_idle(struct stream *stream)
{
    if (stream->recv_op.pending || stream->send_op.pending) {
        return; /* their completions make it ready again */
    }
    list_remove(&stream->ready_node);
    list_remove(&stream->dirty_node);
    chain_clear(&stream->out, &stream->shard->blocks);
    stream_park_release(stream);
    tls_free(stream->tls);
    stream->tls = NULL;
    if (stream->fd >= 0) {
        ring_close_fd(stream->fd);
        stream->fd = -1;
    }
    stream->ops->closed(stream, stream->why);
}

static void linger_fire(struct timer *timer, uint64_t now_ns)
{
    struct stream *stream = mx_container_of(timer, struct stream, linger);
    (void)now_ns;
    stream_die(stream, stream->state == STREAM_CLOSING ? MX_ERR_TIMEOUT : stream->why);
}

/* All output is out: tell the peer, and wait for it a little, because closing with unread input
 * would turn into a reset that can destroy the last reply on its way. */
void stream_linger_begin(struct stream *stream)
{
    if (stream->sock_eof || stream->soon) {
        stream_die(stream, stream->why);
        return;
    }
    ring_shutdown_write(stream->fd);
    stream->state = STREAM_LINGERING;
    stream->linger_left = STREAM_LINGER_BYTES;
    shard_after(stream->shard, &stream->linger, STREAM_LINGER_MS * MX_NS_PER_MS);
    stream_recv_arm(stream);
}

void stream_begin_close(struct stream *stream, mx_err why)
{
    if (stream->tls != NULL && why == MX_OK) {
        tls_shutdown(stream->tls);
    }
    if (stream->tls != NULL) {
        stream_tls_collect(stream); /* the close_notify, or the alert that tells what was wrong */
    }
    if (stream->state == STREAM_DEAD) {
        return;
    }
    stream->state = STREAM_CLOSING;
    stream->why = why;
    if (!stream->in_input) {
        stream_park_release(stream); /* else the owner is looking at it */
    }
    stream->linger.fire = linger_fire;
    shard_after(stream->shard, &stream->linger, STREAM_FLUSH_MS * MX_NS_PER_MS);
    if (stream->out.bytes == 0 && !stream->send_op.pending) {
        stream_linger_begin(stream);
    }
}

/* --- for the owner -----------------------------------------------------------------------------
 */

static void begin(struct stream *stream, struct shard *shard, const struct stream_ops *ops, int fd,
                  enum stream_state state)
{
    *stream = (struct stream){.ops = ops, .shard = shard, .fd = fd, .state = (uint8_t)state};
    stream->active_ns = shard->now_ns;
}

void stream_open(struct stream *stream, struct shard *shard, const struct stream_ops *ops, int fd)
{
    begin(stream, shard, ops, fd, STREAM_OPEN);
    stream_recv_arm(stream);
}

static void connect_done(struct op *op, const struct op_result *result)
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
    stream->state = STREAM_OPEN;
    stream->active_ns = stream->shard->now_ns;
    if (stream->ops->ready != NULL) {
        stream->ops->ready(stream);
    }
    stream_recv_arm(stream);
}

void stream_connect_fd(struct stream *stream, struct shard *shard, const struct stream_ops *ops,
                       const struct ring_addr *to, int fd)
{
    begin(stream, shard, ops, fd, STREAM_CONNECTING);
    if (fd < 0) {
        stream_die(stream, MX_ERR_NOFILES);
        return;
    }
    stream->send_op.done = connect_done;
    ring_connect(shard->ring, &stream->send_op, fd, (const void *)to->bytes, to->len);
}

void stream_connect(struct stream *stream, struct shard *shard, const struct stream_ops *ops,
                    const struct ring_addr *to)
{
    int fd = -1;
    const struct sockaddr *addr = (const void *)to->bytes;
    mx_err err = ring_socket(&fd, addr->sa_family);
    if (err) {
        begin(stream, shard, ops, -1, STREAM_CONNECTING);
        stream_die(stream, err);
        return;
    }
    stream_connect_fd(stream, shard, ops, to, fd);
}

void stream_connect_from(struct stream *stream, struct shard *shard, const struct stream_ops *ops,
                         const struct ring_addr *to, const struct netaddr *from)
{
    if (from->family == 0) {
        stream_connect(stream, shard, ops, to);
        return;
    }
    int fd = -1;
    struct ring_addr bind_to = ring_addr_of(from);
    mx_err err = ring_socket_from(&fd, &bind_to);
    if (err) {
        begin(stream, shard, ops, -1, STREAM_CONNECTING);
        stream_die(stream, err);
        return;
    }
    stream_connect_fd(stream, shard, ops, to, fd);
}

bool stream_receives(const struct stream *stream)
{
    return stream->recv_op.pending;
}

void stream_pause(struct stream *stream)
{
    stream->paused = true;
}

void stream_resume(struct stream *stream)
{
    stream->paused = false;
    if (stream->state != STREAM_OPEN) {
        return;
    }
    if (stream->in_input) {
        stream->again = true;
    } else if (stream->park_len > 0 || stream->tls != NULL || stream->sock_eof) {
        stream_make_ready(stream);
    } else {
        stream_recv_arm(stream);
    }
}

void stream_close(struct stream *stream)
{
    if (stream->state == STREAM_CONNECTING || stream->state == STREAM_HANDSHAKE) {
        stream_die(stream, MX_ERR_CANCELLED);
    } else if (stream->state == STREAM_OPEN) {
        stream_begin_close(stream, MX_OK);
    }
}

void stream_part(struct stream *stream)
{
    /* The peer of a TLS connection ends that, too, and may do so before it reads our last words. */
    stream->soon = stream->tls == NULL && !stream->sock_more && stream->park_len == 0;
    stream_close(stream);
}

void stream_close_soon(struct stream *stream)
{
    stream->soon = true;
    if (stream->state == STREAM_LINGERING) {
        stream_die(stream, stream->why);
    } else {
        stream_close(stream);
    }
}

void stream_abort(struct stream *stream, mx_err why)
{
    stream_die(stream, why);
}
