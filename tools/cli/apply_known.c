#include "tools/cli/apply_known.h"

#include "core/hash.h"
#include "tools/cli/fail.h"

#include <stdlib.h>
#include <string.h>

enum { FIRST_CAPACITY = 1024 };

/* --- tables ------------------------------------------------------------------------------------
 */

static uint64_t slot_of(uint64_t hash, uint32_t record)
{
    return (hash & ~(uint64_t)UINT32_MAX) | (record + 1);
}

static void slot_put(struct known_index *index, uint64_t slot)
{
    uint32_t at = (uint32_t)(slot >> 32) & (index->capacity - 1);
    while (index->slots[at] != 0) {
        at = (at + 1) & (index->capacity - 1);
    }
    index->slots[at] = slot;
}

static void index_grow(struct known_index *index)
{
    struct known_index old = *index;
    index->capacity = old.capacity > 0 ? 2 * old.capacity : FIRST_CAPACITY;
    index->slots = need(calloc(index->capacity, sizeof *index->slots));
    for (uint32_t i = 0; i < old.capacity; i++) {
        if (old.slots[i] != 0) {
            slot_put(index, old.slots[i]);
        }
    }
    free(old.slots);
}

void known_index_add(struct known_index *index, uint64_t hash, uint32_t record)
{
    if (index->used + index->used / 3 >= index->capacity) {
        index_grow(index);
    }
    slot_put(index, slot_of(hash, record));
    index->used++;
}

bool known_index_find(const struct known_index *index, uint64_t hash,
                      bool (*is)(void *arg, uint32_t record), void *arg)
{
    if (index->capacity == 0) {
        return false;
    }
    uint32_t at = (uint32_t)(hash >> 32) & (index->capacity - 1);
    for (; index->slots[at] != 0; at = (at + 1) & (index->capacity - 1)) {
        uint64_t slot = index->slots[at];
        if (slot >> 32 == hash >> 32 && is(arg, (uint32_t)slot - 1)) {
            return true;
        }
    }
    return false;
}

void known_index_free(struct known_index *index)
{
    free(index->slots);
    *index = (struct known_index){0};
}

/* --- records -----------------------------------------------------------------------------------
 */

void known_init(struct known *k, json_t *properties)
{
    *k = (struct known){.properties = properties};
}

void known_free(struct known *k)
{
    for (uint32_t i = 0; i < k->count; i++) {
        free(k->records[i]);
    }
    free(k->records);
    known_index_free(&k->by_id);
    json_decref(k->properties);
    *k = (struct known){0};
}

static char *record_of(const struct known *k, const json_t *value, const char *id)
{
    json_t *values = need(json_array()), *name;
    size_t i, id_len = strlen(id) + 1;
    json_array_foreach(k->properties, i, name)
    {
        json_t *part = json_object_get(value, json_string_value(name));
        json_array_append_new(values, part != NULL ? json_incref(part) : need(json_null()));
    }
    size_t len = json_dumpb(values, NULL, 0, JSON_COMPACT);
    char *record = need(malloc(id_len + len + 1));
    memcpy(record, id, id_len);
    (void)json_dumpb(values, record + id_len, len, JSON_COMPACT);
    record[id_len + len] = '\0';
    json_decref(values);
    return record;
}

static uint64_t hash_id(const char *id)
{
    return hash_seeded(slice_of_text(id), 0);
}

bool known_put(struct known *k, const json_t *value, uint32_t *out_record)
{
    const char *id = json_string_value(json_object_get(value, "id"));
    if (id == NULL) {
        return fail("unexpected server response: an object without id");
    }
    if (known_find(k, id, out_record)) {
        char *old = k->records[*out_record];
        k->records[*out_record] = record_of(k, value, id);
        free(old);
        return true;
    }
    if (k->count == KNOWN_MAX) {
        return fail("the server has more objects than can be compared");
    }
    if (k->count == k->capacity) {
        k->capacity = k->capacity > 0 ? 2 * k->capacity : FIRST_CAPACITY;
        k->records = need(realloc(k->records, k->capacity * sizeof *k->records));
    }
    *out_record = k->count;
    k->records[k->count++] = record_of(k, value, id);
    known_index_add(&k->by_id, hash_id(id), *out_record);
    return true;
}

const char *known_id(const struct known *k, uint32_t record)
{
    return k->records[record];
}

json_t *known_get(const struct known *k, uint32_t record)
{
    const char *id = k->records[record];
    json_t *value = need(json_object()), *name;
    json_t *values = need(json_loads(id + strlen(id) + 1, JSON_DECODE_ANY, NULL));
    size_t i;
    json_array_foreach(k->properties, i, name)
    {
        json_object_set(value, json_string_value(name), json_array_get(values, i));
    }
    json_object_set_new(value, "id", need(json_string(id)));
    json_decref(values);
    return value;
}

struct wanted {
    const struct known *k;
    const char *id;
    uint32_t record;
};

static bool is_wanted(void *arg, uint32_t record)
{
    struct wanted *wanted = arg;
    wanted->record = record;
    return strcmp(wanted->k->records[record], wanted->id) == 0;
}

bool known_find(const struct known *k, const char *id, uint32_t *out_record)
{
    struct wanted wanted = {.k = k, .id = id};
    bool found = known_index_find(&k->by_id, hash_id(id), is_wanted, &wanted);
    *out_record = wanted.record;
    return found;
}
