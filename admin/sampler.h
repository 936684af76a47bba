/* Asks all cores for their snapshots and waits for them, on the management loop; and watches, from
 * outside, whether the cores' loops go on. */
#pragma once

#include "core/list.h"
#include "io/shard.h"
#include "smtp/service_stats.h"

enum {
    SAMPLER_WAIT_MS = 40,    /* then the last known snapshot of a core has to do */
    SAMPLER_WATCH_MS = 500,  /* from look to look */
    SAMPLER_STALL_MS = 1000, /* a turn that is at work for so long is logged */
};

/* All numbers: the table of admin/statistics.h reads them by their place. */
struct sample {
    struct service_snapshot snapshot; /* of when it answered last; all zero: never */
    bool fresh;                       /* answered this time */
    uint64_t answered, ready;         /* 0 or 1, this time */
    uint64_t silent_ns;               /* since the last answer, or since the start; 0: fresh */
    uint64_t busy_ns;                 /* of the present turn, at `step` */
    enum pulse_step step;
};

/* Someone who waits for samples; embedded in its owner. */
struct sampler_wait {
    struct list_node node;
    void (*done)(struct sampler_wait *wait, const struct sample *samples, unsigned cores);
};

struct sampler;

/* shard is the management loop's; pulses (borrowed), one per core, belong to the cores' loops. */
MX_MUST_CHECK mx_err sampler_new(struct sampler **out_sampler, struct shard *shard, unsigned cores,
                                 const struct pulse *const *pulses);
/* After the cores have ended; nobody waits. NULL is fine. */
void sampler_free(struct sampler *sampler);
/* done follows, within SAMPLER_WAIT_MS and a tick of the loop's timers, maybe from within; those
 * who ask meanwhile share one round. */
void sampler_ask(struct sampler *sampler, struct sampler_wait *wait);
/* "completions", for logs and labels. */
const char *sampler_step_name(enum pulse_step step);
