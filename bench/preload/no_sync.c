/* Preloaded into a server by bench/compare, for analysis alone: what is written need not be
 * durable. Takes RWF_DSYNC out of every write on its way into a ring, and syncs nothing else. It is
 * a library of the benchmarks and not a switch of the server, so that no server in use can lack
 * durability by mistake. */
#include <dlfcn.h>
#include <liburing.h>
#include <sys/uio.h>
#include <unistd.h>

static void take_sync_out(struct io_uring *ring)
{
    struct io_uring_sq *sq = &ring->sq;
    for (unsigned at = sq->sqe_head; at != sq->sqe_tail; at++) {
        struct io_uring_sqe *sqe = &sq->sqes[at & sq->ring_mask];
        if (sqe->opcode == IORING_OP_WRITE) {
            sqe->rw_flags &= ~RWF_DSYNC;
        }
    }
}

int io_uring_submit_and_get_events(struct io_uring *ring)
{
    int (*next)(struct io_uring *) = dlsym(RTLD_NEXT, "io_uring_submit_and_get_events");
    take_sync_out(ring);
    return next(ring);
}

int io_uring_submit_and_wait(struct io_uring *ring, unsigned wait_nr)
{
    int (*next)(struct io_uring *, unsigned) = dlsym(RTLD_NEXT, "io_uring_submit_and_wait");
    take_sync_out(ring);
    return next(ring, wait_nr);
}

int io_uring_submit_and_wait_timeout(struct io_uring *ring, struct io_uring_cqe **cqe_ptr,
                                     unsigned wait_nr, struct __kernel_timespec *ts,
                                     sigset_t *sigmask)
{
    int (*next)(struct io_uring *, struct io_uring_cqe **, unsigned, struct __kernel_timespec *,
                sigset_t *) = dlsym(RTLD_NEXT, "io_uring_submit_and_wait_timeout");
    take_sync_out(ring);
    return next(ring, cqe_ptr, wait_nr, ts, sigmask);
}

int fsync(int fd)
{
    (void)fd;
    return 0;
}

int fdatasync(int fd)
{
    (void)fd;
    return 0;
}
