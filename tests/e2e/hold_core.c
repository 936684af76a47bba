/* Preloaded into the server by the tests. While the file that HOLD_CORE names exists, the core that
 * half-closes a connection stands still there: a stalled core. While the file that FAIL_WRITES
 * names exists, synced writes of the journal fail. While the file that HOLD_ROOM names exists, file
 * systems do not say how much room they have. While the file that HOLD_COMMIT names exists, commits
 * of the registry do not end. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <liburing.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

enum { POLL_US = 2000 };

static int is_there(const char *variable)
{
    const char *file = getenv(variable);
    return file != NULL && access(file, F_OK) == 0;
}

int shutdown(int fd, int how)
{
    while (is_there("HOLD_CORE")) {
        (void)usleep(POLL_US);
    }
    return (int)syscall(SYS_shutdown, fd, how);
}

int fdatasync(int fd)
{
    while (is_there("HOLD_COMMIT")) {
        (void)usleep(POLL_US);
    }
    return (int)syscall(SYS_fdatasync, fd);
}

int statvfs(const char *path, struct statvfs *room)
{
    static int (*real)(const char *, struct statvfs *);
    while (is_there("HOLD_ROOM")) {
        (void)usleep(POLL_US);
    }
    *(void **)&real = dlsym(RTLD_NEXT, "statvfs");
    return real(path, room);
}

static int held_poll(struct pollfd *fds, nfds_t count, int timeout_ms)
{
    while (count == 1 && fds[0].fd == STDERR_FILENO && is_there("HOLD_LOG")) {
        (void)usleep(POLL_US);
    }
    return (int)syscall(SYS_poll, fds, count, timeout_ms);
}

int poll(struct pollfd *fds, nfds_t count, int timeout_ms)
{
    return held_poll(fds, count, timeout_ms);
}

/* As fortified programs call it. */
int __poll_chk(struct pollfd *fds, nfds_t count, int timeout_ms, size_t bytes)
{
    (void)bytes;
    return held_poll(fds, count, timeout_ms);
}

/* Of what waits to be submitted. */
static void spoil_writes(struct io_uring *ring)
{
    if (!is_there("FAIL_WRITES")) {
        return;
    }
    for (unsigned at = ring->sq.sqe_head; at != ring->sq.sqe_tail; at++) {
        struct io_uring_sqe *sqe = &ring->sq.sqes[at & *ring->sq.kring_mask];
        if (sqe->opcode == IORING_OP_WRITE && (sqe->rw_flags & RWF_DSYNC) != 0) {
            sqe->fd = -1;
        }
    }
}

/* The server waits with the first of these, or looks with the second. */
int io_uring_submit_and_wait_timeout(struct io_uring *ring, struct io_uring_cqe **cqe,
                                     unsigned wait_nr, struct __kernel_timespec *ts,
                                     sigset_t *sigmask)
{
    static int (*real)(struct io_uring *, struct io_uring_cqe **, unsigned,
                       struct __kernel_timespec *, sigset_t *);
    spoil_writes(ring);
    *(void **)&real = dlsym(RTLD_NEXT, "io_uring_submit_and_wait_timeout");
    return real(ring, cqe, wait_nr, ts, sigmask);
}

int io_uring_submit_and_get_events(struct io_uring *ring)
{
    static int (*real)(struct io_uring *);
    spoil_writes(ring);
    *(void **)&real = dlsym(RTLD_NEXT, "io_uring_submit_and_get_events");
    return real(ring);
}
