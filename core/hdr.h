/* Histograms in fixed memory with a bounded relative error: HDR_SUB buckets for every power of two,
 * so a value is known to 1/HDR_SUB of itself. Values of HDR_VALUE_MAX and more share the last
 * bucket. Adding is a few instructions; histograms of several threads are merged by adding. */
#pragma once

#include "core/count.h"

enum {
    HDR_SUB_BITS = 3,
    HDR_SUB = 1 << HDR_SUB_BITS, /* 12.5 % */
    HDR_VALUE_BITS = 42,         /* of nanoseconds: 73 minutes */
    HDR_BUCKETS = (HDR_VALUE_BITS - HDR_SUB_BITS + 1) * HDR_SUB,
};

#define HDR_VALUE_MAX ((UINT64_C(1) << HDR_VALUE_BITS) - 1)

/* All zero: empty. */
struct hdr {
    uint64_t sum, max;
    uint64_t buckets[HDR_BUCKETS];
};

static inline size_t hdr_bucket(uint64_t value)
{
    value = value < HDR_VALUE_MAX ? value : HDR_VALUE_MAX;
    if (value < HDR_SUB) {
        return (size_t)value;
    }
    unsigned shift = 63 - HDR_SUB_BITS - (unsigned)__builtin_clzll(value);
    return (size_t)shift * HDR_SUB + (size_t)(value >> shift);
}

static inline void hdr_add(struct hdr *hdr, uint64_t value)
{
    count_max(&hdr->max, value);
    count_add(&hdr->sum, value);
    count_one(&hdr->buckets[hdr_bucket(value)]);
}

/* The largest value of a bucket. */
uint64_t hdr_bucket_top(size_t bucket);
void hdr_merge(struct hdr *into, const struct hdr *from);
uint64_t hdr_count(const struct hdr *hdr);
/* How many values are at most 2^bits - 1; exact. */
uint64_t hdr_count_below_power(const struct hdr *hdr, unsigned bits);
/* The value that per_mille of a thousand values do not exceed: at least the exact one (the one of
 * rank ceil(count * per_mille / 1000)) and at most 1/HDR_SUB above it. 0 when empty. */
uint64_t hdr_quantile(const struct hdr *hdr, unsigned per_mille);
