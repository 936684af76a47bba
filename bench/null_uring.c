/* One ring, multishot accept and receive, provided buffers, one send per connection and turn. */
#include "bench/null.h"

#include "core/check.h"
#include "core/pool.h"

#include <errno.h>
#include <liburing.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
    SQ_ENTRIES = 1024,
    CQ_ENTRIES = 16384,
    BUF_COUNT = 512, /* a power of two */
    BUF_GROUP = 1,
    BATCH_MAX = 1024,
    TAG_MASK = 3,
};

/* In the low bits of user_data; the rest is the connection. */
enum tag { TAG_RECV, TAG_SEND, TAG_CLOSE, TAG_ACCEPT };

struct conn {
    struct null_peer peer;
    struct conn *next; /* in the list of this turn */
    int fd;
    uint8_t pending; /* operations */
    bool receiving, sending, listed, closing, dead;
    size_t sent_len;
    uint8_t sent[NULL_OUT_BYTES]; /* being sent */
};

struct loop {
    struct null_server *server;
    struct io_uring ring;
    struct io_uring_buf_ring *bufs;
    uint8_t *memory;
    unsigned returned; /* buffers put back since the last advance */
    struct pool conns;
    struct conn *listed;
    bool accepting;
};

static struct io_uring_sqe *take_sqe(struct loop *loop, unsigned wanted)
{
    if (io_uring_sq_space_left(&loop->ring) < wanted) { /* a chain is submitted as a whole */
        (void)io_uring_submit(&loop->ring);
    }
    struct io_uring_sqe *sqe = io_uring_get_sqe(&loop->ring);
    MX_ASSERT(sqe != NULL);
    return sqe;
}

static void set_data(struct io_uring_sqe *sqe, struct conn *conn, enum tag tag)
{
    io_uring_sqe_set_data64(sqe, (uint64_t)(uintptr_t)conn | tag);
    conn->pending++;
}

static void arm_accept(struct loop *loop)
{
    struct io_uring_sqe *sqe = take_sqe(loop, 1);
    io_uring_prep_multishot_accept(sqe, loop->server->listen_fd, NULL, NULL, 0);
    io_uring_sqe_set_data64(sqe, TAG_ACCEPT);
    loop->accepting = true;
}

static void arm_recv(struct loop *loop, struct conn *conn)
{
    struct io_uring_sqe *sqe = take_sqe(loop, 1);
    io_uring_prep_recv_multishot(sqe, conn->fd, NULL, 0, 0);
    sqe->flags |= IOSQE_BUFFER_SELECT;
    sqe->buf_group = BUF_GROUP;
    sqe->ioprio |= IORING_RECVSEND_POLL_FIRST;
    set_data(sqe, conn, TAG_RECV);
    conn->receiving = true;
}

static void list(struct loop *loop, struct conn *conn)
{
    if (!conn->listed) {
        conn->listed = true;
        conn->next = loop->listed;
        loop->listed = conn;
    }
}

static void put_buffer(struct loop *loop, unsigned id)
{
    io_uring_buf_ring_add(loop->bufs, loop->memory + (size_t)id * NULL_RECV_BYTES, NULL_RECV_BYTES,
                          (uint16_t)id, io_uring_buf_ring_mask(BUF_COUNT), (int)loop->returned++);
}

/* --- what has happened -------------------------------------------------------------------------
 */

static void accepted(struct loop *loop, const struct io_uring_cqe *cqe)
{
    loop->accepting = (cqe->flags & IORING_CQE_F_MORE) != 0;
    struct conn *conn = cqe->res >= 0 ? pool_acquire(&loop->conns) : NULL;
    if (conn == NULL) {
        loop->server->dropped++;
        if (cqe->res >= 0) {
            (void)close(cqe->res);
        }
        return;
    }
    loop->server->connections++;
    conn->fd = cqe->res;
    conn->pending = 0;
    conn->receiving = conn->sending = conn->listed = conn->closing = conn->dead = false;
    null_peer_begin(&conn->peer);
    list(loop, conn);
}

static void received(struct loop *loop, struct conn *conn, const struct io_uring_cqe *cqe)
{
    if ((cqe->flags & IORING_CQE_F_MORE) == 0) {
        conn->receiving = false;
        conn->pending--;
    }
    if (cqe->res > 0) {
        unsigned id = cqe->flags >> IORING_CQE_BUFFER_SHIFT;
        struct slice in = slice_of(loop->memory + (size_t)id * NULL_RECV_BYTES, (size_t)cqe->res);
        if (!conn->dead && !null_peer_input(&conn->peer, loop->server, in)) {
            conn->dead = true;
            loop->server->dropped++;
        }
        put_buffer(loop, id);
    } else if (cqe->res != -ENOBUFS) {
        conn->dead = true;
    }
    list(loop, conn);
}

static void handle(struct loop *loop, const struct io_uring_cqe *cqe)
{
    uint64_t data = cqe->user_data;
    struct conn *conn = (void *)(uintptr_t)(data & ~(uint64_t)TAG_MASK);
    enum tag tag = data & TAG_MASK;
    if (tag == TAG_ACCEPT) {
        accepted(loop, cqe);
    } else if (conn == NULL) {
        return; /* a cancel that found nothing */
    } else if (tag == TAG_RECV) {
        received(loop, conn, cqe);
    } else {
        conn->pending--;
        if (tag == TAG_SEND) {
            conn->sending = false;
            conn->dead = conn->dead || cqe->res != (int)conn->sent_len;
        }
        list(loop, conn);
    }
}

/* --- what follows from it ----------------------------------------------------------------------
 */

/* After the last reply, without another turn: the receive is cancelled, because it would keep the
 * socket open, and the socket closed. Cancel and close run whether or not the send has failed. */
static void start_close(struct loop *loop, struct conn *conn)
{
    conn->closing = true;
    if (conn->receiving) {
        struct io_uring_sqe *sqe = take_sqe(loop, 2);
        io_uring_prep_cancel64(sqe, (uint64_t)(uintptr_t)conn | TAG_RECV, 0);
        io_uring_sqe_set_data64(sqe, TAG_SEND);
        sqe->flags |= IOSQE_IO_HARDLINK | IOSQE_CQE_SKIP_SUCCESS;
    }
    struct io_uring_sqe *sqe = take_sqe(loop, 1);
    io_uring_prep_close(sqe, conn->fd);
    set_data(sqe, conn, TAG_CLOSE);
}

static void start_send(struct loop *loop, struct conn *conn)
{
    struct io_uring_sqe *sqe = take_sqe(loop, 3);
    memcpy(conn->sent, conn->peer.out, conn->peer.out_len);
    conn->sent_len = conn->peer.out_len;
    conn->peer.out_len = 0;
    io_uring_prep_send(sqe, conn->fd, conn->sent, conn->sent_len, MSG_WAITALL | MSG_NOSIGNAL);
    set_data(sqe, conn, TAG_SEND);
    conn->sending = true;
    if (conn->peer.quit) {
        sqe->flags |= IOSQE_IO_HARDLINK;
        start_close(loop, conn);
    }
}

static void release(struct loop *loop, struct conn *conn)
{
    loop->server->messages += conn->peer.session.messages;
    tls_free(conn->peer.tls);
    pool_release(&loop->conns, conn);
}

static void go_on(struct loop *loop, struct conn *conn)
{
    conn->listed = false;
    if (conn->closing) {
        if (conn->pending == 0) {
            release(loop, conn);
        }
        return;
    }
    if (conn->dead) {
        start_close(loop, conn);
        return;
    }
    if (conn->peer.out_len > 0 && !conn->sending) {
        start_send(loop, conn);
    }
    if (!conn->closing && !conn->receiving) {
        arm_recv(loop, conn);
    }
}

static void turn(struct loop *loop)
{
    struct io_uring_cqe *cqe;
    unsigned head, count = 0;
    if (!loop->accepting) {
        arm_accept(loop);
    }
    (void)io_uring_submit_and_wait(&loop->ring, 1);
    io_uring_for_each_cqe(&loop->ring, head, cqe)
    {
        handle(loop, cqe);
        if (++count == BATCH_MAX) {
            break;
        }
    }
    io_uring_cq_advance(&loop->ring, count);
    io_uring_buf_ring_advance(loop->bufs, (int)loop->returned);
    loop->returned = 0;
    while (loop->listed != NULL) {
        struct conn *conn = loop->listed;
        loop->listed = conn->next;
        go_on(loop, conn);
    }
}

/* --- opening -----------------------------------------------------------------------------------
 */

static int open_ring(struct loop *loop)
{
    struct io_uring_params params = {.cq_entries = CQ_ENTRIES,
                                     .flags = IORING_SETUP_CQSIZE | IORING_SETUP_SUBMIT_ALL |
                                              IORING_SETUP_SINGLE_ISSUER |
                                              IORING_SETUP_DEFER_TASKRUN};
    int result = io_uring_queue_init_params(SQ_ENTRIES, &loop->ring, &params);
    if (result < 0) {
        return -result;
    }
    (void)io_uring_register_ring_fd(&loop->ring);
    void *map = mmap(NULL, BUF_COUNT * sizeof(struct io_uring_buf), PROT_READ | PROT_WRITE,
                     MAP_ANONYMOUS | MAP_PRIVATE, -1, 0);
    loop->memory = aligned_alloc(4096, (size_t)BUF_COUNT * NULL_RECV_BYTES);
    if (map == MAP_FAILED || loop->memory == NULL) {
        return ENOMEM;
    }
    loop->bufs = map;
    struct io_uring_buf_reg reg = {
        .ring_addr = (uint64_t)(uintptr_t)map, .ring_entries = BUF_COUNT, .bgid = BUF_GROUP};
    result = io_uring_register_buf_ring(&loop->ring, &reg, 0);
    if (result < 0) {
        return -result;
    }
    io_uring_buf_ring_init(loop->bufs);
    for (unsigned i = 0; i < BUF_COUNT; i++) {
        put_buffer(loop, i);
    }
    io_uring_buf_ring_advance(loop->bufs, (int)loop->returned);
    loop->returned = 0;
    return 0;
}

int null_run_uring(struct null_server *server)
{
    static struct loop loop; /* the process ends with it */
    loop.server = server;
    if (pool_init(&loop.conns, "null", sizeof(struct conn), NULL_CONNS_MAX) != MX_OK) {
        return ENOMEM;
    }
    int error = open_ring(&loop);
    while (error == 0 && !*server->stop) {
        turn(&loop);
    }
    return error;
}
