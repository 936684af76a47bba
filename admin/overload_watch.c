#include "admin/overload_watch.h"

#include "core/check.h"
#include "io/sys.h"
#include "io/work.h"
#include "route/image.h"
#include "smtp/shed.h"

#include <stdatomic.h>
#include <stdlib.h>

/* One core as it is watched. */
struct watched_core {
    struct shed_notice notice;
    bool told; /* the core has the notice */
    /* As it was answered last: while the core has the notice, it may be writing there. */
    bool answered;
    uint64_t queue_messages, queue_bytes;
    uint64_t metrics[EXPR_METRICS];
    struct overload_state memory;
    uint64_t memory_since_ns;
};

/* What is read outside of the process. */
struct measures {
    bool has_descriptors, has_bytes, has_files;
    uint64_t descriptors, descriptors_max;
    uint64_t bytes, files; /* of the file system that has the least */
};

/* A job of the helper thread, which owns `measures` while it is under way. */
struct reading {
    struct work_job job;
    const struct overload_watch_conf *conf;
    bool under_way;
    struct measures measures;
};

struct overload_watch {
    struct overload_watch_conf conf;
    struct performance performance;
    struct timer timer;
    struct reading reading;
    struct measures last;                             /* of the reading that ended last */
    struct overload_state states[OVERLOAD_RESOURCES]; /* of the process: not of memory */
    uint64_t since_ns[OVERLOAD_RESOURCES];
    struct watched_core *cores;
    bool stopped;
};

/* A gauge as it is compared. */
struct gauge {
    enum overload_resource resource;
    uint64_t value, threshold;
    int core; /* -1: of the process */
};

/* --- the log -----------------------------------------------------------------------------------
 */

static void log_change(struct overload_watch *watch, const struct gauge *gauge, unsigned level,
                       uint64_t lasted_ns)
{
    static const char *const effects[OVERLOAD_LEVELS] = {
        [OVERLOAD_STRAINED] = "clients get fewer connections and shorter timeouts",
        [OVERLOAD_REFUSING] = "new connections get 421; those that are open may finish"};
    const struct overload_text *text = overload_text(gauge->resource);
    struct log *log = &watch->conf.shard->log;
    bool over = level == OVERLOAD_NONE;
    struct log_line *line =
        log_begin(log, over ? LOG_INFO : LOG_WARN, over ? "overload-ended" : "overload");
    log_text(line, "resource", text->name);
    if (gauge->core >= 0) {
        log_u64(line, "of-core", (uint64_t)gauge->core);
    }
    log_u64(line, "value", gauge->value);
    log_u64(line, "threshold", gauge->threshold);
    if (over) {
        log_u64(line, "seconds", lasted_ns / MX_NS_PER_S);
    } else {
        log_u64(line, "level", level);
        log_text(line, "effect", effects[level]);
        log_text(line, "advice", text->advice);
    }
    log_end(log, line);
}

static void step(struct overload_watch *watch, const struct gauge *gauge,
                 struct overload_state *state, uint64_t *since_ns)
{
    uint64_t now_ns = watch->conf.shard->now_ns;
    unsigned before = state->level;
    if (!overload_step(state, gauge->resource, gauge->value, gauge->threshold)) {
        return;
    }
    if (before == OVERLOAD_NONE) {
        *since_ns = now_ns;
    }
    log_change(watch, gauge, state->level, now_ns - *since_ns);
}

/* --- readings ----------------------------------------------------------------------------------
 */

static uint64_t smaller(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

static void read_run(struct work_job *job)
{
    const struct reading *reading = mx_container_of(job, struct reading, job);
    struct measures *m = &mx_container_of(job, struct reading, job)->measures;
    m->has_descriptors = sys_descriptors(&m->descriptors, &m->descriptors_max) == MX_OK;
    m->has_bytes = m->has_files = false;
    for (unsigned i = 0; i < reading->conf->folder_count; i++) {
        struct sys_room room;
        if (sys_room(&room, reading->conf->folders[i]) != MX_OK) {
            continue;
        }
        m->bytes = m->has_bytes ? smaller(m->bytes, room.bytes) : room.bytes;
        m->has_bytes = true;
        if (room.files_max > 0) {
            m->files = m->has_files ? smaller(m->files, room.files) : room.files;
            m->has_files = true;
        }
    }
}

static uint64_t percent_of(uint64_t whole, uint64_t percent)
{
    uint64_t part = whole / 100 * percent + whole % 100 * percent / 100;
    return part > 0 ? part : 1;
}

static void step_process(struct overload_watch *watch)
{
    const struct measures *m = &watch->last;
    const struct performance *p = &watch->performance;
    uint64_t messages = 0, bytes = 0;
    for (unsigned i = 0; i < watch->conf.cores; i++) {
        messages += watch->cores[i].queue_messages;
        bytes += watch->cores[i].queue_bytes;
    }
    const struct {
        bool known;
        struct gauge gauge;
    } rows[] = {
        {m->has_descriptors,
         {OVERLOAD_DESCRIPTORS, m->descriptors,
          percent_of(m->descriptors_max, p->overload_descriptors), -1}},
        {m->has_bytes, {OVERLOAD_DISK_BYTES, m->bytes, p->overload_disk_bytes, -1}},
        {m->has_files, {OVERLOAD_DISK_INODES, m->files, p->overload_disk_inodes, -1}},
        {true, {OVERLOAD_QUEUE_MESSAGES, messages, p->overload_queue_messages, -1}},
        {true, {OVERLOAD_QUEUE_BYTES, bytes, p->overload_queue_bytes, -1}},
    };
    for (size_t i = 0; i < mx_countof(rows); i++) {
        enum overload_resource resource = rows[i].gauge.resource;
        if (rows[i].known) {
            step(watch, &rows[i].gauge, &watch->states[resource], &watch->since_ns[resource]);
        }
    }
}

/* --- the cores ---------------------------------------------------------------------------------
 */

static void on_answer(struct mbox_msg *msg, struct shard *at)
{
    struct shed_notice *notice = mx_container_of(msg, struct shed_notice, reply);
    struct watched_core *core = mx_container_of(notice, struct watched_core, notice);
    (void)at;
    core->told = false;
    core->answered = true;
    core->queue_messages = notice->queue_messages;
    core->queue_bytes = notice->queue_bytes;
    memcpy(core->metrics, notice->metrics, sizeof core->metrics);
}

static void step_core(struct overload_watch *watch, unsigned index)
{
    struct watched_core *core = &watch->cores[index];
    struct shed_notice *notice = &core->notice;
    struct shard *shard = watch->conf.shard;
    if (notice->memory_max > 0) {
        uint64_t mark = percent_of(notice->memory_max, watch->performance.overload_memory);
        struct gauge gauge = {OVERLOAD_MEMORY, notice->memory_used, mark, (int)index};
        step(watch, &gauge, &core->memory, &core->memory_since_ns);
    }
    for (unsigned i = 0; i < OVERLOAD_RESOURCES; i++) {
        notice->levels[i] = watch->states[i].level;
    }
    notice->levels[OVERLOAD_MEMORY] = core->memory.level;
    core->told = mbox_send(shard->hub, shard->conf.id, index, &notice->msg) == MX_OK;
}

static bool is_first_round(const struct overload_watch *watch)
{
    for (unsigned i = 0; i < watch->conf.cores; i++) {
        if (!watch->cores[i].answered) {
            return true;
        }
    }
    return false;
}

/* For expressions. */
static void publish_metrics(struct overload_watch *watch)
{
    struct expr_metrics *out = watch->conf.metrics;
    if (out == NULL || is_first_round(watch)) {
        return;
    }
    for (unsigned metric = 0; metric < EXPR_METRICS; metric++) {
        uint64_t sum = 0;
        for (unsigned i = 0; i < watch->conf.cores; i++) {
            sum += watch->cores[i].metrics[metric];
        }
        atomic_store_explicit(&out->values[metric], sum, memory_order_relaxed);
    }
    atomic_store_explicit(&out->collected, true, memory_order_release);
}

/* A core that has not answered is left alone: the notice is there; what it said last counts. */
static void round_end(struct overload_watch *watch)
{
    step_process(watch);
    publish_metrics(watch);
    for (unsigned i = 0; i < watch->conf.cores; i++) {
        if (!watch->cores[i].told) {
            step_core(watch, i);
        }
    }
}

static void read_done(struct work_job *job)
{
    struct reading *r = mx_container_of(job, struct reading, job);
    struct overload_watch *watch = mx_container_of(r, struct overload_watch, reading);
    r->under_way = false;
    watch->last = r->measures;
    if (!watch->stopped) {
        round_end(watch);
    }
}

static void fire(struct timer *timer, uint64_t now_ns)
{
    struct overload_watch *watch = mx_container_of(timer, struct overload_watch, timer);
    (void)now_ns;
    struct reading *r = &watch->reading;
    if (!r->under_way && work_submit(watch->conf.shard->work, &r->job, 0) == MX_OK) {
        r->under_way = true;
    } else {
        round_end(watch); /* a file system hangs: what else may run short is watched all the same */
    }
    shard_after(watch->conf.shard, &watch->timer, OVERLOAD_WATCH_MS * MX_NS_PER_MS);
}

/* --- life --------------------------------------------------------------------------------------
 */

mx_err overload_watch_new(struct overload_watch **out_watch, const struct overload_watch_conf *conf)
{
    struct overload_watch *watch = calloc(1, sizeof *watch);
    struct watched_core *cores = calloc(conf->cores, sizeof *cores);
    if (watch == NULL || cores == NULL) {
        free(watch);
        free(cores);
        return MX_ERR_NOMEM;
    }
    watch->conf = *conf;
    watch->cores = cores;
    watch->reading =
        (struct reading){.job = {.run = read_run, .done = read_done}, .conf = &watch->conf};
    overload_watch_image(watch, conf->image);
    for (unsigned i = 0; i < conf->cores; i++) {
        cores[i].notice = (struct shed_notice){.msg.receive = shed_notice_receive,
                                               .reply.receive = on_answer,
                                               .reply_to = conf->shard->conf.id};
    }
    watch->timer.fire = fire;
    shard_after(conf->shard, &watch->timer, 0);
    *out_watch = watch;
    return MX_OK;
}

void overload_watch_image(struct overload_watch *watch, const struct image *image)
{
    watch->performance = performance_complete(&image->performance);
}

bool overload_watch_stop(struct overload_watch *watch)
{
    if (watch == NULL) {
        return true;
    }
    watch->stopped = true;
    wheel_cancel(&watch->conf.shard->wheel, &watch->timer);
    return !watch->reading.under_way;
}

void overload_watch_free(struct overload_watch *watch)
{
    if (watch != NULL) {
        free(watch->cores);
        free(watch);
    }
}
