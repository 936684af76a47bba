/* Asks all cores for their snapshots and waits for them, on the management loop. */
#pragma once

#include "core/list.h"
#include "io/shard.h"
#include "smtp/service_stats.h"

enum { SAMPLER_WAIT_MS = 40 /* then the last known snapshot of a core has to do */ };

struct sample {
    struct service_snapshot snapshot; /* of when it answered last; all zero: never */
    bool fresh;                       /* answered this time */
};

/* Someone who waits for samples; embedded in its owner. */
struct sampler_wait {
    struct list_node node;
    void (*done)(struct sampler_wait *wait, const struct sample *samples, unsigned cores);
};

struct sampler;

/* shard is the management loop's. */
MX_MUST_CHECK mx_err sampler_new(struct sampler **out_sampler, struct shard *shard, unsigned cores);
/* After the cores have ended; nobody waits. NULL is fine. */
void sampler_free(struct sampler *sampler);
/* done follows, within SAMPLER_WAIT_MS, maybe from within; those who ask meanwhile share one round.
 */
void sampler_ask(struct sampler *sampler, struct sampler_wait *wait);
