/* Preloaded for valgrind, which lets no other thread run while one waits in io_uring_enter: looks
 * again and again instead, and sleeps in between. See bench/count_cost.py. */
#define _GNU_SOURCE
#include <liburing.h>
#include <time.h>

enum { SLEEP_US = 200 };

int io_uring_submit_and_wait_timeout(struct io_uring *ring, struct io_uring_cqe **cqe,
                                     unsigned wait_nr, struct __kernel_timespec *ts,
                                     sigset_t *sigmask)
{
    long long left_us = ts == NULL ? 1000000 : ts->tv_sec * 1000000 + ts->tv_nsec / 1000;
    const struct timespec nap = {.tv_nsec = SLEEP_US * 1000};
    int result = io_uring_submit_and_get_events(ring);
    (void)cqe;
    (void)sigmask;
    while (wait_nr > 0 && io_uring_cq_ready(ring) == 0 && left_us > 0) {
        (void)nanosleep(&nap, NULL);
        left_us -= SLEEP_US;
        result = io_uring_submit_and_get_events(ring);
    }
    return result;
}
