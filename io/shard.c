#include "io/shard.h"

#include "core/check.h"
#include "io/clock.h"
#include "io/mbox.h"
#include "io/stream.h"
#include "io/thread.h"
#include "io/work.h"

#include <limits.h>

enum { MBOX_MAX_PER_TURN = 1024, PARKS_MAX = 16384, SMALL_PARKS_MAX = 65536 };

mx_err shard_init(struct shard *shard, const struct shard_conf *conf)
{
    *shard = (struct shard){.conf = *conf, .hub = conf->hub, .reap_max = SHARD_REAP_MAX};
    list_init(&shard->streams_dirty);
    list_init(&shard->streams_ready);
    list_init(&shard->streams_starved);
    mx_err err = pool_init(&shard->blocks, "blocks", sizeof(struct block), conf->blocks_max);
    if (!err) {
        err = pool_init(&shard->park_blocks, "parked-input", STREAM_PARK_BYTES, PARKS_MAX);
    }
    if (!err) {
        err =
            pool_init(&shard->park_small, "parked-lines", STREAM_PARK_SMALL_BYTES, SMALL_PARKS_MAX);
    }
    shard->blocks.wipe = shard->park_blocks.wipe = shard->park_small.wipe = conf->wipe;
    if (!err) {
        err = log_init(&shard->log, (int)conf->id, conf->log_level);
    }
    if (err) {
        shard_fini(shard);
    }
    return err;
}

static void sample_clocks(struct shard *shard)
{
    shard->now_ns = clock_monotonic_ns();
    shard->wall_ms = clock_wall_ms();
    shard->log.wall_ms = shard->wall_ms;
}

mx_err shard_open(struct shard *shard)
{
    thread_setup(shard->conf.id, shard->conf.cpu);
    sample_clocks(shard);
    wheel_init(&shard->wheel, shard->now_ns);
    mx_err err = ring_open(&shard->ring, &shard->conf.ring);
    if (!err && shard->conf.workers > 0) {
        err = work_open(&shard->work, shard, shard->conf.workers);
    }
    if (err) {
        shard_close(shard);
        return err;
    }
    if (shard->hub != NULL) {
        mbox_attach_ring(shard->hub, shard->conf.id, shard->ring);
    }
    return MX_OK;
}

/* How long this turn may wait; 0 when something is there already. */
static uint64_t wait_ns(struct shard *shard, uint64_t wait_max_ns)
{
    uint64_t ns = wheel_wait_ns(&shard->wheel, shard->now_ns);
    uint64_t max_ns = SHARD_WAIT_MAX_MS * MX_NS_PER_MS;
    if (shard->again || !list_empty(&shard->streams_ready) || !list_empty(&shard->streams_dirty)) {
        return 0;
    }
    if (!list_empty(&shard->streams_starved) && ring_recv_free(shard->ring) > 0) {
        return 0;
    }
    ns = ns < max_ns ? ns : max_ns;
    if (shard->within_ns > 0 && shard->within_ns < ns) {
        ns = shard->within_ns;
    }
    return ns < wait_max_ns ? ns : wait_max_ns;
}

static void wait_for_work(struct shard *shard, uint64_t wait_max_ns)
{
    uint64_t ns = wait_ns(shard, wait_max_ns);
    if (shard->hub != NULL && ns > 0 && !mbox_sleep(shard->hub, shard->conf.id)) {
        ns = 0;
    }
    if (shard->work != NULL && work_ready(shard->work)) {
        ns = 0;
    }
    ring_wait(shard->ring, ns);
    if (shard->hub != NULL) {
        mbox_awake(shard->hub, shard->conf.id);
    }
}

void shard_turn(struct shard *shard, uint64_t wait_max_ns)
{
    wait_for_work(shard, wait_max_ns);
    shard->again = false;
    shard->within_ns = 0;
    sample_clocks(shard);
    uint64_t began_ns = shard->now_ns;
    pulse_begin(&shard->pulse, began_ns);
    pulse_set(&shard->pulse, PULSE_COMPLETIONS);
    unsigned completions = ring_reap(shard->ring, shard->reap_max);
    pulse_set(&shard->pulse, PULSE_JOBS);
    if (shard->work != NULL) {
        work_reap(shard->work);
    }
    pulse_set(&shard->pulse, PULSE_TIMERS);
    (void)wheel_advance(&shard->wheel, shard->now_ns, SHARD_TIMERS_MAX);
    pulse_set(&shard->pulse, PULSE_MESSAGES);
    if (shard->hub != NULL) {
        (void)mbox_drain(shard->hub, shard->conf.id, shard, MBOX_MAX_PER_TURN);
    }
    pulse_set(&shard->pulse, PULSE_STREAMS);
    streams_run_ready(shard);
    pulse_set(&shard->pulse, PULSE_HOOKS);
    for (struct shard_hook *hook = shard->hooks; hook != NULL; hook = hook->next) {
        hook->turn(hook);
    }
    pulse_set(&shard->pulse, PULSE_OUTPUT);
    streams_flush(shard);
    streams_feed_starved(shard);
    uint64_t took_ns = clock_monotonic_ns() - began_ns;
    pulse_set(&shard->pulse, PULSE_WAITING);
    hdr_add(&shard->stats.turn_ns, took_ns);
    hdr_add(&shard->stats.turn_completions, completions);
    if (took_ns > shard->longest_turn_ns) {
        shard->longest_turn_ns = took_ns;
    }
    shard->turns++;
}

void shard_run(struct shard *shard)
{
    while (!shard->stop) {
        shard_turn(shard, UINT64_MAX);
    }
}

void shard_stop(struct shard *shard)
{
    shard->stop = true;
}

void shard_close(struct shard *shard)
{
    if (shard->hub != NULL) {
        mbox_attach_ring(shard->hub, shard->conf.id, NULL);
        if (shard->conf.id < shard->conf.count) { /* what came after the loop of a core */
            (void)mbox_drain(shard->hub, shard->conf.id, shard, UINT_MAX);
        }
    }
    work_close(shard->work);
    shard->work = NULL;
    ring_close(shard->ring);
    shard->ring = NULL;
}

void shard_fini(struct shard *shard)
{
    pool_fini(&shard->blocks);
    pool_fini(&shard->park_blocks);
    pool_fini(&shard->park_small);
    log_fini(&shard->log);
}

void shard_add_hook(struct shard *shard, struct shard_hook *hook)
{
    struct shard_hook **at = &shard->hooks;
    while (*at != NULL) {
        at = &(*at)->next;
    }
    hook->next = NULL;
    *at = hook;
}

void shard_again(struct shard *shard)
{
    shard->again = true;
}

void shard_within(struct shard *shard, uint64_t ns)
{
    if (shard->within_ns == 0 || ns < shard->within_ns) {
        shard->within_ns = ns > 0 ? ns : 1;
    }
}

void shard_after(struct shard *shard, struct timer *timer, uint64_t delay_ns)
{
    wheel_arm(&shard->wheel, timer, shard->now_ns + delay_ns);
}
