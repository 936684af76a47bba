/* The management worker: one thread with a bounded queue of jobs from the management loop. What may
 * take long or block runs here, one job after the other: API methods and the store behind them,
 * compiling, publishing, password hashes.
 *
 * A job is embedded in its owner, which stays until done has been called on the loop. */
#pragma once

#include "core/list.h"
#include "io/mbox.h"

struct worker;

struct worker_job {
    void (*run)(struct worker_job *job);  /* on the worker; may block */
    void (*done)(struct worker_job *job); /* back on the loop */
    bool again;          /* set by run: to be run once more, behind the jobs that wait by then */
    struct mbox_msg msg; /* the rest is private */
    struct list_node node;
    struct worker *worker;
};

/* Work of the worker's own, between jobs. True: there is more, come again when the jobs that wait
 * are done; messages of the cores are taken meanwhile. */
struct worker_idle {
    bool (*run)(void *arg);
    void *arg;
    struct mbox_msg msg; /* private */
    struct worker *worker;
};

enum {
    WORKER_JOBS_MAX = 64,        /* waiting or running */
    WORKER_NICE = 5,             /* a quarter of a CPU that a core keeps busy */
    WORKER_SLICE_NS = 100000000, /* the longest: whoever wakes beside it is let in front */
};

/* Starts the thread. It has the number `index` in the hub, the loop has `loop`. */
MX_MUST_CHECK mx_err worker_open(struct worker **out_worker, struct mbox_hub *hub, unsigned index,
                                 unsigned loop);
/* From the loop's thread, once: idle stays until worker_close. */
void worker_set_idle(struct worker *worker, struct worker_idle *idle);
/* From the loop's thread. MX_ERR_AGAIN: the queue is full, the job was not taken. */
MX_MUST_CHECK mx_err worker_submit(struct worker *worker, struct worker_job *job);
/* Jobs submitted and not yet done. */
unsigned worker_pending(const struct worker *worker);
/* On the worker, from within a job: takes messages of the cores; waits for one at most timeout_ms.
 */
void worker_wait(struct worker *worker, unsigned timeout_ms);
/* From the loop's thread, with no job pending: ends the thread. NULL is fine. */
void worker_close(struct worker *worker);
