#include "io/stream.h"

#include "core/check.h"
#include "core/count.h"
#include "io/shard.h"

#include <sys/socket.h>
#include <sys/uio.h>

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

enum { SEND_BLOCKS_MAX = 16, TLS_CHUNK_BYTES = 16 * 1024 };

_Static_assert(sizeof(struct stream) <= 320, "a session must fit into 1 KiB");

static void recv_arm(struct stream *stream);

/* --- life --------------------------------------------------------------------------------------
 */

static void make_ready(struct stream *stream)
{
    list_remove(&stream->ready_node);
    list_push_back(&stream->shard->streams_ready, &stream->ready_node);
}

static struct pool *park_pool(struct stream *stream)
{
    return stream->park_small ? &stream->shard->park_small : &stream->shard->park_blocks;
}

static void park_release(struct stream *stream)
{
    pool_release(park_pool(stream), stream->park);
    stream->park = NULL;
    stream->park_len = 0;
}

static struct handshake_stats *handshakes(const struct stream *stream)
{
    struct shard_stats *stats = &stream->shard->stats;
    return stream->tls_client ? &stats->client_tls : &stats->server_tls;
}

static void die(struct stream *stream, mx_err why)
{
    if (stream->state == STREAM_DEAD) {
        return;
    }
    if (stream->state == STREAM_HANDSHAKE) {
        count_one(&handshakes(stream)->failed[TLS_FAILURE_CLOSED]);
    }
    stream->state = STREAM_DEAD;
    stream->why = why;
    ring_cancel(stream->shard->ring, &stream->recv_op);
    ring_cancel(stream->shard->ring, &stream->send_op);
    wheel_cancel(&stream->shard->wheel, &stream->linger);
    make_ready(stream);
}

static void end_if_idle(struct stream *stream)
{
    if (stream->recv_op.pending || stream->send_op.pending) {
        return; /* their completions make it ready again */
    }
    list_remove(&stream->ready_node);
    list_remove(&stream->dirty_node);
    chain_clear(&stream->out, &stream->shard->blocks);
    park_release(stream);
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
    die(stream, stream->state == STREAM_CLOSING ? MX_ERR_TIMEOUT : stream->why);
}

/* All output is out: tell the peer, and wait for it a little, because closing with unread input
 * would turn into a reset that can destroy the last reply on its way. */
static void linger_begin(struct stream *stream)
{
    if (stream->sock_eof || stream->soon) {
        die(stream, stream->why);
        return;
    }
    ring_shutdown_write(stream->fd);
    stream->state = STREAM_LINGERING;
    stream->linger_left = STREAM_LINGER_BYTES;
    shard_after(stream->shard, &stream->linger, STREAM_LINGER_MS * MX_NS_PER_MS);
    recv_arm(stream);
}

/* --- output ------------------------------------------------------------------------------------
 */

static void make_dirty(struct stream *stream)
{
    if (!list_linked(&stream->dirty_node) && !stream->send_op.pending) {
        list_push_back(&stream->shard->streams_dirty, &stream->dirty_node);
    }
}

/* Moves waiting ciphertext to the output. */
static void tls_collect(struct stream *stream)
{
    uint8_t buf[TLS_CHUNK_BYTES];
    size_t len;
    while ((len = tls_drain(stream->tls, buf, sizeof buf)) > 0) {
        if (chain_append(&stream->out, &stream->shard->blocks, slice_of(buf, len)) != MX_OK) {
            die(stream, MX_ERR_NOMEM);
            return;
        }
    }
    if (stream->out.bytes > 0) {
        make_dirty(stream);
    }
}

/* From open: sends the rest of the output, then lingers. why is what ops->closed will be told. */
static void begin_close(struct stream *stream, mx_err why)
{
    if (stream->tls != NULL && why == MX_OK) {
        tls_shutdown(stream->tls);
    }
    if (stream->tls != NULL) {
        tls_collect(stream); /* the close_notify, or the alert that tells what was wrong */
    }
    if (stream->state == STREAM_DEAD) {
        return;
    }
    stream->state = STREAM_CLOSING;
    stream->why = why;
    if (!stream->in_input) {
        park_release(stream); /* else the owner is looking at it */
    }
    stream->linger.fire = linger_fire;
    shard_after(stream->shard, &stream->linger, STREAM_FLUSH_MS * MX_NS_PER_MS);
    if (stream->out.bytes == 0 && !stream->send_op.pending) {
        linger_begin(stream);
    }
}

static void send_done(struct op *op, const struct op_result *result)
{
    struct stream *stream = mx_container_of(op, struct stream, send_op);
    if (stream->state == STREAM_DEAD) {
        make_ready(stream);
        return;
    }
    if (result->err) {
        die(stream, result->err);
        return;
    }
    chain_consume(&stream->out, &stream->shard->blocks, (size_t)result->value);
    stream->bytes_out += (uint64_t)result->value;
    count_add(&stream->shard->stats.bytes_out, (uint64_t)result->value);
    stream->active_ns = stream->shard->now_ns;
    if (stream->out.bytes > 0) {
        make_dirty(stream);
    } else if (stream->state == STREAM_CLOSING) {
        linger_begin(stream);
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
        tls_collect(stream);
        return stream->state == STREAM_DEAD ? MX_ERR_NOMEM : MX_OK;
    }
    mx_err err = chain_append(&stream->out, &stream->shard->blocks, bytes);
    if (!err) {
        make_dirty(stream);
    }
    return err;
}

size_t stream_room(const struct stream *stream)
{
    return stream->out.bytes >= STREAM_OUT_MAX ? 0 : STREAM_OUT_MAX - stream->out.bytes;
}

/* --- input -------------------------------------------------------------------------------------
 */

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
    park_release(stream);
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
        park_release(stream);
        return;
    }
    uint8_t *slot = NULL;
    if (!stream->park_small && rest.len <= STREAM_PARK_SMALL_BYTES) {
        slot = pool_acquire(&stream->shard->park_small);
    }
    if (slot != NULL) {
        memcpy(slot, rest.ptr, rest.len);
        park_release(stream);
        stream->park = slot;
        stream->park_small = true;
    } else {
        memmove(stream->park, rest.ptr, rest.len);
    }
    stream->park_len = (uint32_t)rest.len;
}

/* Shows bytes to the owner; what it leaves is returned. Empty when it closed or threw its input
 * away. */
static struct slice offer(struct stream *stream, struct slice bytes)
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
        die(stream, MX_ERR_TLS);
    } else if (feed) {
        make_ready(stream); /* not from within here */
    }
    return keep ? rest : SLICE_EMPTY;
}

static void offer_park(struct stream *stream)
{
    park_keep(stream, offer(stream, slice_of(stream->park, stream->park_len)));
}

/* Plaintext that has just arrived. */
static void take_plain(struct stream *stream, struct slice bytes)
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
        die(stream, err);
    }
}

static void take_eof(struct stream *stream)
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

static bool park_has_room(const struct stream *stream)
{
    return stream->park_len + RING_RECV_BYTES <= STREAM_PARK_BYTES;
}

/* Open, not paused, and the owner did not ask for a break. */
static bool may_offer(const struct stream *stream)
{
    return stream->state == STREAM_OPEN && !stream->paused && !stream->again;
}

/* Decrypts what has arrived, as long as the owner takes it. */
static void tls_take(struct stream *stream)
{
    uint8_t buf[TLS_CHUNK_BYTES];
    while (may_offer(stream) && park_has_room(stream) && !stream->eof_told) {
        size_t len = 0;
        mx_err err = tls_read(stream->tls, &len, buf, sizeof buf);
        if (err == MX_ERR_AGAIN) {
            break;
        }
        if (err == MX_ERR_CLOSED) {
            take_eof(stream);
            break;
        }
        if (err) {
            begin_close(stream, err);
            return;
        }
        take_plain(stream, slice_of(buf, len));
    }
    if (stream->state != STREAM_DEAD) {
        tls_collect(stream); /* key updates and the like */
    }
}

/* After the owner has seen input: offers the rest again, ends, or receives more. */
static void settle(struct stream *stream)
{
    if (stream->state == STREAM_OPEN && !stream->paused) {
        bool rest = stream->park_len > 0 || stream->tls != NULL;
        if (stream->again && rest) {
            make_ready(stream);
            return;
        }
        stream->again = false;
        if (!park_has_room(stream)) {
            die(stream, MX_ERR_LIMIT); /* the owner neither consumes nor pauses */
            return;
        }
        if (stream->sock_eof) {
            take_eof(stream);
        }
    }
    recv_arm(stream);
}

static void handshake_step(struct stream *stream)
{
    mx_err err = tls_handshake(stream->tls);
    tls_collect(stream);
    if (stream->state == STREAM_DEAD || err == MX_ERR_AGAIN) {
        return;
    }
    if (err) {
        stream->tls_failure = (uint8_t)tls_failure(stream->tls);
        count_one(&handshakes(stream)->failed[stream->tls_failure]);
        begin_close(stream, err);
        return;
    }
    struct handshake_stats *stats = handshakes(stream);
    count_one(tls_resumed(stream->tls) ? &stats->resumed : &stats->full);
    stream->state = STREAM_OPEN;
    if (stream->ops->ready != NULL) {
        stream->ops->ready(stream);
    }
    if (stream->state == STREAM_OPEN) {
        tls_take(stream);
    }
}

static void take(struct stream *stream, struct slice bytes)
{
    stream->bytes_in += bytes.len;
    count_add(&stream->shard->stats.bytes_in, bytes.len);
    stream->active_ns = stream->shard->now_ns;
    switch (stream->state) {
    case STREAM_OPEN:
        if (stream->tls == NULL) {
            take_plain(stream, bytes);
        } else if (tls_feed(stream->tls, bytes) != MX_OK) {
            die(stream, MX_ERR_TLS);
        } else {
            tls_take(stream);
        }
        break;
    case STREAM_HANDSHAKE:
        if (tls_feed(stream->tls, bytes) != MX_OK) {
            die(stream, MX_ERR_TLS);
        } else {
            handshake_step(stream);
        }
        break;
    case STREAM_LINGERING:
        if (bytes.len >= stream->linger_left) {
            die(stream, stream->why);
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
        die(stream, MX_ERR_TLS);
    } else if (stream->state == STREAM_LINGERING) {
        die(stream, stream->why);
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
        make_ready(stream);
    } else if (result->err == MX_ERR_AGAIN) {
        list_remove(&stream->ready_node);
        list_push_back(&stream->shard->streams_starved, &stream->ready_node);
    } else if (result->err) {
        /* What breaks after our last byte was acknowledged or is on its way is not our concern. */
        die(stream, stream->state == STREAM_LINGERING ? stream->why : result->err);
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

static void recv_arm(struct stream *stream)
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

static void go_on(struct stream *stream)
{
    if (stream->state == STREAM_DEAD) {
        end_if_idle(stream);
        return;
    }
    stream->again = false;
    if (stream->state == STREAM_HANDSHAKE) {
        handshake_step(stream);
    }
    if (may_offer(stream) && stream->park_len > 0) {
        offer_park(stream);
    }
    if (may_offer(stream) && stream->tls != NULL) {
        tls_take(stream);
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
    recv_arm(stream);
}

static void connect_done(struct op *op, const struct op_result *result)
{
    struct stream *stream = mx_container_of(op, struct stream, send_op);
    if (stream->state == STREAM_DEAD) {
        make_ready(stream);
        return;
    }
    if (result->err) {
        die(stream, result->err);
        return;
    }
    stream->state = STREAM_OPEN;
    stream->active_ns = stream->shard->now_ns;
    if (stream->ops->ready != NULL) {
        stream->ops->ready(stream);
    }
    recv_arm(stream);
}

void stream_connect_fd(struct stream *stream, struct shard *shard, const struct stream_ops *ops,
                       const struct ring_addr *to, int fd)
{
    begin(stream, shard, ops, fd, STREAM_CONNECTING);
    if (fd < 0) {
        die(stream, MX_ERR_NOFILES);
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
        die(stream, err);
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
        die(stream, err);
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
        make_ready(stream);
    } else {
        recv_arm(stream);
    }
}

void stream_start_tls(struct stream *stream, struct tls_ctx *ctx, struct slice host)
{
    MX_ASSERT(stream->tls == NULL && stream->state == STREAM_OPEN);
    if (stream->in_input) {
        stream->discard = true;
    } else {
        park_release(stream);
    }
    mx_err err = stream->sock_eof ? MX_ERR_TLS : tls_new(&stream->tls, ctx, host);
    if (err) {
        die(stream, err);
        return;
    }
    stream->paused = false;
    stream->tls_client = host.len > 0; /* a server has no host to go to */
    stream->state = STREAM_HANDSHAKE;
    handshake_step(stream);
    recv_arm(stream);
}

void stream_accept_tls(struct stream *stream, struct tls_ctx *ctx)
{
    stream->rest_is_tls = stream->in_input;
    stream_start_tls(stream, ctx, SLICE_EMPTY);
}

void stream_close(struct stream *stream)
{
    if (stream->state == STREAM_CONNECTING || stream->state == STREAM_HANDSHAKE) {
        die(stream, MX_ERR_CANCELLED);
    } else if (stream->state == STREAM_OPEN) {
        begin_close(stream, MX_OK);
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
        die(stream, stream->why);
    } else {
        stream_close(stream);
    }
}

void stream_abort(struct stream *stream, mx_err why)
{
    die(stream, why);
}
