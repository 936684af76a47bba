/* The two clocks. Part of the simulation seam (clock_linux.c). Sampled once per loop turn by
 * io/shard; everything else takes the time as a value. */
#pragma once

#include "core/base.h"

uint64_t clock_monotonic_ns(void);
/* Milliseconds since 1970-01-01 UTC. */
int64_t clock_wall_ms(void);
