/* Statistics of all cores as text for Prometheus (exposition format 0.0.4) and as JSON, made from
 * the table of admin/statistics.h. */
#pragma once

#include "admin/sampler.h"
#include "core/cursor.h"

/* Room for most; a caller whose writer overflows tries again with more, up to the bound. */
enum {
    METRICS_BYTES_BASE = 64 * 1024,
    METRICS_BYTES_PER_CORE = 64 * 1024,
    METRICS_BYTES_MAX = 64 * 1024 * 1024,
};

void metrics_prometheus(struct writer *w, const struct sample *samples, unsigned cores);
void metrics_json(struct writer *w, const struct sample *samples, unsigned cores);
