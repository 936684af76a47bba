#include "admin/sampler.h"

#include "core/check.h"

#include <stdlib.h>

struct core_sample {
    struct sampler *sampler;
    struct stats_request request;
    bool asked; /* the core has the request */
};

struct sampler {
    struct shard *shard;
    unsigned cores;
    unsigned missing; /* answers of this round */
    struct core_sample *parts;
    struct sample *samples;
    struct list waiting;
    struct timer timer;
};

static void round_end(struct sampler *s)
{
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

mx_err sampler_new(struct sampler **out_sampler, struct shard *shard, unsigned cores)
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
    *s = (struct sampler){.shard = shard, .cores = cores, .parts = parts, .samples = samples};
    s->timer.fire = time_over;
    list_init(&s->waiting);
    for (unsigned i = 0; i < cores; i++) {
        parts[i].sampler = s;
        parts[i].request = (struct stats_request){.msg.receive = stats_request_receive,
                                                  .reply.receive = on_reply,
                                                  .reply_to = shard->conf.id};
    }
    *out_sampler = s;
    return MX_OK;
}

void sampler_free(struct sampler *s)
{
    if (s != NULL) {
        MX_ASSERT(list_empty(&s->waiting));
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
