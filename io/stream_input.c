#include "io/stream_private.h"

#include "core/check.h"
#include "core/count.h"

static struct pool *park_pool(struct stream *stream)
{
    return stream->park_small ? &stream->shard->park_small : &stream->shard->park_blocks;
}

void stream_park_release(struct stream *stream)
{
    pool_release(park_pool(stream), stream->park);
    stream->park = NULL;
    stream->park_len = 0;
}

/* Makes room for len parked bytes. MX_ERR_NOMEM when there is no slot, MX_ERR_LIMIT when the owner
 * does not consume although the park is full. */
static mx_err park_reserve(struct stream *stream, size_t len)
{
    if (len > STREAM_PARK_BYTES) {
        return MX_ERR_LIMIT;
    }
    bool small = len <= STREAM_PARK_SMALL_BYTES;
    if (stream->park != NULL && (small || !stream->park_small)) {
        return MX_OK;
    }
    uint8_t *slot = small ? pool_acquire(&stream->shard->park_small) : NULL;
    if (slot == NULL) {
        small = false;
        slot = pool_acquire(&stream->shard->park_blocks);
    }
    if (slot == NULL) {
        return MX_ERR_NOMEM;
    }
    size_t kept = stream->park_len;
    if (kept > 0) {
        memcpy(slot, stream->park, kept);
    }
    stream_park_release(stream);
    stream->park = slot;
    stream->park_len = (uint32_t)kept;
    stream->park_small = small;
    return MX_OK;
}

/* Keeps bytes that the owner has not consumed. */
static mx_err park_append(struct stream *stream, struct slice bytes)
{
    if (bytes.len == 0) {
        return MX_OK;
    }
    mx_err err = park_reserve(stream, stream->park_len + bytes.len);
    if (!err) {
        memcpy(stream->park + stream->park_len, bytes.ptr, bytes.len);
        stream->park_len += (uint32_t)bytes.len;
    }
    return err;
}

/* Keeps only the end of the park; what fits into a small slot moves there, if there is one. */
static void park_keep(struct stream *stream, struct slice rest)
{
    if (rest.len == 0) {
        stream_park_release(stream);
        return;
    }
    uint8_t *slot = NULL;
    if (!stream->park_small && rest.len <= STREAM_PARK_SMALL_BYTES) {
        slot = pool_acquire(&stream->shard->park_small);
    }
    if (slot != NULL) {
        memcpy(slot, rest.ptr, rest.len);
        stream_park_release(stream);
        stream->park = slot;
        stream->park_small = true;
    } else {
        memmove(stream->park, rest.ptr, rest.len);
    }
    stream->park_len = (uint32_t)rest.len;
}

/* Shows bytes to the owner; what it leaves is returned. Empty when it closed or threw its input
 * away. */
static inline struct slice offer(struct stream *stream, struct slice bytes)
{
    stream->in_input = true;
    stream->again = false;
    size_t used = stream->ops->input(stream, bytes);
    stream->in_input = false;
    MX_ASSERT(used <= bytes.len);
    struct slice rest = slice_from(bytes, used);
    bool keep = stream->state == STREAM_OPEN && !stream->discard;
    bool feed = stream->state == STREAM_HANDSHAKE && stream->rest_is_tls && rest.len > 0;
    stream->discard = stream->rest_is_tls = false;
    if (feed && tls_feed(stream->tls, rest) != MX_OK) {
        stream_die(stream, MX_ERR_TLS);
    } else if (feed) {
        stream_make_ready(stream); /* not from within here */
    }
    return keep ? rest : SLICE_EMPTY;
}

static void offer_park(struct stream *stream)
{
    park_keep(stream, offer(stream, slice_of(stream->park, stream->park_len)));
}

void stream_take_plain(struct stream *stream, struct slice bytes)
{
    mx_err err;
    if (stream->paused || stream->park_len > 0) {
        err = park_append(stream, bytes);
        if (!err && !stream->paused) {
            offer_park(stream);
        }
    } else {
        struct slice rest = offer(stream, bytes);
        err = park_append(stream, rest);
    }
    if (err) {
        stream_die(stream, err);
    }
}

void stream_take_eof(struct stream *stream)
{
    if (stream->eof_told) {
        return;
    }
    stream->eof_told = true;
    if (stream->ops->eof != NULL) {
        stream->ops->eof(stream);
    } else {
        stream_close(stream);
    }
}

static void recv_done(struct op *op, const struct op_result *result);

static inline void recv_arm(struct stream *stream)
{
    bool wanted = stream->state == STREAM_LINGERING || stream->state == STREAM_HANDSHAKE ||
                  (stream->state == STREAM_OPEN && !stream->paused && !stream->eof_told);
    if (wanted && !stream->sock_eof && !stream->recv_op.pending &&
        !list_linked(&stream->ready_node)) {
        stream->recv_op.done = recv_done;
        if (stream->multishot) {
            ring_recv_multishot(stream->shard->ring, &stream->recv_op, stream->fd);
        } else {
            ring_recv(stream->shard->ring, &stream->recv_op, stream->fd, !stream->sock_more);
        }
    }
}

/* After the owner has seen input: offers the rest again, ends, or receives more. */
static void settle(struct stream *stream)
{
    if (stream->state == STREAM_OPEN && !stream->paused) {
        bool rest = stream->park_len > 0 || stream->tls != NULL;
        if (stream->again && rest) {
            stream_make_ready(stream);
            return;
        }
        stream->again = false;
        if (!stream_park_has_room(stream)) {
            stream_die(stream, MX_ERR_LIMIT); /* the owner neither consumes nor pauses */
            return;
        }
        if (stream->sock_eof) {
            stream_take_eof(stream);
        }
    }
    recv_arm(stream);
}

static void take(struct stream *stream, struct slice bytes)
{
    stream->bytes_in += bytes.len;
    count_add(&stream->shard->stats.bytes_in, bytes.len);
    stream->active_ns = stream->shard->now_ns;
    switch (stream->state) {
    case STREAM_OPEN:
        if (stream->tls == NULL) {
            stream_take_plain(stream, bytes);
        } else if (tls_feed(stream->tls, bytes) != MX_OK) {
            stream_die(stream, MX_ERR_TLS);
        } else {
            stream_tls_take(stream);
        }
        break;
    case STREAM_HANDSHAKE:
        if (tls_feed(stream->tls, bytes) != MX_OK) {
            stream_die(stream, MX_ERR_TLS);
        } else {
            stream_handshake_step(stream);
        }
        break;
    case STREAM_LINGERING:
        if (bytes.len >= stream->linger_left) {
            stream_die(stream, stream->why);
        } else {
            stream->linger_left -= (uint32_t)bytes.len;
        }
        break;
    default:
        break;
    }
}

/* The socket has no more input. */
static void take_sock_eof(struct stream *stream)
{
    stream->sock_eof = true;
    stream->sock_more = false;
    if (stream->state == STREAM_HANDSHAKE) {
        stream_die(stream, MX_ERR_TLS);
    } else if (stream->state == STREAM_LINGERING) {
        stream_die(stream, stream->why);
    }
}

/* The buffer is the ring's, and nobody else looks at it until it is given back. */
static void wipe(const uint8_t *buf, size_t len)
{
    explicit_bzero((uint8_t *)(uintptr_t)buf, len);
}

static void recv_done(struct op *op, const struct op_result *result)
{
    struct stream *stream = mx_container_of(op, struct stream, recv_op);
    struct ring *ring = stream->shard->ring;
    if (stream->state == STREAM_DEAD) {
        stream_make_ready(stream);
    } else if (result->err == MX_ERR_AGAIN) {
        list_remove(&stream->ready_node);
        list_push_back(&stream->shard->streams_starved, &stream->ready_node);
    } else if (result->err) {
        /* What breaks after our last byte was acknowledged or is on its way is not our concern. */
        stream_die(stream, stream->state == STREAM_LINGERING ? stream->why : result->err);
    } else if (result->value == 0) {
        take_sock_eof(stream);
    } else {
        stream->sock_more = result->sock_more;
        take(stream, slice_of(ring_recv_buf(ring, result->buf_id), (size_t)result->value));
    }
    if (result->has_buf) {
        if (stream->shard->conf.wipe && !result->err) {
            wipe(ring_recv_buf(ring, result->buf_id), (size_t)result->value);
        }
        ring_recv_return(ring, result->buf_id);
    }
    settle(stream);
}

void stream_recv_arm(struct stream *stream)
{
    recv_arm(stream);
}

static void go_on(struct stream *stream)
{
    if (stream->state == STREAM_DEAD) {
        stream_end_if_idle(stream);
        return;
    }
    stream->again = false;
    if (stream->state == STREAM_HANDSHAKE) {
        stream_handshake_step(stream);
    }
    if (stream_may_offer(stream) && stream->park_len > 0) {
        offer_park(stream);
    }
    if (stream_may_offer(stream) && stream->tls != NULL) {
        stream_tls_take(stream);
    }
    settle(stream);
}

void streams_run_ready(struct shard *shard)
{
    struct list ready;
    list_init(&ready);
    list_splice(&ready, &shard->streams_ready);
    struct list_node *node;
    while ((node = list_pop_front(&ready)) != NULL) {
        go_on(mx_container_of(node, struct stream, ready_node));
    }
}

void streams_feed_starved(struct shard *shard)
{
    struct list_node *node;
    unsigned free_bufs = ring_recv_free(shard->ring);
    while (free_bufs-- > 0 && (node = list_pop_front(&shard->streams_starved)) != NULL) {
        recv_arm(mx_container_of(node, struct stream, ready_node));
    }
}
