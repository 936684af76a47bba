#include "admin/sampler.h"

#include "core/check.h"
#include "io/clock.h"

#include <stdlib.h>

struct core_sample {
    struct sampler *sampler;
    struct stats_request request;
    bool asked; /* the core has the request */
    uint64_t answered_ns;
    uint64_t stalled_ns; /* the turn that was logged had been at work so long; 0: none */
};

struct sampler {
    struct shard *shard;
    unsigned cores;
    unsigned missing; /* answers of this round */
    struct core_sample *parts;
    struct sample *samples;
    struct list waiting;
    struct timer timer;
    const struct pulse *const *pulses;
    struct timer watch;
};

const char *sampler_step_name(enum pulse_step step)
{
    static const char *const names[] = {
        [PULSE_WAITING] = "waiting",   [PULSE_COMPLETIONS] = "completions",
        [PULSE_JOBS] = "jobs",         [PULSE_TIMERS] = "timers",
        [PULSE_MESSAGES] = "messages", [PULSE_STREAMS] = "streams",
        [PULSE_HOOKS] = "hooks",       [PULSE_OUTPUT] = "output",
    };
    _Static_assert(mx_countof(names) == PULSE_STEPS, "every step has a name");
    MX_ASSERT((size_t)step < PULSE_STEPS);
    return names[step];
}

/* --- watching ----------------------------------------------------------------------------------
 */

/* Said once when it is noticed and once when it is over. */
static void watch_core(struct sampler *s, unsigned core, uint64_t now_ns)
{
    enum pulse_step step;
    struct core_sample *part = &s->parts[core];
    uint64_t busy_ns = pulse_busy_ns(s->pulses[core], now_ns, &step);
    bool stalled = busy_ns >= SAMPLER_STALL_MS * MX_NS_PER_MS;
    bool over = part->stalled_ns > 0 && busy_ns < part->stalled_ns;
    struct log *log = &s->shard->log;
    if (over) {
        struct log_line *line = log_begin(log, LOG_WARN, "core-goes-on");
        log_u64(line, "core", core);
        log_u64(line, "stalled-ms", part->stalled_ns / MX_NS_PER_MS);
        log_end(log, line);
        part->stalled_ns = 0;
    }
    if (stalled && part->stalled_ns == 0) {
        struct log_line *line = log_begin(log, LOG_ERROR, "core-stalled");
        log_u64(line, "core", core);
        log_text(line, "step", sampler_step_name(step));
        log_u64(line, "ms", busy_ns / MX_NS_PER_MS);
        log_text(line, "effect", "its sessions and deliveries stand still; other cores go on");
        log_end(log, line);
    }
    part->stalled_ns = stalled ? busy_ns : 0;
}

static void watch_fire(struct timer *timer, uint64_t now_ns)
{
    struct sampler *s = mx_container_of(timer, struct sampler, watch);
    (void)now_ns; /* of the turn's beginning; the cores may be ahead of it */
    uint64_t at_ns = clock_monotonic_ns();
    for (unsigned i = 0; i < s->cores; i++) {
        watch_core(s, i, at_ns);
    }
    shard_after(s->shard, &s->watch, SAMPLER_WATCH_MS * MX_NS_PER_MS);
}

/* --- asking ------------------------------------------------------------------------------------
 */

static void finish(struct sampler *s, unsigned core, uint64_t now_ns)
{
    struct sample *sample = &s->samples[core];
    const struct core_sample *part = &s->parts[core];
    sample->answered = sample->fresh;
    sample->ready = sample->fresh && sample->snapshot.ready;
    sample->silent_ns = sample->fresh ? 0 : now_ns - part->answered_ns;
    sample->busy_ns = pulse_busy_ns(s->pulses[core], now_ns, &sample->step);
}

static void round_end(struct sampler *s)
{
    uint64_t now_ns = clock_monotonic_ns();
    for (unsigned i = 0; i < s->cores; i++) {
        finish(s, i, now_ns);
    }
    struct list waiting;
    struct list_node *node;
    wheel_cancel(&s->shard->wheel, &s->timer);
    list_init(&waiting);
    list_splice(&waiting, &s->waiting);
    while ((node = list_pop_front(&waiting)) != NULL) {
        struct sampler_wait *wait = mx_container_of(node, struct sampler_wait, node);
        wait->done(wait, s->samples, s->cores);
    }
}

static void on_reply(struct mbox_msg *msg, struct shard *at)
{
    struct stats_request *request = mx_container_of(msg, struct stats_request, reply);
    struct core_sample *part = mx_container_of(request, struct core_sample, request);
    struct sampler *s = part->sampler;
    struct sample *sample = &s->samples[part - s->parts];
    (void)at;
    part->asked = false;
    part->answered_ns = clock_monotonic_ns();
    sample->snapshot = request->snapshot;
    sample->fresh = true;
    if (s->missing > 0 && --s->missing == 0) {
        round_end(s);
    }
}

static void time_over(struct timer *timer, uint64_t now_ns)
{
    struct sampler *s = mx_container_of(timer, struct sampler, timer);
    (void)now_ns;
    s->missing = 0;
    round_end(s);
}

mx_err sampler_new(struct sampler **out_sampler, struct shard *shard, unsigned cores,
                   const struct pulse *const *pulses)
{
    struct sampler *s = calloc(1, sizeof *s);
    struct core_sample *parts = calloc(cores + 1, sizeof *parts);
    struct sample *samples = calloc(cores + 1, sizeof *samples);
    if (s == NULL || parts == NULL || samples == NULL) {
        free(s);
        free(parts);
        free(samples);
        return MX_ERR_NOMEM;
    }
    *s = (struct sampler){
        .shard = shard, .cores = cores, .parts = parts, .samples = samples, .pulses = pulses};
    s->timer.fire = time_over;
    list_init(&s->waiting);
    for (unsigned i = 0; i < cores; i++) {
        parts[i].sampler = s;
        parts[i].answered_ns = clock_monotonic_ns();
        parts[i].request = (struct stats_request){.msg.receive = stats_request_receive,
                                                  .reply.receive = on_reply,
                                                  .reply_to = shard->conf.id};
    }
    s->watch.fire = watch_fire;
    shard_after(shard, &s->watch, SAMPLER_WATCH_MS * MX_NS_PER_MS);
    *out_sampler = s;
    return MX_OK;
}

void sampler_free(struct sampler *s)
{
    if (s != NULL) {
        MX_ASSERT(list_empty(&s->waiting));
        wheel_cancel(&s->shard->wheel, &s->watch);
        free(s->parts);
        free(s->samples);
        free(s);
    }
}

static void ask(struct sampler *s, unsigned core)
{
    struct core_sample *part = &s->parts[core];
    s->samples[core].fresh = false;
    if (!part->asked &&
        mbox_send(s->shard->hub, s->shard->conf.id, core, &part->request.msg) == MX_OK) {
        part->asked = true;
    }
    s->missing += part->asked;
}

void sampler_ask(struct sampler *s, struct sampler_wait *wait)
{
    bool under_way = !list_empty(&s->waiting);
    list_push_back(&s->waiting, &wait->node);
    if (under_way) {
        return;
    }
    s->missing = 0;
    for (unsigned i = 0; i < s->cores; i++) {
        ask(s, i);
    }
    if (s->missing == 0) {
        round_end(s);
    } else {
        shard_after(s->shard, &s->timer, SAMPLER_WAIT_MS * MX_NS_PER_MS);
    }
}
