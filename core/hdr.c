#include "core/hdr.h"

#include "core/check.h"

uint64_t hdr_bucket_top(size_t bucket)
{
    MX_ASSERT(bucket < HDR_BUCKETS);
    if (bucket < HDR_SUB) {
        return bucket;
    }
    unsigned shift = (unsigned)(bucket / HDR_SUB) - 1;
    return ((uint64_t)(bucket % HDR_SUB + HDR_SUB + 1) << shift) - 1;
}

void hdr_merge(struct hdr *into, const struct hdr *from)
{
    into->sum += from->sum;
    into->max = from->max > into->max ? from->max : into->max;
    for (size_t i = 0; i < HDR_BUCKETS; i++) {
        into->buckets[i] += from->buckets[i];
    }
}

static uint64_t count_first(const struct hdr *hdr, size_t buckets)
{
    uint64_t count = 0;
    for (size_t i = 0; i < buckets; i++) {
        count += hdr->buckets[i];
    }
    return count;
}

uint64_t hdr_count(const struct hdr *hdr)
{
    return count_first(hdr, HDR_BUCKETS);
}

uint64_t hdr_count_below_power(const struct hdr *hdr, unsigned bits)
{
    size_t buckets = bits >= HDR_VALUE_BITS ? HDR_BUCKETS
                     : bits <= HDR_SUB_BITS ? (size_t)1 << bits
                                            : (size_t)(bits - HDR_SUB_BITS + 1) * HDR_SUB;
    return count_first(hdr, buckets);
}

uint64_t hdr_quantile(const struct hdr *hdr, unsigned per_mille)
{
    uint64_t count = hdr_count(hdr);
    MX_ASSERT(per_mille <= 1000);
    /* ceil(count * per_mille / 1000) without overflow, at least the first */
    uint64_t rank = count / 1000 * per_mille + (count % 1000 * per_mille + 999) / 1000;
    uint64_t seen = 0;
    rank = rank > 0 ? rank : 1;
    for (size_t i = 0; i < HDR_BUCKETS && count > 0; i++) {
        seen += hdr->buckets[i];
        if (seen >= rank) {
            uint64_t top = hdr_bucket_top(i);
            bool last = i == HDR_BUCKETS - 1; /* holds what is larger than all buckets */
            return last || top > hdr->max ? hdr->max : top;
        }
    }
    return 0;
}
