/* Blocking jobs on worker threads, for what the ring cannot do without blocking: Maildir delivery,
 * making journal segments, name look-ups. Part of the simulation seam (work_threads.c): the
 * simulator runs jobs at moments of its choice.
 *
 * Each core has its own workers and hands them jobs over bounded single-producer rings: no locks. A
 * job is embedded in its owner, which stays alive until done has been called on the core. */
#pragma once

#include "core/err.h"

struct shard;
struct work_pool;

struct work_job {
    void (*run)(struct work_job *job);  /* on a worker thread; may block; touches only the job */
    void (*done)(struct work_job *job); /* back on the core */
};

enum { WORK_QUEUE_MAX = 256 }; /* jobs waiting per worker */

/* Starts `workers` threads that report to this shard. */
MX_MUST_CHECK mx_err work_open(struct work_pool **out_pool, struct shard *shard, unsigned workers);
/* Waits for running jobs, runs queued ones, calls their done, joins the threads. A done function
 * that submits a further job meanwhile gets MX_ERR_SHUTDOWN. */
void work_close(struct work_pool *pool);
/* lane chooses the worker (lane % workers): jobs of one lane run in order. MX_ERR_AGAIN when that
 * worker's queue is full, MX_ERR_SHUTDOWN in work_close: the job was not taken. */
MX_MUST_CHECK mx_err work_submit(struct work_pool *pool, struct work_job *job, unsigned lane);
/* Delivers finished jobs to their done functions; called by the shard's loop. */
void work_reap(struct work_pool *pool);
/* True when a finished job waits for work_reap. */
bool work_ready(struct work_pool *pool);
/* Jobs submitted and not yet done. */
unsigned work_pending(const struct work_pool *pool);
