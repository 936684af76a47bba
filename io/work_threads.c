#include "io/work.h"

#include "core/check.h"
#include "core/spsc.h"
#include "io/shard.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct worker {
    struct spsc todo;
    struct spsc done;
    sem_t wake;
    sem_t ready;
    pthread_t thread;
    struct ring *ring; /* of the shard: to wake it */
    unsigned pending;  /* submitted and not reaped; the shard's side */
    atomic_bool stop;
    bool started;
    char name[16];
};

struct work_pool {
    unsigned count;
    bool closing;
    struct worker workers[];
};

static void *worker_main(void *arg)
{
    struct worker *worker = arg;
    /* The allocator sets a thread up at its first allocation, and jemalloc does not survive that
     * without memory: so at once, and not at the first job. */
    void *volatile first = malloc(1);
    free(first);
    /* Only a thread itself can do that where nothing is written outside the data folder: the name
     * of another one is a file in /proc. */
    (void)pthread_setname_np(pthread_self(), worker->name);
    sem_post(&worker->ready);
    for (;;) {
        while (sem_wait(&worker->wake) != 0) {
            MX_ASSERT(errno == EINTR);
        }
        struct work_job *job = spsc_pop(&worker->todo);
        if (job == NULL) {
            MX_ASSERT(atomic_load(&worker->stop));
            return NULL;
        }
        job->run(job);
        bool pushed = spsc_push(&worker->done, job);
        MX_ASSERT(pushed); /* as many cells as jobs can be pending */
        ring_wake(worker->ring);
    }
}

/* A core is pinned to its CPU; what blocks should run wherever another one is free: on any CPU of
 * the process's main thread. */
static void unpin(pthread_attr_t *attr)
{
    cpu_set_t set;
    if (sched_getaffinity(getpid(), sizeof set, &set) == 0) {
        (void)pthread_attr_setaffinity_np(attr, sizeof set, &set);
    }
}

static mx_err worker_start(struct worker *worker, struct shard *shard, unsigned index)
{
    worker->ring = shard->ring;
    (void)snprintf(worker->name, sizeof worker->name, "ringmx-w%u.%u", shard->conf.id % 1000,
                   index % 100);
    mx_err err = spsc_init(&worker->todo, WORK_QUEUE_MAX);
    if (!err) {
        err = spsc_init(&worker->done, WORK_QUEUE_MAX);
    }
    if (err) {
        return err;
    }
    MX_ASSERT(sem_init(&worker->wake, 0, 0) == 0 && sem_init(&worker->ready, 0, 0) == 0);
    sigset_t all, before;
    sigfillset(&all);
    (void)pthread_sigmask(SIG_SETMASK, &all, &before);
    pthread_attr_t attr;
    (void)pthread_attr_init(&attr);
    unpin(&attr);
    worker->started = pthread_create(&worker->thread, &attr, worker_main, worker) == 0;
    (void)pthread_attr_destroy(&attr);
    (void)pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (!worker->started) {
        return MX_ERR_NOMEM;
    }
    while (sem_wait(&worker->ready) != 0) {
        MX_ASSERT(errno == EINTR);
    }
    return MX_OK;
}

mx_err work_open(struct work_pool **out_pool, struct shard *shard, unsigned workers)
{
    MX_ASSERT(workers > 0);
    size_t bytes = mx_round_up(sizeof(struct work_pool) + workers * sizeof(struct worker), 64);
    struct work_pool *pool = aligned_alloc(64, bytes); /* spsc wants cache lines */
    if (pool == NULL) {
        return MX_ERR_NOMEM;
    }
    memset(pool, 0, bytes);
    pool->count = workers;
    for (unsigned i = 0; i < workers; i++) {
        mx_err err = worker_start(&pool->workers[i], shard, i);
        if (err) {
            work_close(pool);
            return err;
        }
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
        struct worker *worker = &pool->workers[i];
        if (worker->started) {
            atomic_store(&worker->stop, true);
            sem_post(&worker->wake); /* behind the posts of the queued jobs */
            (void)pthread_join(worker->thread, NULL);
            (void)sem_destroy(&worker->wake);
            (void)sem_destroy(&worker->ready);
        }
    }
    work_reap(pool);
    for (unsigned i = 0; i < pool->count; i++) {
        spsc_fini(&pool->workers[i].todo);
        spsc_fini(&pool->workers[i].done);
    }
    free(pool);
}

mx_err work_submit(struct work_pool *pool, struct work_job *job, unsigned lane)
{
    struct worker *worker = &pool->workers[lane % pool->count];
    if (pool->closing) {
        return MX_ERR_SHUTDOWN;
    }
    if (worker->pending >= WORK_QUEUE_MAX) {
        return MX_ERR_AGAIN;
    }
    bool pushed = spsc_push(&worker->todo, job);
    MX_ASSERT(pushed);
    worker->pending++;
    sem_post(&worker->wake);
    return MX_OK;
}

void work_reap(struct work_pool *pool)
{
    for (unsigned i = 0; i < pool->count; i++) {
        struct worker *worker = &pool->workers[i];
        struct work_job *job;
        while (worker->done.cells != NULL && (job = spsc_pop(&worker->done)) != NULL) {
            worker->pending--;
            job->done(job);
        }
    }
}

bool work_ready(struct work_pool *pool)
{
    for (unsigned i = 0; i < pool->count; i++) {
        if (!spsc_empty(&pool->workers[i].done)) {
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
