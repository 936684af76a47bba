#include "io/dns_cache.h"

#include "core/count.h"
#include "core/hash.h"

#include <stdlib.h>

struct dns_cached {
    struct dns_cached *next; /* in the slot */
    struct list_node used;
    uint64_t until_ns;
    size_t bytes; /* of all this */
    struct dns_name name;
    struct dns_answer answer; /* the records follow */
};

mx_err dns_cache_init(struct dns_cache *cache, size_t bytes_max, uint64_t seed)
{
    *cache = (struct dns_cache){.seed = seed, .bytes_max = bytes_max};
    list_init(&cache->used);
    cache->slots = calloc(DNS_CACHE_SLOTS, sizeof *cache->slots);
    return cache->slots ? MX_OK : MX_ERR_NOMEM;
}

static struct dns_cached **place(struct dns_cache *cache, const struct dns_name *name,
                                 enum dns_type type)
{
    uint64_t hash = hash_seeded(slice_of(name->wire, name->len), cache->seed + type);
    struct dns_cached **at = &cache->slots[hash & (DNS_CACHE_SLOTS - 1)];
    while (*at != NULL && ((*at)->answer.type != type || !dns_name_equal(&(*at)->name, name))) {
        at = &(*at)->next;
    }
    return at;
}

static void drop(struct dns_cache *cache, struct dns_cached **at)
{
    struct dns_cached *entry = *at;
    *at = entry->next;
    list_remove(&entry->used);
    cache->bytes -= entry->bytes;
    cache->entries--;
    free(entry);
}

void dns_cache_clear(struct dns_cache *cache)
{
    for (size_t i = 0; cache->slots != NULL && i < DNS_CACHE_SLOTS; i++) {
        while (cache->slots[i] != NULL) {
            drop(cache, &cache->slots[i]);
        }
    }
}

void dns_cache_clear_absent(struct dns_cache *cache)
{
    for (size_t i = 0; cache->slots != NULL && i < DNS_CACHE_SLOTS; i++) {
        struct dns_cached **at = &cache->slots[i];
        while (*at != NULL) {
            if ((*at)->answer.status != DNS_FOUND) {
                drop(cache, at);
            } else {
                at = &(*at)->next;
            }
        }
    }
}

void dns_cache_fini(struct dns_cache *cache)
{
    dns_cache_clear(cache);
    free(cache->slots);
    cache->slots = NULL;
}

const struct dns_answer *dns_cache_find(struct dns_cache *cache, const struct dns_name *name,
                                        enum dns_type type, uint64_t now_ns)
{
    struct dns_cached **at = place(cache, name, type);
    if (*at != NULL && (*at)->until_ns <= now_ns) {
        drop(cache, at);
    } else if (*at != NULL) {
        list_remove(&(*at)->used);
        list_push_front(&cache->used, &(*at)->used);
        count_one(&cache->hits);
        return &(*at)->answer;
    }
    return NULL;
}

static void make_room(struct dns_cache *cache, size_t bytes)
{
    while (cache->entries > 0 && cache->bytes + bytes > cache->bytes_max) {
        struct dns_cached *last = mx_container_of(cache->used.head.prev, struct dns_cached, used);
        drop(cache, place(cache, &last->name, last->answer.type));
    }
}

void dns_cache_keep(struct dns_cache *cache, const struct dns_name *name,
                    const struct dns_answer *answer, uint64_t now_ns)
{
    uint32_t max = answer->status == DNS_FOUND ? DNS_KEEP_MAX_S : DNS_KEEP_ABSENT_MAX_S;
    uint32_t keep_s = answer->ttl_s < max ? answer->ttl_s : max;
    size_t bytes = sizeof(struct dns_cached) + answer->len;
    if (keep_s == 0) {
        return;
    }
    struct dns_cached **old = place(cache, name, answer->type);
    if (*old != NULL) {
        drop(cache, old);
    }
    make_room(cache, bytes);
    struct dns_cached *entry = malloc(bytes);
    if (entry == NULL) {
        return;
    }
    struct dns_cached **at = place(cache, name, answer->type);
    entry->next = NULL;
    entry->used = (struct list_node){0};
    entry->until_ns = now_ns + keep_s * MX_NS_PER_S;
    entry->bytes = bytes;
    entry->name = *name;
    memcpy(&entry->answer, answer, sizeof *answer + answer->len);
    list_push_front(&cache->used, &entry->used);
    *at = entry;
    cache->bytes += bytes;
    cache->bytes_peak = cache->bytes > cache->bytes_peak ? cache->bytes : cache->bytes_peak;
    cache->entries++;
}
