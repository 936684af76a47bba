#include "core/key_table.h"

#include "core/check.h"
#include "core/hash.h"
#include "core/list.h"

#include <stdlib.h>

enum { BUCKETS = KEY_TABLE_KEYS_MAX / 2, EXPIRE_AT_ONCE = 4 };

static const uint64_t kept_ns = (uint64_t)KEY_KEPT_HOURS * 3600 * MX_NS_PER_S;

struct entry {
    struct entry *next;
    struct list_node node; /* by use, the latest last */
    uint64_t hash, used_ns;
    struct key_value value;
    uint16_t key_len;
    uint8_t kind;
    uint8_t bytes[]; /* the key, then the text */
};

struct key_table {
    struct entry **buckets;
    struct list by_use;
    uint64_t seed;
    struct key_table_stats stats;
};

mx_err key_table_new(struct key_table **out_table, uint64_t seed)
{
    struct key_table *table = calloc(1, sizeof *table);
    if (table != NULL) {
        table->buckets = calloc(BUCKETS, sizeof(struct entry *));
    }
    if (table == NULL || table->buckets == NULL) {
        free(table);
        return MX_ERR_NOMEM;
    }
    table->seed = seed;
    list_init(&table->by_use);
    *out_table = table;
    return MX_OK;
}

void key_table_free(struct key_table *table)
{
    struct list_node *node;
    if (table == NULL) {
        return;
    }
    while ((node = list_pop_front(&table->by_use)) != NULL) {
        free(mx_container_of(node, struct entry, node));
    }
    free(table->buckets);
    free(table);
}

void key_table_stats(const struct key_table *table, struct key_table_stats *out)
{
    *out = table->stats;
}

/* --- entries -----------------------------------------------------------------------------------
 */

static size_t size_of(const struct entry *entry)
{
    return sizeof *entry + entry->key_len + entry->value.text.len;
}

/* Where the pointer to the entry is, or would be. */
static struct entry **place_of(struct key_table *table, enum key_kind kind, struct slice key,
                               uint64_t hash)
{
    struct entry **at = &table->buckets[(hash >> 32) % BUCKETS];
    while (*at != NULL && ((*at)->hash != hash || (*at)->kind != kind ||
                           !slice_equal(slice_of((*at)->bytes, (*at)->key_len), key))) {
        at = &(*at)->next;
    }
    return at;
}

static void drop(struct key_table *table, struct entry *entry)
{
    struct slice key = slice_of(entry->bytes, entry->key_len);
    struct entry **at = place_of(table, (enum key_kind)entry->kind, key, entry->hash);
    MX_ASSERT(*at == entry);
    *at = entry->next;
    list_remove(&entry->node);
    table->stats.keys--;
    table->stats.bytes -= size_of(entry);
    free(entry);
}

static struct entry *oldest(const struct key_table *table)
{
    return mx_container_of(list_first(&table->by_use), struct entry, node);
}

static bool is_over(const struct entry *entry, uint64_t now_ns)
{
    return now_ns >= entry->used_ns + kept_ns;
}

static void expire(struct key_table *table, uint64_t now_ns)
{
    for (unsigned i = 0;
         i < EXPIRE_AT_ONCE && !list_empty(&table->by_use) && is_over(oldest(table), now_ns); i++) {
        drop(table, oldest(table));
    }
}

static void use(struct key_table *table, struct entry *entry, uint64_t now_ns)
{
    list_remove(&entry->node);
    list_push_back(&table->by_use, &entry->node);
    entry->used_ns = now_ns;
}

/* NULL: there is none. */
static struct entry *find(struct key_table *table, enum key_kind kind, struct slice key,
                          uint64_t now_ns)
{
    expire(table, now_ns);
    struct entry *entry = *place_of(table, kind, key, hash_seeded(key, table->seed));
    if (entry != NULL && is_over(entry, now_ns)) {
        drop(table, entry);
        return NULL;
    }
    return entry;
}

/* In the place of an entry of this key, if there is one. NULL: no memory. */
static struct entry *put(struct key_table *table, enum key_kind kind, struct slice key,
                         const struct key_value *value, uint64_t now_ns)
{
    size_t text = value->type == KEY_TEXT ? value->text.len : 0;
    struct entry *entry = malloc(sizeof *entry + key.len + text);
    if (entry == NULL) {
        return NULL;
    }
    *entry = (struct entry){.hash = hash_seeded(key, table->seed),
                            .used_ns = now_ns,
                            .value = *value,
                            .key_len = (uint16_t)key.len,
                            .kind = (uint8_t)kind};
    entry->value.text = slice_of(entry->bytes + key.len, text);
    if (key.len > 0) {
        memcpy(entry->bytes, key.ptr, key.len);
    }
    if (text > 0) {
        memcpy(entry->bytes + key.len, value->text.ptr, text);
    }
    struct entry **at = place_of(table, kind, key, entry->hash);
    if (*at != NULL) {
        drop(table, *at);
    }
    while (table->stats.keys == KEY_TABLE_KEYS_MAX ||
           table->stats.bytes + size_of(entry) > KEY_TABLE_BYTES_MAX) {
        drop(table, oldest(table));
        table->stats.forgotten++;
    }
    at = place_of(table, kind, key, entry->hash); /* what gave way may have been there */
    entry->next = *at;
    *at = entry;
    list_push_back(&table->by_use, &entry->node);
    table->stats.keys++;
    table->stats.bytes += size_of(entry);
    return entry;
}

/* --- use ---------------------------------------------------------------------------------------
 */

bool key_table_get(struct key_table *table, enum key_kind kind, struct slice key, uint64_t now_ns,
                   struct key_value *out)
{
    struct entry *entry = find(table, kind, key, now_ns);
    if (entry == NULL) {
        return false;
    }
    use(table, entry, now_ns);
    *out = entry->value;
    return true;
}

mx_err key_table_put(struct key_table *table, struct slice key, const struct key_value *value,
                     uint64_t now_ns)
{
    expire(table, now_ns);
    if (key.len > KEY_NAME_MAX || (value->type == KEY_TEXT && value->text.len > KEY_TEXT_MAX)) {
        return MX_ERR_LIMIT;
    }
    return put(table, KEY_IS_VALUE, key, value, now_ns) == NULL ? MX_ERR_NOMEM : MX_OK;
}

mx_err key_table_add(struct key_table *table, struct slice key, int64_t n, uint64_t now_ns,
                     int64_t *out_value)
{
    struct entry *entry = find(table, KEY_IS_COUNTER, key, now_ns);
    struct key_value value = {.type = KEY_INTEGER, .integer = n};
    if (entry != NULL) {
        int64_t *counter = &entry->value.integer;
        if (__builtin_add_overflow(*counter, n, counter)) {
            *counter = n > 0 ? INT64_MAX : INT64_MIN;
        }
        use(table, entry, now_ns);
        *out_value = *counter;
        return MX_OK;
    }
    *out_value = n;
    if (key.len > KEY_NAME_MAX) {
        return MX_ERR_LIMIT;
    }
    return put(table, KEY_IS_COUNTER, key, &value, now_ns) == NULL ? MX_ERR_NOMEM : MX_OK;
}
