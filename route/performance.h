/* What can be tuned while the server runs, for one core (route/performance.def). */
#pragma once

#include "core/base.h"

struct performance {
#define PERFORMANCE(member, property, format, least, most, normal, help) uint64_t member;
#include "route/performance.def"
#undef PERFORMANCE
    uint64_t content_bytes; /* for content and output; 0: as the core was started */
};

/* With the defaults in the place of zeros; commit_delay_us and content_bytes may be 0. */
struct performance performance_complete(const struct performance *performance);
