/* The only file that includes liburing. Built and run with liburing 2.3 on kernels from 6.1. */
#include "io/ring.h"

#include "core/check.h"
#include "core/count.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <liburing.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <sys/utsname.h>
#include <unistd.h>

enum {
    SQ_DEFAULT = 512,
    CQ_DEFAULT = 8192,
    BUFS_DEFAULT = 128,
    BUF_GROUP = 1,
    IOV_MAX_RING = 64,
    REFUSED_SLEEP_US = 1000,
    WORKERS_MAX = 4, /* io-wq threads of each kind */
    CLOSE_WAIT_MS = 10,
    CLOSE_WAITS_MAX = 1000,
};

_Static_assert(RING_ADDR_BYTES <= IOV_MAX_RING * sizeof(struct iovec), "an address fits in a slot");

enum op_kind { OP_ACCEPT = 1, OP_RECV, OP_SEND, OP_CONNECT, OP_READ, OP_WRITE };

struct ring {
    struct io_uring uring;
    struct io_uring_buf_ring *bufs;
    uint8_t
        *buf_memory; /* address space for RING_RECV_MAX buffers; memory is taken as it is used */
    size_t buf_ring_bytes, buf_memory_bytes;
    bool *buf_there;    /* the kernel has it, or whoever receives */
    unsigned buf_count; /* wanted: those with lower numbers */
    unsigned buf_bytes;
    unsigned buf_free;
    unsigned pending;
    bool closing;
    int wake_fd;
    uint64_t wake_value;
    struct op wake_op;
    /* Arguments of operations that were queued and not yet submitted: gather lists, addresses. The
     * kernel copies them at submission. As many as the submission queue has entries. */
    struct msghdr *messages;
    struct iovec (*vectors)[IOV_MAX_RING];
    unsigned vectors_used;
    unsigned vectors_count;
    struct ring_stats stats;
};

/* --- opening -----------------------------------------------------------------------------------
 */

static int queue_init(struct io_uring *uring, const struct ring_conf *conf)
{
    static const unsigned modes[] = {
        IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN, /* from 6.1 */
        IORING_SETUP_COOP_TASKRUN,
    };
    int result = -EINVAL;
    for (size_t i = 0; i < mx_countof(modes) && result == -EINVAL; i++) {
        struct io_uring_params params = {0};
        params.cq_entries = conf->cq_entries ? conf->cq_entries : CQ_DEFAULT;
        params.flags =
            IORING_SETUP_CQSIZE | IORING_SETUP_SUBMIT_ALL | IORING_SETUP_R_DISABLED | modes[i];
        result = io_uring_queue_init_params(conf->sq_entries ? conf->sq_entries : SQ_DEFAULT, uring,
                                            &params);
    }
    return result;
}

/* What the kernel does not know it calls invalid. */
static mx_err setup_error(int error)
{
    return error == EINVAL ? MX_ERR_UNSUPPORTED : err_from_errno(error);
}

static mx_err bufs_open(struct ring *ring, const struct ring_conf *conf)
{
    ring->buf_count = conf->recv_bufs ? conf->recv_bufs : BUFS_DEFAULT;
    ring->buf_bytes = conf->recv_buf_bytes ? conf->recv_buf_bytes : RING_RECV_BYTES;
    ring->buf_ring_bytes = RING_RECV_MAX * sizeof(struct io_uring_buf);
    void *map = mmap(NULL, ring->buf_ring_bytes, PROT_READ | PROT_WRITE,
                     MAP_ANONYMOUS | MAP_PRIVATE, -1, 0);
    if (map == MAP_FAILED) {
        return MX_ERR_NOMEM;
    }
    ring->bufs = map;
    ring->buf_there = calloc(RING_RECV_MAX, sizeof *ring->buf_there);
    size_t bytes = (size_t)RING_RECV_MAX * ring->buf_bytes;
    map = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_ANONYMOUS | MAP_PRIVATE | MAP_NORESERVE, -1,
               0);
    if (map == MAP_FAILED || ring->buf_there == NULL) {
        return MX_ERR_NOMEM;
    }
    ring->buf_memory = map;
    ring->buf_memory_bytes = bytes;
    struct io_uring_buf_reg reg = {.ring_addr = (uint64_t)(uintptr_t)ring->bufs,
                                   .ring_entries = RING_RECV_MAX,
                                   .bgid = BUF_GROUP};
    int result = io_uring_register_buf_ring(&ring->uring, &reg, 0);
    if (result < 0) {
        return setup_error(-result);
    }
    io_uring_buf_ring_init(ring->bufs);
    ring_recv_resize(ring, ring->buf_count);
    return MX_OK;
}

static void wake_arm(struct ring *ring);

static void wake_done(struct op *op, const struct op_result *result)
{
    struct ring *ring = mx_container_of(op, struct ring, wake_op);
    (void)result;
    if (!ring->closing) {
        wake_arm(ring);
    }
}

static void wake_arm(struct ring *ring)
{
    ring_read(ring, &ring->wake_op, ring->wake_fd, &ring->wake_value, sizeof ring->wake_value, 0);
}

/* The kernel's workers of the ring run where its thread may run. Otherwise a write of the journal
 * that needs one would queue behind whatever is busy on another CPU. Linux 5.14. */
static void workers_follow(struct ring *ring)
{
    cpu_set_t set;
    if (pthread_getaffinity_np(pthread_self(), sizeof set, &set) == 0) {
        (void)io_uring_register_iowq_aff(&ring->uring, sizeof set, &set);
    }
}

static mx_err parts_open(struct ring *ring, const struct ring_conf *conf)
{
    mx_err err = bufs_open(ring, conf);
    if (err) {
        return err;
    }
    unsigned workers[2] = {WORKERS_MAX, WORKERS_MAX};
    (void)io_uring_register_iowq_max_workers(&ring->uring, workers);
    workers_follow(ring);
    /* Saves a look-up per enter, where it is known. */
    (void)io_uring_register_ring_fd(&ring->uring);
    ring->vectors_count = ring->uring.sq.ring_entries; /* the kernel rounds up */
    ring->messages = calloc(ring->vectors_count, sizeof *ring->messages);
    ring->vectors = calloc(ring->vectors_count, sizeof *ring->vectors);
    ring->wake_fd = eventfd(0, EFD_CLOEXEC);
    if (ring->messages == NULL || ring->vectors == NULL || ring->wake_fd < 0) {
        return MX_ERR_NOMEM;
    }
    ring->wake_op.done = wake_done;
    wake_arm(ring);
    return MX_OK;
}

/* The ring does what this file asks of it and nothing else, for good: no opening, renaming or
 * unlinking of files, no sockets, no commands to other rings. A system call filter does not see
 * what a ring does. io_uring_register(2), IORING_REGISTER_RESTRICTIONS, Linux 5.10. */
static int restrict_and_enable(struct ring *ring)
{
    static const uint8_t requests[] = {
        IORING_OP_ACCEPT,  IORING_OP_RECV,         IORING_OP_SEND,
        IORING_OP_SENDMSG, IORING_OP_CONNECT,      IORING_OP_READ,
        IORING_OP_WRITE,   IORING_OP_ASYNC_CANCEL, IORING_OP_TIMEOUT};
    struct io_uring_restriction list[mx_countof(requests) + 2] = {{0}};
    unsigned count = 0;
    for (; count < mx_countof(requests); count++) {
        list[count].opcode = IORING_RESTRICTION_SQE_OP;
        list[count].sqe_op = requests[count];
    }
    list[count].opcode = IORING_RESTRICTION_SQE_FLAGS_ALLOWED;
    list[count++].sqe_flags = IOSQE_BUFFER_SELECT;
    list[count].opcode = IORING_RESTRICTION_REGISTER_OP; /* of io_uring_queue_exit */
    list[count++].register_op = IORING_UNREGISTER_RING_FDS;
    /* By system calls: liburing 2.3 has functions for both and does not export them. */
    int fd = ring->uring.ring_fd;
    if (syscall(SYS_io_uring_register, fd, IORING_REGISTER_RESTRICTIONS, list, count) != 0 ||
        syscall(SYS_io_uring_register, fd, IORING_REGISTER_ENABLE_RINGS, NULL, 0) != 0) {
        return -errno;
    }
    return 0;
}

mx_err ring_open(struct ring **out_ring, const struct ring_conf *conf)
{
    struct ring *ring = calloc(1, sizeof *ring);
    if (ring == NULL) {
        return MX_ERR_NOMEM;
    }
    ring->wake_fd = -1;
    int result = queue_init(&ring->uring, conf);
    if (result < 0) {
        free(ring);
        return setup_error(-result);
    }
    mx_err err = parts_open(ring, conf);
    if (!err) {
        result = restrict_and_enable(ring);
        err = result < 0 ? setup_error(-result) : MX_OK;
    }
    if (err) {
        ring_close(ring);
        return err;
    }
    *out_ring = ring;
    return MX_OK;
}

static void cancel_all(struct ring *ring)
{
    struct io_uring_sqe *sqe = io_uring_get_sqe(&ring->uring);
    if (sqe != NULL) {
        io_uring_prep_cancel(sqe, NULL, IORING_ASYNC_CANCEL_ANY | IORING_ASYNC_CANCEL_ALL);
        io_uring_sqe_set_data(sqe, NULL);
    }
}

void ring_close(struct ring *ring)
{
    if (ring == NULL) {
        return;
    }
    ring->closing = true;
    for (unsigned i = 0; ring->pending > 0 && i < CLOSE_WAITS_MAX; i++) {
        cancel_all(ring);
        ring_wait(ring, CLOSE_WAIT_MS * MX_NS_PER_MS);
        /* The answer to the cancel alone ends a wait; what cannot be cancelled (a write to a slow
         * disk) needs the time. */
        if (ring_reap(ring, UINT32_MAX) <= 1 && ring->pending > 0) {
            (void)usleep(CLOSE_WAIT_MS * 1000);
        }
    }
    io_uring_queue_exit(&ring->uring);
    if (ring->bufs != NULL) {
        (void)munmap(ring->bufs, ring->buf_ring_bytes);
    }
    if (ring->wake_fd >= 0) {
        (void)close(ring->wake_fd);
    }
    if (ring->buf_memory != NULL) {
        (void)munmap(ring->buf_memory, ring->buf_memory_bytes);
    }
    free(ring->buf_there);
    free(ring->messages);
    free(ring->vectors);
    free(ring);
}

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
    sqe->buf_group = BUF_GROUP;
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
    sqe->buf_group = BUF_GROUP;
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
    MX_ASSERT(count > 0 && count <= IOV_MAX_RING);
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

/* --- sockets -----------------------------------------------------------------------------------
 */

static mx_err last_error(void)
{
    return err_from_errno(errno);
}

struct ring_addr ring_addr_of(const struct netaddr *addr)
{
    struct ring_addr out = {.len = 0};
    if (addr->family == 4) {
        struct sockaddr_in in = {.sin_family = AF_INET, .sin_port = htons(addr->port)};
        memcpy(&in.sin_addr, addr->bytes, 4);
        memcpy(out.bytes, &in, sizeof in);
        out.len = sizeof in;
    } else if (addr->family == 6) {
        struct sockaddr_in6 in6 = {.sin6_family = AF_INET6, .sin6_port = htons(addr->port)};
        memcpy(&in6.sin6_addr, addr->bytes, 16);
        memcpy(out.bytes, &in6, sizeof in6);
        out.len = sizeof in6;
    }
    return out;
}

struct netaddr ring_addr_netaddr(const struct ring_addr *addr)
{
    struct netaddr out = {0};
    if (addr->len == sizeof(struct sockaddr_in)) {
        struct sockaddr_in in;
        memcpy(&in, addr->bytes, sizeof in);
        out.family = 4;
        out.port = ntohs(in.sin_port);
        memcpy(out.bytes, &in.sin_addr, 4);
    } else if (addr->len == sizeof(struct sockaddr_in6)) {
        struct sockaddr_in6 in6;
        memcpy(&in6, addr->bytes, sizeof in6);
        bool mapped = IN6_IS_ADDR_V4MAPPED(&in6.sin6_addr);
        out.family = mapped ? 4 : 6;
        out.port = ntohs(in6.sin6_port);
        memcpy(out.bytes, (const uint8_t *)&in6.sin6_addr + (mapped ? 12 : 0), mapped ? 4 : 16);
    }
    return out;
}

static void set_option(int fd, int level, int name, int value)
{
    (void)setsockopt(fd, level, name, &value, sizeof value); /* tuning: its absence is no error */
}

mx_err ring_listen(int *out_fd, const struct ring_listen_conf *conf)
{
    const struct sockaddr *addr = (const void *)conf->addr.bytes;
    int family = conf->addr.len == sizeof(struct sockaddr_in) ? AF_INET : AF_INET6;
    int fd = socket(family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0) {
        return last_error();
    }
    set_option(fd, SOL_SOCKET, SO_REUSEADDR, 1);
    if (conf->reuse_port) {
        set_option(fd, SOL_SOCKET, SO_REUSEPORT, 1);
    }
    if (conf->no_delay) {
        set_option(fd, IPPROTO_TCP, TCP_NODELAY, 1); /* inherited by accepted sockets */
    }
    if (conf->recv_buf_bytes > 0) {
        set_option(fd, SOL_SOCKET, SO_RCVBUF, (int)conf->recv_buf_bytes);
    }
    if (conf->send_buf_bytes > 0) {
        set_option(fd, SOL_SOCKET, SO_SNDBUF, (int)conf->send_buf_bytes);
    }
    if (bind(fd, addr, conf->addr.len) != 0 || listen(fd, (int)conf->backlog) != 0) {
        mx_err err = last_error();
        (void)close(fd);
        return err;
    }
    *out_fd = fd;
    return MX_OK;
}

mx_err ring_socket(int *out_fd, int family)
{
    int fd = socket(family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0) {
        return last_error();
    }
    set_option(fd, IPPROTO_TCP, TCP_NODELAY, 1);
    *out_fd = fd;
    return MX_OK;
}

mx_err ring_socket_from(int *out_fd, const struct ring_addr *from)
{
    struct sockaddr_storage storage = {0};
    memcpy(&storage, from->bytes, from->len);
    int fd = -1;
    mx_err err = ring_socket(&fd, storage.ss_family);
    if (err) {
        return err;
    }
    /* Otherwise bind would take a port that no connection to anywhere else may use. */
    set_option(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, 1);
    if (bind(fd, (struct sockaddr *)&storage, from->len) != 0) {
        err = last_error();
        close(fd);
        return err;
    }
    *out_fd = fd;
    return MX_OK;
}

mx_err ring_udp(int *out_fd, const struct ring_addr *to)
{
    struct sockaddr_storage storage = {0};
    memcpy(&storage, to->bytes, to->len);
    const struct sockaddr *addr = (const void *)&storage;
    int fd = socket(addr->sa_family, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0) {
        return last_error();
    }
    if (connect(fd, addr, to->len) != 0) {
        mx_err err = last_error();
        (void)close(fd);
        return err;
    }
    *out_fd = fd;
    return MX_OK;
}

static mx_err name_of(struct ring_addr *out, int fd,
                      int (*get)(int, struct sockaddr *, socklen_t *))
{
    struct sockaddr_storage storage;
    socklen_t len = sizeof storage;
    if (get(fd, (struct sockaddr *)&storage, &len) != 0) {
        return last_error();
    }
    if (len != sizeof(struct sockaddr_in) && len != sizeof(struct sockaddr_in6)) {
        return MX_ERR_UNSUPPORTED;
    }
    memcpy(out->bytes, &storage, len);
    out->len = (uint8_t)len;
    struct netaddr unmapped = ring_addr_netaddr(out);
    *out = ring_addr_of(&unmapped);
    return MX_OK;
}

mx_err ring_peer(struct ring_addr *out_peer, int fd)
{
    return name_of(out_peer, fd, getpeername);
}

mx_err ring_local(struct ring_addr *out_local, int fd)
{
    return name_of(out_local, fd, getsockname);
}

mx_err ring_accept_now(int *out_fd, int fd)
{
    int accepted = accept4(fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
    if (accepted < 0) {
        return last_error();
    }
    *out_fd = accepted;
    return MX_OK;
}

void ring_shutdown_write(int fd)
{
    (void)shutdown(fd, SHUT_WR);
}

void ring_close_fd(int fd)
{
    (void)close(fd);
}

/* --- probe -------------------------------------------------------------------------------------
 */

static int read_disabled(void)
{
    int fd = open("/proc/sys/kernel/io_uring_disabled", O_RDONLY | O_CLOEXEC);
    char digit = 0;
    if (fd < 0) {
        return -1;
    }
    ssize_t got = read(fd, &digit, 1);
    (void)close(fd);
    return got == 1 && digit >= '0' && digit <= '9' ? digit - '0' : -1;
}

static const char *advice_for(mx_err err, int disabled)
{
    switch (err) {
    case MX_ERR_PERMISSION:
        if (disabled == 2) {
            return "the kernel forbids io_uring: set sysctl kernel.io_uring_disabled=0, or 1 and "
                   "put the user into the group that kernel.io_uring_group names";
        }
        if (disabled == 1) {
            return "the kernel allows io_uring to privileged processes and one group only: put the "
                   "user into the group that sysctl kernel.io_uring_group names, or set "
                   "kernel.io_uring_disabled=0";
        }
        return "a seccomp filter or security module forbids io_uring: allow io_uring_setup, "
               "io_uring_enter and io_uring_register (the default profiles of container engines "
               "do not: give the container a seccomp profile of its own)";
    case MX_ERR_UNSUPPORTED:
        return "no usable io_uring: the kernel is older than 6.1 or built without it, or a seccomp "
               "filter hides it (allow io_uring_setup, io_uring_enter, io_uring_register)";
    case MX_ERR_NOMEM:
        return "not enough locked memory for the rings: raise RLIMIT_MEMLOCK (systemd: "
               "LimitMEMLOCK=infinity; shell: ulimit -l unlimited)";
    case MX_ERR_NOFILES:
        return "out of file descriptors: raise RLIMIT_NOFILE (systemd: LimitNOFILE=1048576)";
    default:
        return "io_uring could not be set up";
    }
}

static bool flag_works(unsigned flags)
{
    struct io_uring uring;
    struct io_uring_params params = {.flags = flags};
    if (io_uring_queue_init_params(4, &uring, &params) < 0) {
        return false;
    }
    io_uring_queue_exit(&uring);
    return true;
}

enum { PROBE_WAITS_MAX = 100 };

/* One operation of the trial and what came of it. */
struct probe_op {
    struct op op;
    struct ring *ring;
    mx_err err;
    unsigned bytes;
    uint8_t byte;
    unsigned accepted;
};

static void probe_done(struct op *op, const struct op_result *result)
{
    struct probe_op *probe = mx_container_of(op, struct probe_op, op);
    probe->err = result->err;
    if (result->has_buf) {
        probe->bytes = (unsigned)result->value;
        probe->byte = ring_recv_buf(probe->ring, result->buf_id)[0];
        ring_recv_return(probe->ring, result->buf_id);
    }
}

static void probe_accepted(struct op *op, const struct op_result *result)
{
    struct probe_op *probe = mx_container_of(op, struct probe_op, op);
    if (result->err == MX_OK) {
        probe->accepted += result->more;
        (void)close(result->value);
    }
}

static void probe_finish(struct ring *ring, struct probe_op *probe)
{
    ring_cancel(ring, &probe->op);
    for (unsigned i = 0; i < PROBE_WAITS_MAX && probe->op.pending; i++) {
        ring_wait(ring, 10 * MX_NS_PER_MS);
        (void)ring_reap(ring, 16);
    }
}

/* Sends a byte through a socket pair and receives it into a provided buffer. */
static bool exercise_recv(struct ring *ring)
{
    int pair[2];
    struct probe_op recv_op = {.op = {.done = probe_done}, .ring = ring};
    struct probe_op send_op = {.op = {.done = probe_done}, .ring = ring};
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) != 0) {
        return false;
    }
    ring_recv(ring, &recv_op.op, pair[1], true);
    ring_send(ring, &send_op.op, pair[0], SLICE_LITERAL("!"));
    for (unsigned i = 0; i < PROBE_WAITS_MAX && (recv_op.op.pending || send_op.op.pending); i++) {
        ring_wait(ring, 10 * MX_NS_PER_MS);
        (void)ring_reap(ring, 16);
    }
    probe_finish(ring, &recv_op);
    probe_finish(ring, &send_op);
    (void)close(pair[0]);
    (void)close(pair[1]);
    return recv_op.err == MX_OK && recv_op.bytes == 1 && recv_op.byte == '!';
}

/* Two connections to a socket without a name in the file system, by one accept. */
static bool exercise_accept(struct ring *ring)
{
    enum { COUNT = 2 };
    struct sockaddr_un addr = {.sun_family = AF_UNIX};
    socklen_t len = sizeof addr.sun_family; /* the kernel picks an abstract name */
    int listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct probe_op accept_op = {.op = {.done = probe_accepted}, .ring = ring};
    bool good = listener >= 0 && bind(listener, (struct sockaddr *)&addr, len) == 0 &&
                listen(listener, COUNT) == 0;
    len = sizeof addr;
    good = good && getsockname(listener, (struct sockaddr *)&addr, &len) == 0;
    int clients[COUNT] = {-1, -1};
    if (good) {
        ring_accept(ring, &accept_op.op, listener);
    }
    for (unsigned i = 0; good && i < COUNT; i++) {
        clients[i] = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
        good = clients[i] >= 0 && connect(clients[i], (struct sockaddr *)&addr, len) == 0;
    }
    for (unsigned i = 0;
         i < PROBE_WAITS_MAX && good && accept_op.op.pending && accept_op.accepted < COUNT; i++) {
        ring_wait(ring, 10 * MX_NS_PER_MS);
        (void)ring_reap(ring, 16);
    }
    probe_finish(ring, &accept_op);
    for (unsigned i = 0; i < COUNT; i++) {
        if (clients[i] >= 0) {
            (void)close(clients[i]);
        }
    }
    if (listener >= 0) {
        (void)close(listener);
    }
    return accept_op.accepted == COUNT;
}

static void probe_opcodes(struct ring_probe *out)
{
    struct io_uring_probe *probe = io_uring_get_probe();
    if (probe != NULL) {
        out->msg_ring = io_uring_opcode_supported(probe, IORING_OP_MSG_RING);
        out->send_zc = io_uring_opcode_supported(probe, IORING_OP_SEND_ZC);
        io_uring_free_probe(probe);
    }
}

static void probe_names(struct ring_probe *probe)
{
    struct utsname name;
    if (uname(&name) == 0) {
        (void)snprintf(probe->release, sizeof probe->release, "%s", name.release);
    }
    (void)snprintf(probe->liburing, sizeof probe->liburing, "%s", LIBURING_VERSION);
    probe->io_uring_disabled = read_disabled();
}

void ring_probe(struct ring_probe *out_probe)
{
    struct ring_probe probe = {.advice = ""};
    struct ring *ring = NULL;
    probe_names(&probe);
    probe.err = ring_open(&ring, &(struct ring_conf){0});
    if (probe.err == MX_OK) {
        probe.buf_ring = exercise_recv(ring);
        probe.accept_multishot = exercise_accept(ring);
        ring_close(ring);
        probe.single_issuer = flag_works(IORING_SETUP_SINGLE_ISSUER);
        probe.defer_taskrun = flag_works(IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN);
        probe_opcodes(&probe);
        probe.err = probe.buf_ring && probe.accept_multishot ? MX_OK : MX_ERR_UNSUPPORTED;
    }
    if (probe.err) {
        probe.advice = advice_for(probe.err, probe.io_uring_disabled);
    }
    *out_probe = probe;
}
