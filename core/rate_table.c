#include "core/rate_table.h"

#include "core/check.h"
#include "core/hash.h"

#include <stdatomic.h>
#include <stdlib.h>

/* A place whose key is being changed; no time. */
static const uint64_t changing = UINT64_MAX;

struct place {
    _Atomic uint64_t key;     /* 0: none yet */
    _Atomic uint64_t full_ns; /* core/rate's counter, or changing */
};

struct rate_table {
    struct place *places;
    size_t buckets;
    uint64_t seed;
};

mx_err rate_table_new(struct rate_table **out_table, size_t buckets, uint64_t seed)
{
    MX_ASSERT(buckets > 0 && (buckets & (buckets - 1)) == 0);
    struct rate_table *table = calloc(1, sizeof *table);
    if (table != NULL) {
        table->places = calloc(buckets * RATE_TABLE_WAYS, sizeof *table->places);
    }
    if (table == NULL || table->places == NULL) {
        free(table);
        return MX_ERR_NOMEM;
    }
    table->buckets = buckets;
    table->seed = seed;
    *out_table = table;
    return MX_OK;
}

void rate_table_free(struct rate_table *table)
{
    if (table != NULL) {
        free(table->places);
        free(table);
    }
}

uint64_t rate_table_key(const struct rate_table *table, struct slice bytes)
{
    uint64_t key = hash_seeded(bytes, table->seed);
    return key == 0 ? 1 : key;
}

static struct place *bucket_of(struct rate_table *table, uint64_t key)
{
    return &table->places[(key & (table->buckets - 1)) * RATE_TABLE_WAYS];
}

/* What the place counts, and for whom; false: it is changing. */
static bool read_place(struct place *place, uint64_t *out_key, uint64_t *out_full_ns)
{
    *out_key = atomic_load_explicit(&place->key, memory_order_acquire);
    *out_full_ns = atomic_load_explicit(&place->full_ns, memory_order_acquire);
    return *out_full_ns != changing &&
           atomic_load_explicit(&place->key, memory_order_acquire) == *out_key;
}

static bool change(struct place *place, uint64_t from_ns, uint64_t to_ns)
{
    return atomic_compare_exchange_strong_explicit(&place->full_ns, &from_ns, to_ns,
                                                   memory_order_acq_rel, memory_order_relaxed);
}

/* The key's place, the fullest when threads have made several; NULL: none. *out_spare: the place
 * that is nearest to being full again, NULL when all are changing. */
static struct place *find(struct place *bucket, uint64_t key, uint64_t *out_full_ns,
                          struct place **out_spare, uint64_t *out_spare_ns)
{
    struct place *found = NULL;
    *out_spare = NULL;
    for (unsigned way = 0; way < RATE_TABLE_WAYS; way++) {
        uint64_t own, full_ns;
        if (!read_place(&bucket[way], &own, &full_ns)) {
            continue;
        }
        if (own == key && (found == NULL || full_ns > *out_full_ns)) {
            found = &bucket[way];
            *out_full_ns = full_ns;
        }
        if (*out_spare == NULL || full_ns < *out_spare_ns) {
            *out_spare = &bucket[way];
            *out_spare_ns = full_ns;
        }
    }
    return found;
}

/* False: somebody was faster. */
static bool take_over(struct place *place, uint64_t old_ns, uint64_t key, uint64_t full_ns)
{
    if (!change(place, old_ns, changing)) {
        return false;
    }
    atomic_store_explicit(&place->key, key, memory_order_release);
    atomic_store_explicit(&place->full_ns, full_ns, memory_order_release);
    return true;
}

uint64_t rate_table_take(struct rate_table *table, uint64_t key, const struct rate *rate,
                         uint64_t now_ns, bool *out_forgotten)
{
    struct place *bucket = bucket_of(table, key);
    MX_ASSERT(key != 0);
    *out_forgotten = false;
    for (;;) { /* looks again only because another thread has changed something */
        struct place *spare;
        uint64_t full_ns, spare_ns;
        struct place *place = find(bucket, key, &full_ns, &spare, &spare_ns);
        if (place != NULL) {
            uint64_t wait_ns = rate_wait_ns(rate, full_ns, now_ns);
            if (wait_ns > 0 || change(place, full_ns, rate_after(rate, full_ns, now_ns))) {
                return wait_ns;
            }
        } else if (spare == NULL) {
            return 0;
        } else if (take_over(spare, spare_ns, key, rate_after(rate, 0, now_ns))) {
            *out_forgotten = spare_ns > now_ns;
            return 0;
        }
    }
}

void rate_table_give(struct rate_table *table, uint64_t key, const struct rate *rate)
{
    struct place *bucket = bucket_of(table, key);
    struct place *place, *spare;
    uint64_t full_ns, spare_ns;
    do {
        place = find(bucket, key, &full_ns, &spare, &spare_ns);
    } while (place != NULL && !change(place, full_ns, rate_before(rate, full_ns)));
}

uint64_t rate_table_ahead(struct rate_table *table, uint64_t key, uint64_t now_ns)
{
    struct place *spare;
    uint64_t full_ns, spare_ns;
    struct place *place = find(bucket_of(table, key), key, &full_ns, &spare, &spare_ns);
    return place != NULL && full_ns > now_ns ? full_ns - now_ns : 0;
}

uint64_t rate_table_line(struct rate_table *table, uint64_t key, const struct rate *rate,
                         uint64_t from_ns)
{
    struct place *bucket = bucket_of(table, key);
    for (;;) { /* again only because another thread has changed something */
        struct place *spare;
        uint64_t full_ns, spare_ns;
        struct place *place = find(bucket, key, &full_ns, &spare, &spare_ns);
        uint64_t at_ns = place != NULL && full_ns > from_ns ? full_ns : from_ns;
        bool done = place != NULL   ? change(place, full_ns, at_ns + rate->each_ns)
                    : spare == NULL ? true
                                    : take_over(spare, spare_ns, key, at_ns + rate->each_ns);
        if (done) {
            return at_ns;
        }
    }
}
