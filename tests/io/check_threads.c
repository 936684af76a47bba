/* Mailboxes and workers between real threads and rings. Plain, to run under the thread sanitizer.
 */
#include "tests/check.h"

#include "io/mbox.h"
#include "io/shard.h"
#include "io/work.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

enum { CORES = 3, MESSAGES = 5000, JOBS = 2000 };

struct core {
    struct shard shard;
    pthread_t thread;
    unsigned index;
    unsigned got[CORES]; /* next expected number of each sender */
    unsigned received, sent_to[CORES], jobs_done;
    struct shard_hook hook;
};

struct numbered {
    struct mbox_msg msg;
    unsigned from, number;
};

struct job {
    struct work_job job;
    struct core *core;
    unsigned input, output;
};

static struct core cores[CORES];
static atomic_uint finished;
static pthread_barrier_t may_close;

static void receive(struct mbox_msg *msg, struct shard *at)
{
    struct numbered *m = mx_container_of(msg, struct numbered, msg);
    struct core *core = mx_container_of(at, struct core, shard);
    CHECK(m->number == core->got[m->from]); /* in order per sender */
    core->got[m->from]++;
    core->received++;
    free(m);
}

static void job_run(struct work_job *job)
{
    struct job *j = mx_container_of(job, struct job, job);
    j->output = j->input * 3;
}

static void job_done(struct work_job *job)
{
    struct job *j = mx_container_of(job, struct job, job);
    CHECK(j->output == j->input * 3);
    j->core->jobs_done++;
    free(j);
}

static void send_some(struct core *core)
{
    for (unsigned to = 0; to < CORES; to++) {
        for (unsigned n = 0; to != core->index && n < 50 && core->sent_to[to] < MESSAGES; n++) {
            struct numbered *m = malloc(sizeof *m);
            CHECK(m != NULL);
            *m = (struct numbered){
                .msg = {.receive = receive}, .from = core->index, .number = core->sent_to[to]};
            if (mbox_send(core->shard.hub, core->index, to, &m->msg) != MX_OK) {
                free(m);
                break;
            }
            core->sent_to[to]++;
        }
    }
}

static void submit_some(struct core *core, unsigned *submitted)
{
    for (unsigned n = 0; n < 50 && *submitted < JOBS; n++) {
        struct job *j = malloc(sizeof *j);
        CHECK(j != NULL);
        *j = (struct job){
            .job = {.run = job_run, .done = job_done}, .core = core, .input = *submitted};
        if (work_submit(core->shard.work, &j->job, *submitted) != MX_OK) {
            free(j);
            return;
        }
        (*submitted)++;
    }
}

static void *core_main(void *arg)
{
    struct core *core = arg;
    unsigned submitted = 0;
    bool counted = false;
    CHECK(shard_open(&core->shard) == MX_OK);
    /* Turns with an endless wait: a lost wake-up would hang here. */
    while (atomic_load(&finished) < CORES) {
        send_some(core);
        submit_some(core, &submitted);
        bool sent = true;
        for (unsigned to = 0; to < CORES; to++) {
            sent = sent && (to == core->index || core->sent_to[to] == MESSAGES);
        }
        if (!counted && sent && core->received == MESSAGES * (CORES - 1) &&
            core->jobs_done == JOBS) {
            counted = true;
            atomic_fetch_add(&finished, 1);
        }
        bool busy = !sent || submitted < JOBS;
        shard_turn(&core->shard, busy ? 0 : 20 * MX_NS_PER_MS);
    }
    CHECK(work_pending(core->shard.work) == 0);
    pthread_barrier_wait(&may_close);
    shard_close(&core->shard);
    return NULL;
}

/* A message that reaches a core after its last turn is received when the core closes: what it
 * carries was never freed. */
static void message_after_the_last_turn(void)
{
    struct mbox_hub *hub;
    struct core pair[2] = {{.index = 0}, {.index = 1}};
    CHECK(mbox_hub_new(&hub, 2) == MX_OK);
    for (unsigned i = 0; i < 2; i++) {
        struct shard_conf conf = {.id = i,
                                  .count = 2,
                                  .cpu = -1,
                                  .blocks_max = 64,
                                  .workers = 1,
                                  .log_level = LOG_WARN,
                                  .hub = hub};
        CHECK(shard_init(&pair[i].shard, &conf) == MX_OK);
        CHECK(shard_open(&pair[i].shard) == MX_OK);
        shard_turn(&pair[i].shard, 0);
    }
    struct numbered *m = malloc(sizeof *m);
    CHECK(m != NULL);
    *m = (struct numbered){.msg = {.receive = receive}};
    CHECK(mbox_send(hub, 0, 1, &m->msg) == MX_OK);
    shard_close(&pair[1].shard);
    CHECK(pair[1].received == 1);
    shard_close(&pair[0].shard);
    for (unsigned i = 0; i < 2; i++) {
        shard_fini(&pair[i].shard);
    }
    mbox_hub_free(hub);
}

int main(void)
{
    struct mbox_hub *hub;
    message_after_the_last_turn();
    CHECK(mbox_hub_new(&hub, CORES) == MX_OK);
    CHECK(pthread_barrier_init(&may_close, NULL, CORES) == 0);
    for (unsigned i = 0; i < CORES; i++) {
        struct shard_conf conf = {.id = i,
                                  .count = CORES,
                                  .cpu = -1,
                                  .blocks_max = 64,
                                  .workers = 2,
                                  .log_level = LOG_WARN,
                                  .hub = hub};
        cores[i].index = i;
        CHECK(shard_init(&cores[i].shard, &conf) == MX_OK);
    }
    for (unsigned i = 0; i < CORES; i++) {
        CHECK(pthread_create(&cores[i].thread, NULL, core_main, &cores[i]) == 0);
    }
    for (unsigned i = 0; i < CORES; i++) {
        pthread_join(cores[i].thread, NULL);
        shard_fini(&cores[i].shard);
    }
    mbox_hub_free(hub);
    return 0;
}
