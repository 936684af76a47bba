/* Workers of one core: lanes, a full queue, closing while jobs wait and submit others; and a core
 * that leaves while others still send it messages. Runs under the thread sanitizer. */
#include "io/mbox.h"
#include "io/work.h"
#include "tests/io/support.h"

#include <pthread.h>
#include <semaphore.h>
#include <stdatomic.h>

enum { LANE_JOBS = 200, WORKERS = 3 };

struct job {
    struct work_job job;
    unsigned lane, number;
    sem_t *gate; /* waits for it, if any */
};

static struct shard shard;
static unsigned next_of_lane[WORKERS];
static unsigned done_count, refused_late;
static struct job again;

static void run(struct work_job *work)
{
    struct job *job = mx_container_of(work, struct job, job);
    if (job->gate != NULL) {
        CHECK(sem_wait(job->gate) == 0);
    }
}

static void done(struct work_job *work)
{
    struct job *job = mx_container_of(work, struct job, job);
    CHECK(job->number == next_of_lane[job->lane % WORKERS]++); /* in order of the lane */
    done_count++;
}

static void done_and_submit(struct work_job *work)
{
    (void)work;
    done_count++;
    if (work_submit(shard.work, &again.job, 0) == MX_ERR_SHUTDOWN) {
        refused_late++;
    }
}

static void open_core(void)
{
    struct shard_conf conf = {.count = 1, .cpu = -1, .blocks_max = 16, .workers = WORKERS};
    CHECK(shard_init(&shard, &conf) == MX_OK && shard_open(&shard) == MX_OK);
    done_count = 0;
    memset(next_of_lane, 0, sizeof next_of_lane);
}

static void check_lanes(void)
{
    static struct job jobs[WORKERS][LANE_JOBS];
    open_core();
    for (unsigned n = 0; n < LANE_JOBS; n++) {
        for (unsigned lane = 0; lane < WORKERS; lane++) {
            struct job *job = &jobs[lane][n];
            *job = (struct job){.job = {.run = run, .done = done}, .lane = lane, .number = n};
            CHECK(work_submit(shard.work, &job->job, lane) == MX_OK);
        }
    }
    TURN_UNTIL(&shard, done_count == WORKERS * LANE_JOBS);
    CHECK(work_pending(shard.work) == 0 && !work_ready(shard.work));
    shard_close(&shard);
    shard_fini(&shard);
}

static void check_full_and_close(void)
{
    static struct job jobs[WORK_QUEUE_MAX + 1];
    sem_t gate;
    CHECK(sem_init(&gate, 0, 0) == 0);
    open_core();
    for (unsigned n = 0; n <= WORK_QUEUE_MAX; n++) {
        jobs[n] = (struct job){.job = {.run = run, .done = done}, .number = n, .gate = &gate};
        mx_err err = work_submit(shard.work, &jobs[n].job, 0);
        CHECK(err == (n < WORK_QUEUE_MAX ? MX_OK : MX_ERR_AGAIN));
    }
    CHECK(work_pending(shard.work) == WORK_QUEUE_MAX);
    for (unsigned n = 0; n < WORK_QUEUE_MAX; n++) {
        CHECK(sem_post(&gate) == 0);
    }
    shard_close(&shard); /* runs and delivers what waits */
    CHECK(done_count == WORK_QUEUE_MAX);
    shard_fini(&shard);
    CHECK(sem_destroy(&gate) == 0);
}

static void check_submit_while_closing(void)
{
    struct job first = {.job = {.run = run, .done = done_and_submit}};
    again = (struct job){.job = {.run = run, .done = done}};
    open_core();
    CHECK(work_submit(shard.work, &first.job, 1) == MX_OK);
    work_close(shard.work);
    CHECK(done_count == 1 && refused_late == 1); /* not taken and forgotten */
    shard.work = NULL;
    shard_close(&shard);
    shard_fini(&shard);
}

/* --- a ring that goes while it is being woken --- */

static atomic_bool stop_sending;
static atomic_uint received;

static void receive(struct mbox_msg *msg, struct shard *at)
{
    (void)at;
    free(msg);
    atomic_fetch_add(&received, 1);
}

static void *sender(void *arg)
{
    struct mbox_hub *hub = arg;
    while (!atomic_load(&stop_sending)) {
        struct mbox_msg *msg = malloc(sizeof *msg);
        CHECK(msg != NULL);
        msg->receive = receive;
        if (mbox_send(hub, 1, 0, msg) != MX_OK) {
            free(msg);
        }
    }
    return NULL;
}

static void check_ring_goes(void)
{
    enum { ROUNDS = 30 };
    struct mbox_hub *hub;
    pthread_t thread;
    CHECK(mbox_hub_new(&hub, 1) == MX_OK);
    CHECK(pthread_create(&thread, NULL, sender, hub) == 0);
    for (unsigned round = 0; round < ROUNDS; round++) {
        struct ring *ring;
        struct ring_conf conf = {.sq_entries = 8, .cq_entries = 64, .recv_bufs = 1};
        CHECK(ring_open(&ring, &conf) == MX_OK);
        mbox_attach_ring(hub, 0, ring);
        unsigned before = atomic_load(&received);
        while (atomic_load(&received) < before + 50) {
            if (mbox_sleep(hub, 0)) {
                ring_wait(ring, UINT64_MAX);
                mbox_awake(hub, 0);
            }
            (void)ring_reap(ring, 64);
            (void)mbox_drain(hub, 0, NULL, 100);
        }
        (void)mbox_sleep(hub, 0); /* still marked as asleep: the sender goes on waking it */
        mbox_attach_ring(hub, 0, NULL);
        ring_close(ring);
    }
    atomic_store(&stop_sending, true);
    CHECK(pthread_join(thread, NULL) == 0);
    (void)mbox_drain(hub, 0, NULL, UINT32_MAX);
    mbox_hub_free(hub);
}

/* What another sends to a core after its last turn is received when it closes, not forgotten. */
static void check_message_after_the_loop(void)
{
    struct mbox_hub *hub;
    struct mbox_msg *msg = malloc(sizeof *msg);
    CHECK(msg != NULL && mbox_hub_new(&hub, 1) == MX_OK);
    struct shard_conf conf = {.count = 1, .cpu = -1, .blocks_max = 16, .hub = hub};
    CHECK(shard_init(&shard, &conf) == MX_OK && shard_open(&shard) == MX_OK);
    shard_stop(&shard);
    shard_run(&shard);
    unsigned before = atomic_load(&received);
    msg->receive = receive;
    CHECK(mbox_send(hub, 1, 0, msg) == MX_OK);
    shard_close(&shard);
    CHECK(atomic_load(&received) == before + 1);
    shard_fini(&shard);
    mbox_hub_free(hub);
}

int main(void)
{
    check_lanes();
    check_full_and_close();
    check_submit_while_closing();
    check_ring_goes();
    check_message_after_the_loop();
    printf("work: all good\n");
    return 0;
}
