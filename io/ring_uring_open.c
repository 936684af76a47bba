/* Making a ring with its receive buffers, and its end. */
#include "io/ring_uring_private.h"

#include "core/check.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

enum {
    SQ_DEFAULT = 512,
    CQ_DEFAULT = 8192,
    BUFS_DEFAULT = 128,
    WORKERS_MAX = 4, /* io-wq threads of each kind */
    CLOSE_WAIT_MS = 10,
    CLOSE_WAITS_MAX = 1000,
};

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
                                   .bgid = RING_BUF_GROUP};
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
