#include "smtp/verify_cache.h"

#include "core/check.h"
#include "core/hash.h"
#include "core/text.h"

#include <stdlib.h>

enum { BASE_MAX = 128 /* of a local part, for its place in the table */ };

struct verify_kept {
    uint64_t domain_id;
    uint64_t until_ns; /* 0: empty */
    uint32_t epoch;
    uint32_t route;
    uint8_t answer; /* enum verify_answer */
    uint8_t len;
    uint8_t text[VERIFY_KEPT_TEXT_MAX];
};

_Static_assert(sizeof(struct verify_kept) == 120, "what an entry costs is known");
_Static_assert(VERIFY_KEPT_TEXT_MAX <= UINT8_MAX, "its length fits");

/* --- keys --------------------------------------------------------------------------------------
 */

static struct slice local_of(struct slice address)
{
    size_t at = address.len;
    while (at > 0 && address.ptr[at - 1] != '@') {
        at--;
    }
    return slice_first(address, at > 0 ? at - 1 : address.len);
}

static struct slice without_tag(struct slice local)
{
    return slice_first(local, slice_find(local, '+'));
}

bool verify_key_is_about(const struct verify_key *key, uint64_t domain_id, struct slice local)
{
    struct slice own = local_of(key->address);
    return key->domain_id == domain_id &&
           (text_equal_nocase(own, local) || text_equal_nocase(without_tag(own), local));
}

/* All tags of one local part, in any case, share a set: so they are found when it changes. */
static struct verify_kept *set_of(const struct verify_cache *cache, uint64_t domain_id,
                                  struct slice local)
{
    uint8_t base[BASE_MAX];
    struct slice cut = slice_first(without_tag(local), sizeof base);
    text_lower(base, cut);
    uint64_t hash = hash_seeded(slice_of(base, cut.len), cache->seed ^ domain_id);
    return &cache->entries[(hash & (cache->sets - 1)) * VERIFY_WAYS];
}

/* The local part as it was sent: only the next hop knows whether its case matters. */
static bool is_for(const struct verify_kept *kept, const struct verify_key *key)
{
    struct slice text = slice_of(kept->text, kept->len);
    size_t local = local_of(key->address).len;
    return kept->domain_id == key->domain_id && kept->route == key->route &&
           kept->len == key->address.len &&
           slice_equal(slice_first(text, local), slice_first(key->address, local)) &&
           text_equal_nocase(slice_from(text, local), slice_from(key->address, local));
}

static bool counts(const struct verify_cache *cache, const struct verify_kept *kept,
                   uint64_t now_ns)
{
    return kept->until_ns > now_ns && kept->epoch == cache->epoch;
}

/* --- the table ---------------------------------------------------------------------------------
 */

static size_t sets_for(size_t entries_max)
{
    size_t sets = 1;
    while (sets * 2 * VERIFY_WAYS <= entries_max) {
        sets *= 2;
    }
    return sets;
}

void verify_cache_init(struct verify_cache *cache, uint64_t seed, size_t entries_max)
{
    *cache = (struct verify_cache){.seed = seed, .epoch = 1, .sets_wanted = sets_for(entries_max)};
}

void verify_cache_fini(struct verify_cache *cache)
{
    free(cache->entries);
    *cache = (struct verify_cache){0};
}

void verify_cache_resize(struct verify_cache *cache, size_t entries_max)
{
    size_t sets = sets_for(entries_max);
    if (sets != cache->sets_wanted) {
        uint64_t seed = cache->seed;
        uint32_t epoch = cache->epoch;
        verify_cache_fini(cache);
        *cache = (struct verify_cache){.seed = seed, .epoch = epoch, .sets_wanted = sets};
    }
}

enum verify_answer verify_cache_find(const struct verify_cache *cache, const struct verify_key *key,
                                     uint64_t now_ns, uint64_t *out_until_ns)
{
    if (cache->entries == NULL) {
        return VERIFY_LATER;
    }
    const struct verify_kept *set = set_of(cache, key->domain_id, local_of(key->address));
    for (unsigned i = 0; i < VERIFY_WAYS; i++) {
        if (counts(cache, &set[i], now_ns) && is_for(&set[i], key)) {
            *out_until_ns = set[i].until_ns;
            return (enum verify_answer)set[i].answer;
        }
    }
    return VERIFY_LATER;
}

/* The entry of this key, else the one that is worth least. */
static struct verify_kept *place_for(const struct verify_cache *cache, const struct verify_key *key,
                                     uint64_t now_ns)
{
    struct verify_kept *set = set_of(cache, key->domain_id, local_of(key->address));
    struct verify_kept *place = &set[0];
    for (unsigned i = 0; i < VERIFY_WAYS; i++) {
        if (is_for(&set[i], key)) {
            return &set[i];
        }
        bool worth = counts(cache, place, now_ns);
        if (worth && (!counts(cache, &set[i], now_ns) || set[i].until_ns < place->until_ns)) {
            place = &set[i];
        }
    }
    return place;
}

void verify_cache_keep(struct verify_cache *cache, const struct verify_key *key,
                       enum verify_answer answer, uint64_t now_ns, uint64_t until_ns)
{
    MX_ASSERT(answer == VERIFY_ACCEPTED || answer == VERIFY_REFUSED);
    if (key->address.len > VERIFY_KEPT_TEXT_MAX) {
        return;
    }
    if (cache->entries == NULL) {
        cache->entries = calloc(cache->sets_wanted * VERIFY_WAYS, sizeof *cache->entries);
        cache->sets = cache->sets_wanted;
    }
    if (cache->entries == NULL) {
        return;
    }
    struct verify_kept *kept = place_for(cache, key, now_ns);
    *kept = (struct verify_kept){.domain_id = key->domain_id,
                                 .until_ns = until_ns,
                                 .epoch = cache->epoch,
                                 .route = key->route,
                                 .answer = (uint8_t)answer,
                                 .len = (uint8_t)key->address.len};
    memcpy(kept->text, key->address.ptr, key->address.len);
}

void verify_cache_forget(struct verify_cache *cache, uint64_t domain_id, struct slice local)
{
    if (cache->entries == NULL) {
        return;
    }
    struct verify_kept *set = set_of(cache, domain_id, local);
    for (unsigned i = 0; i < VERIFY_WAYS; i++) {
        struct verify_key key = {.domain_id = set[i].domain_id,
                                 .address = slice_of(set[i].text, set[i].len)};
        if (set[i].until_ns != 0 && verify_key_is_about(&key, domain_id, local)) {
            set[i].epoch = cache->epoch - 1;
        }
    }
}

void verify_cache_forget_all(struct verify_cache *cache)
{
    cache->epoch++;
}

size_t verify_cache_bytes(const struct verify_cache *cache)
{
    return cache->entries == NULL ? 0 : cache->sets * VERIFY_WAYS * sizeof(struct verify_kept);
}
