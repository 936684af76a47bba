/* io/work.h: workers are fibers, so that jobs meet the cores at every file operation. */
#include "io/work.h"

#include "core/check.h"
#include "io/shard.h"
#include "tests/sim/sim.h"

#include <stdlib.h>

enum { WORKERS_MAX = 4 };

struct queue {
    struct work_job *jobs[WORK_QUEUE_MAX];
    unsigned head, count;
};

struct worker {
    struct work_pool *pool;
    struct queue todo, done;
    unsigned pending;
    bool wake, ended;
};

struct work_pool {
    struct shard *shard;
    unsigned count;
    bool closing;
    struct worker workers[WORKERS_MAX];
};

static void push(struct queue *queue, struct work_job *job)
{
    MX_ASSERT(queue->count < WORK_QUEUE_MAX);
    queue->jobs[(queue->head + queue->count++) % WORK_QUEUE_MAX] = job;
}

static struct work_job *pop(struct queue *queue)
{
    if (queue->count == 0) {
        return NULL;
    }
    struct work_job *job = queue->jobs[queue->head];
    queue->head = (queue->head + 1) % WORK_QUEUE_MAX;
    queue->count--;
    return job;
}

static void worker_run(void *arg)
{
    struct worker *worker = arg;
    struct work_pool *pool = worker->pool;
    for (;;) {
        struct work_job *job = pop(&worker->todo);
        if (job != NULL) {
            fiber_wait(sim.now_ns + sim_scale(0, 1000000), NULL);
            job->run(job);
            push(&worker->done, job);
            ring_wake(pool->shard->ring);
        } else if (pool->closing) {
            worker->ended = true;
            return;
        } else {
            worker->wake = false;
            fiber_wait(UINT64_MAX, &worker->wake);
        }
    }
}

mx_err work_open(struct work_pool **out_pool, struct shard *shard, unsigned workers)
{
    MX_ASSERT(workers <= WORKERS_MAX);
    struct work_pool *pool = calloc(1, sizeof *pool);
    pool->shard = shard;
    pool->count = workers;
    for (unsigned i = 0; i < workers; i++) {
        pool->workers[i].pool = pool;
        (void)fiber_new(worker_run, &pool->workers[i], "worker");
    }
    *out_pool = pool;
    return MX_OK;
}

void work_close(struct work_pool *pool)
{
    if (pool == NULL) {
        return;
    }
    pool->closing = true;
    for (unsigned i = 0; i < pool->count; i++) {
        pool->workers[i].wake = true;
        while (!pool->workers[i].ended) {
            fiber_wait(UINT64_MAX, &pool->workers[i].ended);
        }
    }
    work_reap(pool);
    free(pool);
}

mx_err work_submit(struct work_pool *pool, struct work_job *job, unsigned lane)
{
    struct worker *worker = &pool->workers[lane % pool->count];
    if (pool->closing) {
        return MX_ERR_SHUTDOWN;
    }
    if (worker->pending >= WORK_QUEUE_MAX ||
        (worker->pending > 0 && sim.faults && sim_chance(10))) {
        return MX_ERR_AGAIN;
    }
    push(&worker->todo, job);
    worker->pending++;
    worker->wake = true;
    return MX_OK;
}

void work_reap(struct work_pool *pool)
{
    for (unsigned i = 0; i < pool->count; i++) {
        struct work_job *job;
        while ((job = pop(&pool->workers[i].done)) != NULL) {
            pool->workers[i].pending--;
            job->done(job);
        }
    }
}

bool work_ready(struct work_pool *pool)
{
    for (unsigned i = 0; i < pool->count; i++) {
        if (pool->workers[i].done.count > 0) {
            return true;
        }
    }
    return false;
}

unsigned work_pending(const struct work_pool *pool)
{
    unsigned pending = 0;
    for (unsigned i = 0; i < pool->count; i++) {
        pending += pool->workers[i].pending;
    }
    return pending;
}
