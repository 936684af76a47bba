/* What next hops said about recipients that are not here: for a while, in a bounded table of one
 * core. A full set of the table gives up its oldest answer, so every operation looks at VERIFY_WAYS
 * entries at most. */
#pragma once

#include "core/slice.h"

enum verify_answer {
    VERIFY_ACCEPTED, /* the next hop has such a recipient */
    VERIFY_REFUSED,  /* it has not, for good */
    VERIFY_UNKNOWN,  /* nobody could say now; never kept */
    VERIFY_LATER,    /* the answer comes later; of the cache: not known */
};

enum {
    VERIFY_WAYS = 8,
    VERIFY_KEPT_TEXT_MAX = 92, /* longer addresses are asked about every time */
};

/* A recipient at a route. */
struct verify_key {
    uint64_t domain_id;   /* of the local domain, whichever of its names was used */
    uint32_t route;       /* index in the image */
    struct slice address; /* as sent */
};

struct verify_kept;

struct verify_cache {
    struct verify_kept *entries; /* made with the first answer; NULL: none yet */
    size_t sets;
    size_t sets_wanted; /* power of two */
    uint64_t seed;
    uint32_t epoch; /* answers of earlier ones do not count */
};

/* entries_max is rounded down to a power of two, at least VERIFY_WAYS. */
void verify_cache_init(struct verify_cache *cache, uint64_t seed, size_t entries_max);
void verify_cache_fini(struct verify_cache *cache);
/* Another bound: all answers are dropped when it differs. */
void verify_cache_resize(struct verify_cache *cache, size_t entries_max);
/* *out_until_ns: how long it counts. */
enum verify_answer verify_cache_find(const struct verify_cache *cache, const struct verify_key *key,
                                     uint64_t now_ns, uint64_t *out_until_ns);
/* answer: ACCEPTED or REFUSED. Without memory it is not kept. */
void verify_cache_keep(struct verify_cache *cache, const struct verify_key *key,
                       enum verify_answer answer, uint64_t now_ns, uint64_t until_ns);
/* This address of the domain has changed here: its answers, with any tag, do not count any more.
 * local: lower case. */
void verify_cache_forget(struct verify_cache *cache, uint64_t domain_id, struct slice local);
/* Domains or routes have changed. */
void verify_cache_forget_all(struct verify_cache *cache);
size_t verify_cache_bytes(const struct verify_cache *cache);
/* Is the key about this address of the domain, with or without a tag? local: lower case. */
bool verify_key_is_about(const struct verify_key *key, uint64_t domain_id, struct slice local);
