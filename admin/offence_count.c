#include "admin/offence_count.h"

#include "core/hash.h"

void offence_count_init(struct offence_count *counts, uint64_t seed)
{
    *counts = (struct offence_count){.seed = seed};
}

struct netmask offence_client(const struct netaddr *peer, unsigned ipv6_bits)
{
    struct netmask client = {.addr = *peer, .bits = 32};
    client.addr.port = 0;
    if (peer->family == 6) {
        client.bits = (uint8_t)(ipv6_bits < 128 ? ipv6_bits : 128);
        for (unsigned bit = client.bits; bit < 128; bit++) {
            client.addr.bytes[bit / 8] &= (uint8_t) ~(0x80u >> bit % 8);
        }
    }
    return client;
}

static uint64_t key_of(const struct offence_count *counts, struct slice bytes, uint64_t kind)
{
    uint64_t key = hash_seeded(bytes, counts->seed + kind);
    return key ? key : 1;
}

static uint64_t client_key(const struct offence_count *counts, const struct netmask *client)
{
    uint8_t bytes[2 + sizeof client->addr.bytes] = {client->addr.family, client->bits};
    memcpy(bytes + 2, client->addr.bytes, client->addr.family == 4 ? 4 : 16);
    return key_of(counts, slice_of(bytes, sizeof bytes), 0);
}

static struct offence_entry *find(struct offence_count *counts, uint64_t key)
{
    struct offence_entry *set = counts->entries[key % OFFENCE_SETS];
    for (size_t i = 0; i < OFFENCE_WAYS; i++) {
        if (set[i].key == key) {
            return &set[i];
        }
    }
    return NULL;
}

static uint32_t worth(const struct offence_entry *entry, int64_t now_ms, int64_t period_ms)
{
    return entry->key == 0 || now_ms - entry->window_ms >= period_ms ? 0 : entry->count;
}

/* Adds to the entry of the key, which takes the place of the least one if it is new. */
static uint32_t add(struct offence_count *counts, uint64_t key, uint32_t more, int64_t now_ms,
                    int64_t period_ms)
{
    struct offence_entry *entry = find(counts, key);
    if (!entry) {
        struct offence_entry *set = counts->entries[key % OFFENCE_SETS];
        entry = &set[0];
        for (size_t i = 1; i < OFFENCE_WAYS; i++) {
            if (worth(&set[i], now_ms, period_ms) < worth(entry, now_ms, period_ms)) {
                entry = &set[i];
            }
        }
        *entry = (struct offence_entry){.key = key, .window_ms = now_ms};
    }
    if (now_ms - entry->window_ms >= period_ms) {
        entry->window_ms = now_ms;
        entry->count = 0;
    }
    entry->count = more > UINT32_MAX - entry->count ? UINT32_MAX : entry->count + more;
    return entry->count;
}

struct offence_total offence_count_add(struct offence_count *counts, const struct netmask *client,
                                       struct slice name, uint32_t more,
                                       const struct offence_rate *rate, int64_t now_ms)
{
    uint32_t by_name = 0;
    if (name.len > 0) {
        by_name = add(counts, key_of(counts, name, 1), more, now_ms, rate->period_ms);
    }
    uint32_t own = add(counts, client_key(counts, client), more, now_ms, rate->period_ms);
    return (struct offence_total){
        .most = own > by_name ? own : by_name,
        .over = rate->count > 0 &&
                (own > rate->count || (by_name > rate->count && own >= OFFENCE_NAME_OWN))};
}

void offence_count_forget(struct offence_count *counts, const struct netmask *client)
{
    struct offence_entry *entry = find(counts, client_key(counts, client));
    if (entry) {
        *entry = (struct offence_entry){0};
    }
}
