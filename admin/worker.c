#include "admin/worker.h"

#include "core/check.h"
#include "io/thread.h"

#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <unistd.h>

struct worker {
    struct mbox_hub *hub;
    unsigned index, loop;
    unsigned pending; /* kept by the loop's thread */
    int event_fd;
    pthread_t thread;
    struct list queue; /* of the worker's thread, as the rest */
    struct worker_idle *idle;
    struct mbox_msg stop_msg;
    bool stop;
};

static void on_done(struct mbox_msg *msg, struct shard *at)
{
    struct worker_job *job = mx_container_of(msg, struct worker_job, msg);
    (void)at;
    job->worker->pending--;
    job->done(job);
}

/* Only into the queue: a job that is running may be waiting for the cores. */
static void on_job(struct mbox_msg *msg, struct shard *at)
{
    struct worker_job *job = mx_container_of(msg, struct worker_job, msg);
    (void)at;
    list_push_back(&job->worker->queue, &job->node);
}

static void on_stop(struct mbox_msg *msg, struct shard *at)
{
    (void)at;
    mx_container_of(msg, struct worker, stop_msg)->stop = true;
}

void worker_wait(struct worker *worker, unsigned timeout_ms)
{
    struct pollfd event = {.fd = worker->event_fd, .events = POLLIN};
    if (mbox_drain(worker->hub, worker->index, NULL, MBOX_CELLS) > 0) {
        return;
    }
    if (poll(&event, 1, (int)timeout_ms) > 0) {
        uint64_t count;
        ssize_t got = read(worker->event_fd, &count, sizeof count);
        (void)got;
    }
    (void)mbox_drain(worker->hub, worker->index, NULL, MBOX_CELLS);
}

static bool run_idle(struct worker *worker)
{
    return worker->idle != NULL && worker->idle->run(worker->idle->arg);
}

static void run_one(struct worker *worker, struct worker_job *job)
{
    job->again = false;
    job->run(job);
    if (job->again) {
        /* What is due between jobs does not wait for the end of a long one. */
        (void)run_idle(worker);
        (void)mbox_drain(worker->hub, worker->index, NULL, MBOX_CELLS);
        list_push_back(&worker->queue, &job->node);
        return;
    }
    job->msg.receive = on_done;
    mx_err err = mbox_send(worker->hub, worker->index, worker->loop, &job->msg);
    MX_ASSERT(err == MX_OK); /* fewer jobs than cells */
}

static void *worker_main(void *arg)
{
    struct worker *worker = arg;
    (void)pthread_setname_np(pthread_self(), "ringmx-worker");
    /* Of this thread alone. What the kernel does for the cores' writes on this CPU goes first, and
     * the cores themselves where there is no other CPU. */
    (void)setpriority(PRIO_PROCESS, (id_t)gettid(), WORKER_NICE);
    thread_slice(WORKER_SLICE_NS);
    while (!worker->stop) {
        struct list_node *node = list_pop_front(&worker->queue);
        if (node != NULL) {
            run_one(worker, mx_container_of(node, struct worker_job, node));
        } else if (!run_idle(worker) && list_empty(&worker->queue)) {
            worker_wait(worker, UINT32_MAX);
        }
    }
    return NULL;
}

static void on_idle(struct mbox_msg *msg, struct shard *at)
{
    struct worker_idle *idle = mx_container_of(msg, struct worker_idle, msg);
    (void)at;
    idle->worker->idle = idle;
}

void worker_set_idle(struct worker *worker, struct worker_idle *idle)
{
    idle->worker = worker;
    idle->msg.receive = on_idle;
    mx_err err = mbox_send(worker->hub, worker->loop, worker->index, &idle->msg);
    MX_ASSERT(err == MX_OK);
}

mx_err worker_open(struct worker **out_worker, struct mbox_hub *hub, unsigned index, unsigned loop)
{
    struct worker *worker = calloc(1, sizeof *worker);
    if (worker == NULL) {
        return MX_ERR_NOMEM;
    }
    *worker = (struct worker){.hub = hub, .index = index, .loop = loop};
    list_init(&worker->queue);
    worker->event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (worker->event_fd < 0) {
        free(worker);
        return MX_ERR_NOFILES;
    }
    mbox_attach_eventfd(hub, index, worker->event_fd);
    if (pthread_create(&worker->thread, NULL, worker_main, worker) != 0) {
        mbox_attach_eventfd(hub, index, -1);
        close(worker->event_fd);
        free(worker);
        return MX_ERR_NOMEM;
    }
    *out_worker = worker;
    return MX_OK;
}

mx_err worker_submit(struct worker *worker, struct worker_job *job)
{
    MX_ASSERT(job->run != NULL && job->done != NULL);
    if (worker->pending >= WORKER_JOBS_MAX) {
        return MX_ERR_AGAIN;
    }
    job->worker = worker;
    job->node = (struct list_node){0};
    job->msg.receive = on_job;
    mx_err err = mbox_send(worker->hub, worker->loop, worker->index, &job->msg);
    worker->pending += err == MX_OK;
    return err;
}

unsigned worker_pending(const struct worker *worker)
{
    return worker->pending;
}

void worker_close(struct worker *worker)
{
    if (worker == NULL) {
        return;
    }
    MX_ASSERT(worker->pending == 0);
    worker->stop_msg.receive = on_stop;
    mx_err err = mbox_send(worker->hub, worker->loop, worker->index, &worker->stop_msg);
    MX_ASSERT(err == MX_OK);
    pthread_join(worker->thread, NULL);
    mbox_attach_eventfd(worker->hub, worker->index, -1);
    close(worker->event_fd);
    free(worker);
}
