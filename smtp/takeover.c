#include "smtp/takeover.h"

#include "core/check.h"
#include "io/clock.h"
#include "io/mbox.h"
#include "io/shard.h"
#include "io/work.h"
#include "smtp/service.h"

#include <stdatomic.h>
#include <stdlib.h>

struct core_part {
    struct takeover *takeover;
    unsigned core;
    struct mbox_msg give;  /* to the core */
    struct mbox_msg taken; /* and back */
};

struct takeover {
    struct takeover_conf conf;
    uint64_t began_ns;
    atomic_bool stop;
    /* of the managing shard: */
    struct shard *shard;
    struct work_pool *helper;
    struct work_job job;
    struct shard_hook hook;
    bool scanned;   /* the job is done */
    unsigned given; /* parts sent to their cores */
    /* written by the helper thread, then read by the others: */
    struct log log;
    uint64_t logged_ns;
    mx_err err;
    struct spool_recovery *recovery;
    struct spool_recovered found;
    unsigned taken; /* parts that their cores have in memory */
    struct core_part parts[];
};

mx_err takeover_new(struct takeover **out_takeover, const struct takeover_conf *conf)
{
    size_t align = _Alignof(struct takeover); /* of the log: more than malloc gives */
    size_t bytes =
        mx_round_up(sizeof(struct takeover) + conf->cores * sizeof(struct core_part), align);
    struct takeover *t = aligned_alloc(align, bytes);
    if (t == NULL) {
        return MX_ERR_NOMEM;
    }
    memset(t, 0, bytes);
    mx_err err = log_init(&t->log, -1, conf->log_level);
    if (err) {
        free(t);
        return err;
    }
    t->conf = *conf;
    atomic_init(&t->stop, false);
    for (unsigned i = 0; i < conf->cores; i++) {
        t->parts[i] = (struct core_part){.takeover = t, .core = i};
    }
    *out_takeover = t;
    return MX_OK;
}

void takeover_free(struct takeover *t)
{
    if (t != NULL) {
        spool_recovery_free(t->recovery);
        log_fini(&t->log);
        free(t);
    }
}

struct log *takeover_log(struct takeover *t)
{
    return &t->log;
}

/* --- helper thread -----------------------------------------------------------------------------
 */

static struct log_line *helper_log(struct takeover *t, enum log_level level, const char *event)
{
    t->log.wall_ms = clock_wall_ms();
    return log_begin(&t->log, level, event);
}

static mx_err on_progress(void *arg, uint64_t done, uint64_t total)
{
    struct takeover *t = arg;
    uint64_t now_ns = clock_monotonic_ns();
    bool due = done == 0 || now_ns - t->logged_ns >= TAKEOVER_PROGRESS_MS * MX_NS_PER_MS;
    if (due && done < total) { /* the end has a line of its own */
        t->logged_ns = now_ns;
        struct log_line *line = helper_log(t, LOG_INFO, "queue-indexing");
        log_u64(line, "segments-done", done);
        log_u64(line, "segments", total);
        log_end(&t->log, line);
    }
    return atomic_load_explicit(&t->stop, memory_order_relaxed) ? MX_ERR_SHUTDOWN : MX_OK;
}

static void scan(struct work_job *job)
{
    struct takeover *t = mx_container_of(job, struct takeover, job);
    struct spool_recover_conf conf = {.log = &t->log, .progress = on_progress, .arg = t};
    t->err = spool_recover(&t->recovery, t->conf.store, &conf, &t->found);
    if (!t->err) {
        t->err = spool_recovery_divide(t->recovery, t->conf.cores);
    }
    struct log_line *line = helper_log(t, LOG_INFO, t->err ? "queue-not-indexed" : "queue-indexed");
    if (t->err) {
        log_err(line, "reason", t->err);
    } else {
        log_u64(line, "messages", t->found.messages);
        log_u64(line, "records", t->found.scan.records);
        log_u64(line, "segments", t->found.scan.segments);
        log_u64(line, "by-index", t->found.scan.indexed);
        log_u64(line, "ms", (clock_monotonic_ns() - t->began_ns) / MX_NS_PER_MS);
    }
    log_end(&t->log, line);
}

/* --- cores -------------------------------------------------------------------------------------
 */

static void on_give(struct mbox_msg *msg, struct shard *at)
{
    struct core_part *part = mx_container_of(msg, struct core_part, give);
    service_adopt(at->service, spool_recovery_part(part->takeover->recovery, part->core));
}

void takeover_taken(struct takeover *t, struct shard *at)
{
    struct core_part *part = &t->parts[at->conf.id];
    mx_err err = mbox_send(t->conf.hub, at->conf.id, t->shard->conf.id, &part->taken);
    MX_ASSERT(err == MX_OK); /* a core sends but a few messages there */
}

/* --- managing shard ----------------------------------------------------------------------------
 */

static void report(struct takeover *t)
{
    struct takeover_result result = {
        .err = t->err,
        .found = t->found,
        .took_ms = (clock_monotonic_ns() - t->began_ns) / MX_NS_PER_MS,
    };
    t->conf.ended(t->conf.owner, &result);
}

static void on_taken(struct mbox_msg *msg, struct shard *at)
{
    struct takeover *t = mx_container_of(msg, struct core_part, taken)->takeover;
    (void)at;
    if (++t->taken == t->conf.cores) {
        spool_recovery_free(t->recovery); /* nobody looks at it any more */
        t->recovery = NULL;
        report(t);
    }
}

static void give_parts(struct takeover *t)
{
    while (t->given < t->conf.cores) {
        struct core_part *part = &t->parts[t->given];
        part->give.receive = on_give;
        part->taken.receive = on_taken;
        if (mbox_send(t->conf.hub, t->shard->conf.id, part->core, &part->give) != MX_OK) {
            shard_again(t->shard); /* the core is behind: it gets it soon */
            return;
        }
        t->given++;
    }
}

static void helper_close(struct takeover *t)
{
    if (t->helper != NULL) {
        work_close(t->helper);
        t->helper = NULL;
    }
}

static void turn(struct shard_hook *hook)
{
    struct takeover *t = mx_container_of(hook, struct takeover, hook);
    if (t->helper != NULL) {
        work_reap(t->helper);
    }
    if (!t->scanned || atomic_load_explicit(&t->stop, memory_order_relaxed)) {
        return;
    }
    helper_close(t);
    if (t->err == MX_OK) {
        give_parts(t);
    }
}

static void scan_done(struct work_job *job)
{
    struct takeover *t = mx_container_of(job, struct takeover, job);
    t->scanned = true;
    if (t->err && !atomic_load_explicit(&t->stop, memory_order_relaxed)) {
        report(t);
    }
}

void takeover_begin(struct takeover *t, struct shard *shard)
{
    t->shard = shard;
    t->began_ns = clock_monotonic_ns();
    t->hook.turn = turn;
    shard_add_hook(shard, &t->hook);
    t->job.run = scan;
    t->job.done = scan_done;
    /* A thread of its own: the core's workers have deliveries to do meanwhile. */
    mx_err err = work_open(&t->helper, shard, 1);
    if (!err) {
        err = work_submit(t->helper, &t->job, 0);
    }
    if (err) { /* else t->err is the helper's from now on */
        t->err = err;
        scan_done(&t->job);
    }
}

void takeover_stop(struct takeover *t)
{
    if (t != NULL) {
        atomic_store_explicit(&t->stop, true, memory_order_relaxed);
    }
}

bool takeover_quiet(const struct takeover *t)
{
    return t == NULL || t->helper == NULL || t->scanned;
}

void takeover_end(struct takeover *t)
{
    if (t != NULL) {
        takeover_stop(t);
        helper_close(t);
    }
}
