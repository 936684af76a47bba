/* Times in fixed memory with a relative error below 1 %: 128 buckets for every power of two. */
#pragma once

#include "core/base.h"

enum { HISTOGRAM_SUB = 128, HISTOGRAM_SUB_BITS = 7, HISTOGRAM_BUCKETS = 58 * HISTOGRAM_SUB };

struct histogram {
    uint64_t count, sum, max;
    uint64_t buckets[HISTOGRAM_BUCKETS];
};

void histogram_add(struct histogram *h, uint64_t value);
uint64_t histogram_mean(const struct histogram *h);
/* The value that `percent` of all values do not exceed (upper edge of its bucket); 0 when empty. */
uint64_t histogram_percentile(const struct histogram *h, double percent);
