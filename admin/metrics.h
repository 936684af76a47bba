/* Statistics of all cores as text for Prometheus (exposition format 0.0.4) and as JSON. Every
 * counter is one line of a table. */
#pragma once

#include "admin/sampler.h"
#include "core/cursor.h"

enum { METRICS_BYTES_PER_CORE = 8 * 1024, METRICS_BYTES_BASE = 16 * 1024 };

/* Room for METRICS_BYTES_BASE + cores * METRICS_BYTES_PER_CORE suffices. */
void metrics_prometheus(struct writer *w, const struct sample *samples, unsigned cores);
void metrics_json(struct writer *w, const struct sample *samples, unsigned cores);
