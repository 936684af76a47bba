/* The ring at work: submitting, completing, operations. Only files of this name (io/ring_uring*)
 * include liburing. Built and run with liburing 2.3 on kernels from 6.1. */
#include "io/ring_uring_private.h"

#include "core/check.h"
#include "core/count.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum { REFUSED_SLEEP_US = 1000 };

enum op_kind { OP_ACCEPT = 1, OP_RECV, OP_SEND, OP_CONNECT, OP_READ, OP_WRITE };

/* --- submitting --------------------------------------------------------------------------------
 */

static void note_submitted(struct ring *ring)
{
    if (io_uring_sq_ready(&ring->uring) == 0) {
        ring->vectors_used = 0;
    }
}

/* Submits all that is queued. A submit takes every entry unless the kernel is out of memory for the
 * moment; then the entries stay in the queue, which is the bounded backlog, and a short pause lets
 * it recover. Events are asked for so that finished requests give their memory back. */
static void submit_all(struct ring *ring)
{
    for (;;) {
        int result = io_uring_submit_and_get_events(&ring->uring);
        MX_ASSERT(result != -EEXIST); /* the ring of another thread */
        count_one(&ring->stats.enters);
        note_submitted(ring);
        if (io_uring_sq_ready(&ring->uring) == 0) {
            return;
        }
        (void)usleep(REFUSED_SLEEP_US);
    }
}

static struct io_uring_sqe *take_sqe(struct ring *ring)
{
    struct io_uring_sqe *sqe = io_uring_get_sqe(&ring->uring);
    if (sqe == NULL) {
        submit_all(ring);
        sqe = io_uring_get_sqe(&ring->uring);
        MX_ASSERT(sqe != NULL);
    }
    return sqe;
}

/* The index of a free argument slot, good until the next submission. */
static unsigned take_vector(struct ring *ring)
{
    if (ring->vectors_used == ring->vectors_count || io_uring_sq_space_left(&ring->uring) == 0) {
        submit_all(ring); /* before the slot is taken: submitting gives all slots back */
    }
    return ring->vectors_used++;
}

static struct io_uring_sqe *begin(struct ring *ring, struct op *op, enum op_kind kind)
{
    MX_ASSERT(op->done != NULL && !op->pending);
    struct io_uring_sqe *sqe = take_sqe(ring);
    op->pending = true;
    op->kind = (uint8_t)kind;
    ring->pending++;
    count_one(&ring->stats.submissions);
    return sqe;
}

void ring_wait(struct ring *ring, uint64_t timeout_ns)
{
    struct io_uring_cqe *cqe;
    count_one(&ring->stats.enters);
    if (MX_UNLIKELY(io_uring_cq_has_overflow(&ring->uring))) {
        count_one(&ring->stats.overflowed); /* this enter makes the kernel put them in the queue */
    }
    if (timeout_ns == 0) {
        /* Completions appear only on entering the kernel with GETEVENTS. */
        (void)io_uring_submit_and_get_events(&ring->uring);
    } else if (timeout_ns == UINT64_MAX) {
        (void)io_uring_submit_and_wait(&ring->uring, 1);
    } else {
        struct __kernel_timespec ts = {.tv_sec = (long long)(timeout_ns / MX_NS_PER_S),
                                       .tv_nsec = (long long)(timeout_ns % MX_NS_PER_S)};
        (void)io_uring_submit_and_wait_timeout(&ring->uring, &cqe, 1, &ts, NULL);
    }
    note_submitted(ring);
}

static struct op_result translate(const struct op *op, const struct io_uring_cqe *cqe)
{
    struct op_result result = {.value = cqe->res > 0 ? cqe->res : 0};
    if (cqe->res < 0) {
        result.err = err_from_errno(-cqe->res);
    }
    result.more = (cqe->flags & IORING_CQE_F_MORE) != 0;
    result.sock_more = (cqe->flags & IORING_CQE_F_SOCK_NONEMPTY) != 0;
    if (op->kind == OP_RECV && (cqe->flags & IORING_CQE_F_BUFFER) != 0) {
        result.has_buf = true;
        result.buf_id = (uint16_t)(cqe->flags >> IORING_CQE_BUFFER_SHIFT);
    }
    return result;
}

unsigned ring_reap(struct ring *ring, unsigned max)
{
    unsigned count = 0;
    struct io_uring_cqe *cqe;
    while (count < max && io_uring_peek_cqe(&ring->uring, &cqe) == 0) {
        struct op *op = io_uring_cqe_get_data(cqe);
        count++;
        if (op == NULL) { /* a cancel request */
            io_uring_cqe_seen(&ring->uring, cqe);
            continue;
        }
        struct op_result result = translate(op, cqe);
        int cqe_error = cqe->res;
        io_uring_cqe_seen(&ring->uring, cqe);
        ring->buf_free -= result.has_buf;
        if (cqe_error == -ENOBUFS) {
            count_one(&ring->stats.no_buffer);
        }
        if (!result.more) {
            op->pending = false;
            ring->pending--;
        }
        op->done(op, &result);
    }
    count_add(&ring->stats.completions, count);
    return count;
}

void ring_wake(struct ring *ring)
{
    uint64_t one = 1;
    ssize_t written = write(ring->wake_fd, &one, sizeof one);
    (void)written; /* full = it is awake already */
}

unsigned ring_pending(const struct ring *ring)
{
    return ring->pending - ring->wake_op.pending;
}

void ring_stats(const struct ring *ring, struct ring_stats *out_stats)
{
    *out_stats = ring->stats;
    out_stats->pending = ring_pending(ring);
    out_stats->recv_free = ring->buf_free;
    out_stats->recv_count = ring->buf_count;
}

/* --- operations --------------------------------------------------------------------------------
 */

void ring_accept(struct ring *ring, struct op *op, int fd)
{
    struct io_uring_sqe *sqe = begin(ring, op, OP_ACCEPT);
    io_uring_prep_multishot_accept(sqe, fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
    io_uring_sqe_set_data(sqe, op);
}

void ring_recv(struct ring *ring, struct op *op, int fd, bool poll_first)
{
    struct io_uring_sqe *sqe = begin(ring, op, OP_RECV);
    io_uring_prep_recv(sqe, fd, NULL, ring->buf_bytes, 0);
    sqe->flags |= IOSQE_BUFFER_SELECT;
    sqe->buf_group = RING_BUF_GROUP;
    if (poll_first) {
        sqe->ioprio |= IORING_RECVSEND_POLL_FIRST;
    }
    io_uring_sqe_set_data(sqe, op);
}

void ring_recv_multishot(struct ring *ring, struct op *op, int fd)
{
    struct io_uring_sqe *sqe = begin(ring, op, OP_RECV);
    io_uring_prep_recv_multishot(sqe, fd, NULL, 0, 0);
    sqe->flags |= IOSQE_BUFFER_SELECT;
    sqe->buf_group = RING_BUF_GROUP;
    io_uring_sqe_set_data(sqe, op);
}

const uint8_t *ring_recv_buf(const struct ring *ring, uint16_t buf_id)
{
    MX_ASSERT(buf_id < RING_RECV_MAX);
    return ring->buf_memory + (size_t)buf_id * ring->buf_bytes;
}

static void buf_give(struct ring *ring, unsigned buf_id)
{
    io_uring_buf_ring_add(ring->bufs, ring->buf_memory + (size_t)buf_id * ring->buf_bytes,
                          ring->buf_bytes, (uint16_t)buf_id, io_uring_buf_ring_mask(RING_RECV_MAX),
                          0);
    io_uring_buf_ring_advance(ring->bufs, 1);
    ring->buf_free++;
}

/* One that is too many. Its memory goes as far as its pages are its own. */
static void buf_drop(struct ring *ring, unsigned buf_id)
{
    size_t page = 4096;
    size_t from = (size_t)mx_round_up((uint64_t)buf_id * ring->buf_bytes, page);
    size_t to = ((size_t)buf_id + 1) * ring->buf_bytes / page * page;
    ring->buf_there[buf_id] = false;
    if (from < to) {
        (void)madvise(ring->buf_memory + from, to - from, MADV_DONTNEED);
    }
}

void ring_recv_return(struct ring *ring, uint16_t buf_id)
{
    if (MX_UNLIKELY(buf_id >= ring->buf_count)) {
        buf_drop(ring, buf_id);
    } else {
        buf_give(ring, buf_id);
    }
}

void ring_recv_resize(struct ring *ring, unsigned count)
{
    MX_ASSERT(count > 0 && count <= RING_RECV_MAX);
    ring->buf_count = count;
    for (unsigned i = 0; i < count; i++) {
        if (!ring->buf_there[i]) {
            ring->buf_there[i] = true;
            buf_give(ring, i);
        }
    }
}

unsigned ring_recv_free(const struct ring *ring)
{
    return ring->buf_free;
}

void ring_send(struct ring *ring, struct op *op, int fd, struct slice bytes)
{
    struct io_uring_sqe *sqe = begin(ring, op, OP_SEND);
    io_uring_prep_send(sqe, fd, bytes.ptr, bytes.len, MSG_WAITALL | MSG_NOSIGNAL);
    io_uring_sqe_set_data(sqe, op);
}

void ring_sendv(struct ring *ring, struct op *op, int fd, const struct iovec *iov, unsigned count)
{
    MX_ASSERT(count > 0 && count <= RING_IOV_MAX);
    unsigned index = take_vector(ring);
    struct io_uring_sqe *sqe = begin(ring, op, OP_SEND);
    struct msghdr *message = &ring->messages[index];
    memcpy(ring->vectors[index], iov, count * sizeof *iov);
    *message = (struct msghdr){.msg_iov = ring->vectors[index], .msg_iovlen = count};
    io_uring_prep_sendmsg(sqe, fd, message, MSG_WAITALL | MSG_NOSIGNAL);
    io_uring_sqe_set_data(sqe, op);
}

void ring_connect(struct ring *ring, struct op *op, int fd, const struct sockaddr *addr,
                  unsigned addr_len)
{
    MX_ASSERT(addr_len <= RING_ADDR_BYTES);
    unsigned index = take_vector(ring);
    struct io_uring_sqe *sqe = begin(ring, op, OP_CONNECT);
    memcpy(ring->vectors[index], addr, addr_len);
    io_uring_prep_connect(sqe, fd, (const void *)ring->vectors[index], addr_len);
    io_uring_sqe_set_data(sqe, op);
}

void ring_read(struct ring *ring, struct op *op, int fd, void *buf, uint32_t len, uint64_t offset)
{
    struct io_uring_sqe *sqe = begin(ring, op, OP_READ);
    io_uring_prep_read(sqe, fd, buf, len, offset);
    io_uring_sqe_set_data(sqe, op);
}

void ring_write(struct ring *ring, struct op *op, int fd, const void *buf, uint32_t len,
                uint64_t offset, bool dsync)
{
    struct io_uring_sqe *sqe = begin(ring, op, OP_WRITE);
    io_uring_prep_write(sqe, fd, buf, len, offset);
    sqe->rw_flags = dsync ? RWF_DSYNC : 0;
    io_uring_sqe_set_data(sqe, op);
}

void ring_cancel(struct ring *ring, struct op *op)
{
    if (!op->pending) {
        return;
    }
    struct io_uring_sqe *sqe = take_sqe(ring);
    io_uring_prep_cancel(sqe, op, 0);
    io_uring_sqe_set_data(sqe, NULL);
}
