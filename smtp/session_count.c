#include "smtp/session_count.h"

#include "core/check.h"
#include "core/hash.h"

#include <stdatomic.h>
#include <stdlib.h>

enum { LINE_BYTES = 64, PER_LINE = LINE_BYTES / sizeof(uint32_t) };

/* A client's word: the upper bits of its hash, then how many sessions it has; 0 = free. Together
 * with the bucket 54 bits of the hash tell clients apart. */
enum { COUNT_BITS = 24, CLIENT_WORDS = SESSION_COUNT_BUCKETS * SESSION_COUNT_WAYS };
static const uint64_t count_mask = (UINT64_C(1) << COUNT_BITS) - 1;

struct session_count {
    unsigned cores;
    uint32_t listeners;
    size_t stride; /* counters per core, whole cache lines: index 0 is the sum over its listeners */
    _Atomic uint32_t *cells;
    uint64_t seed;
    _Atomic uint64_t *clients;
};

mx_err session_count_new(struct session_count **out_count, unsigned cores, uint32_t listeners,
                         uint64_t seed)
{
    struct session_count *count = calloc(1, sizeof *count);
    if (count == NULL) {
        return MX_ERR_NOMEM;
    }
    count->cores = cores;
    count->listeners = listeners;
    count->seed = seed;
    count->stride = (size_t)mx_round_up(listeners + 1, PER_LINE);
    count->cells = aligned_alloc(LINE_BYTES, cores * count->stride * sizeof *count->cells);
    count->clients = calloc(CLIENT_WORDS, sizeof *count->clients); /* zeros are free places */
    if (count->cells == NULL || count->clients == NULL) {
        session_count_free(count);
        return MX_ERR_NOMEM;
    }
    for (size_t i = 0; i < cores * count->stride; i++) {
        atomic_init(&count->cells[i], 0);
    }
    *out_count = count;
    return MX_OK;
}

void session_count_free(struct session_count *count)
{
    if (count != NULL) {
        free(count->clients);
        free(count->cells);
        free(count);
    }
}

static void add(_Atomic uint32_t *cell, int change)
{
    uint32_t value = atomic_load_explicit(cell, memory_order_relaxed);
    MX_ASSERT(change > 0 || value > 0);
    atomic_store_explicit(cell, value + (uint32_t)change, memory_order_relaxed);
}

void session_count_add(struct session_count *count, unsigned core, uint32_t listener, int change)
{
    MX_ASSERT(core < count->cores && listener < count->listeners);
    add(&count->cells[core * count->stride], change);
    add(&count->cells[core * count->stride + 1 + listener], change);
}

static uint32_t sum(const struct session_count *count, size_t column)
{
    uint32_t total = 0;
    for (unsigned core = 0; core < count->cores; core++) {
        total += atomic_load_explicit(&count->cells[core * count->stride + column],
                                      memory_order_relaxed);
    }
    return total;
}

uint32_t session_count_of(const struct session_count *count, uint32_t listener)
{
    return sum(count, 1 + (size_t)listener);
}

uint32_t session_count_all(const struct session_count *count)
{
    return sum(count, 0);
}

/* --- clients -----------------------------------------------------------------------------------
 */

static uint64_t client_hash(const struct session_count *count, const struct netaddr *client)
{
    enum { IPV4_BYTES = 4, IPV6_NETWORK_BYTES = 8 };
    size_t len = client->family == 4 ? IPV4_BYTES : IPV6_NETWORK_BYTES;
    return hash_seeded(slice_of(client->bytes, len), count->seed);
}

/* Sessions of the client with this tag. *out_way: where it has a word, else a free one, else
 * SESSION_COUNT_WAYS. Cores that make a word for the same client at the same instant may take two:
 * hence the sum. */
static uint64_t look(const _Atomic uint64_t *bucket, uint64_t tag, unsigned *out_way)
{
    uint64_t sessions = 0;
    unsigned own = SESSION_COUNT_WAYS;
    unsigned unused = SESSION_COUNT_WAYS;
    for (unsigned way = SESSION_COUNT_WAYS; way-- > 0;) {
        uint64_t word = atomic_load_explicit(&bucket[way], memory_order_relaxed);
        if (word == 0) {
            unused = way;
        } else if ((word & ~count_mask) == tag) {
            own = way;
            sessions += word & count_mask;
        }
    }
    *out_way = own < SESSION_COUNT_WAYS ? own : unused;
    return sessions;
}

static bool enter(struct session_count *count, uint64_t hash, uint32_t limit, uint32_t *out_place)
{
    uint64_t tag = hash & ~count_mask;
    size_t at = (size_t)(hash % SESSION_COUNT_BUCKETS) * SESSION_COUNT_WAYS;
    _Atomic uint64_t *bucket = &count->clients[at];
    *out_place = SESSION_COUNT_NOT;
    MX_ASSERT(limit > 0 && limit < count_mask);
    /* Looks again only because another core has changed something. */
    for (;;) {
        unsigned way;
        if (look(bucket, tag, &way) >= limit) {
            return false;
        }
        if (way == SESSION_COUNT_WAYS) {
            return true;
        }
        uint64_t word = atomic_load_explicit(&bucket[way], memory_order_relaxed);
        bool usable = word == 0 || (word & ~count_mask) == tag;
        uint64_t next = word == 0 ? tag + 1 : word + 1;
        if (usable && atomic_compare_exchange_strong_explicit(
                          &bucket[way], &word, next, memory_order_relaxed, memory_order_relaxed)) {
            *out_place = (uint32_t)at + way + 1;
            return true;
        }
    }
}

bool session_count_enter(struct session_count *count, const struct netaddr *client, uint32_t limit,
                         uint32_t *out_place)
{
    return enter(count, client_hash(count, client), limit, out_place);
}

bool session_count_enter_network(struct session_count *count, const struct netmask *network,
                                 uint32_t limit, uint32_t *out_place)
{
    enum { BYTES = 16 };
    uint8_t key[BYTES + 2]; /* longer than any client's */
    memcpy(key, network->addr.bytes, BYTES);
    key[BYTES] = network->addr.family;
    key[BYTES + 1] = network->bits;
    return enter(count, hash_seeded(slice_of(key, sizeof key), count->seed), limit, out_place);
}

void session_count_leave(struct session_count *count, uint32_t place)
{
    if (place == SESSION_COUNT_NOT) {
        return;
    }
    MX_ASSERT(place <= CLIENT_WORDS);
    _Atomic uint64_t *cell = &count->clients[place - 1];
    uint64_t word = atomic_load_explicit(cell, memory_order_relaxed);
    uint64_t next;
    do {
        MX_ASSERT((word & count_mask) > 0);
        next = (word & count_mask) == 1 ? 0 : word - 1;
    } while (!atomic_compare_exchange_weak_explicit(cell, &word, next, memory_order_relaxed,
                                                    memory_order_relaxed));
}
