/* Answers of name servers, kept for as long as they say, within a number of bytes; what was not
 * used for longest goes first. One per core, so nothing is locked. */
#pragma once

#include "core/list.h"
#include "io/dns_codec.h"

enum {
    DNS_CACHE_BYTES = 8 * 1024 * 1024,
    DNS_CACHE_SLOTS = 4096, /* of the table; power of two */
    DNS_KEEP_MAX_S = 86400,
    DNS_KEEP_ABSENT_MAX_S = 3600,
};

struct dns_cache {
    struct dns_cached **slots;
    struct list used; /* the one used last is first */
    uint64_t seed;
    size_t bytes, bytes_peak, bytes_max;
    size_t entries;
    uint64_t hits; /* questions that it answered */
};

MX_MUST_CHECK mx_err dns_cache_init(struct dns_cache *cache, size_t bytes_max, uint64_t seed);
void dns_cache_fini(struct dns_cache *cache);
/* Name in lower case. The answer is valid until the next call with this cache; NULL: none, or it
 * has been kept for long enough. */
const struct dns_answer *dns_cache_find(struct dns_cache *cache, const struct dns_name *name,
                                        enum dns_type type, uint64_t now_ns);
/* Keeps a copy for the answer's ttl_s, at most DNS_KEEP_MAX_S; not at all when that is 0 or memory
 * is out. */
void dns_cache_keep(struct dns_cache *cache, const struct dns_name *name,
                    const struct dns_answer *answer, uint64_t now_ns);
void dns_cache_clear(struct dns_cache *cache);
/* Only what was not found. */
void dns_cache_clear_absent(struct dns_cache *cache);
