#include "tools/cli/apply_match.h"

#include "core/hash.h"
#include "tools/cli/apply_known.h"
#include "tools/cli/apply_scope.h"
#include "tools/cli/fail.h"
#include "tools/cli/schema.h"

#include <stdlib.h>

/* --- signatures --------------------------------------------------------------------------------
 */

/* Plain values that clients set and get back as they were. */
static bool is_comparable(const json_t *field)
{
    const json_t *type = field_type(field);
    switch (type_kind(type)) {
    case KIND_STRING:
    case KIND_NUMBER:
    case KIND_BOOLEAN:
    case KIND_ENUM:
    case KIND_DATE:
        return !field_is_mode(field, "serverSet") && !type_is_secret(type);
    default:
        return false;
    }
}

static json_t *or_null(json_t *value)
{
    return value ? json_incref(value) : json_null();
}

static bool add_by_value(json_t *parts, const struct match_key *key, json_t *schema,
                         const json_t *value)
{
    const char *name;
    json_t *field;
    json_object_foreach(schema_fields_of(schema, key->object, value), name, field)
    {
        if (is_comparable(field)) {
            json_array_append_new(parts, or_null(json_object_get(value, name)));
        }
    }
    return json_array_size(parts) > 1 ||
           fail("%s: nothing can be compared; name properties in `matchOn`",
                schema_display(key->object));
}

/* known NULL: value is the server's, which may lack properties and has no client ids. */
static bool add_property(json_t *parts, const struct match_key *key, json_t *schema,
                         const json_t *value, const char *name, const json_t *known)
{
    json_t *part = json_object_get(value, name);
    const char *ref = known ? property_ref(schema, key->object, name, part) : NULL;
    if (part == NULL && known != NULL) {
        return fail("%s: the property `%s`, by which it is matched, is missing",
                    schema_display(key->object), name);
    }
    if (ref != NULL) {
        part = json_object_get(known, ref);
        if (part == NULL) {
            return fail("%s: `%s` refers to `#%s`, which no operation before this one makes",
                        schema_display(key->object), name, ref);
        }
    }
    json_array_append_new(parts, or_null(part));
    return true;
}

char *match_signature(const struct match_key *key, json_t *schema, const json_t *value,
                      const json_t *known)
{
    bool multiple = schema_variants(schema, key->object) != NULL;
    json_t *at_type = json_object_get(value, "@type");
    if (multiple && known != NULL && at_type == NULL) {
        fail("%s: an object lacks its `@type`", schema_display(key->object));
        return NULL;
    }
    json_t *parts = need(json_array()), *name;
    bool good = true;
    size_t i;
    json_array_append_new(parts, or_null(multiple ? at_type : NULL));
    json_array_foreach(key->properties, i, name)
    {
        good = good && add_property(parts, key, schema, value, json_string_value(name), known);
    }
    good = good && (key->properties != NULL || add_by_value(parts, key, schema, value));
    char *text = good ? need(json_dumps(parts, JSON_COMPACT | JSON_SORT_KEYS)) : NULL;
    json_decref(parts);
    return text;
}

void match_compared(json_t *names, const struct op *op, json_t *schema)
{
    json_t *properties = op_match_properties(op, schema), *item;
    const char *name;
    size_t i;
    json_object_set_new(names, "@type", json_true());
    json_array_foreach(properties, i, item)
    {
        json_object_set_new(names, json_string_value(item), json_true());
    }
    json_object_foreach(op->scope, name, item)
    {
        json_object_set_new(names, name, json_true());
    }
    if (properties == NULL) {
        json_t *all = schema_all_fields(schema, op->object);
        json_object_foreach(all, name, item)
        {
            if (is_comparable(item)) {
                json_object_set_new(names, name, json_true());
            }
        }
        json_decref(all);
    }
    json_decref(properties);
}

/* --- tables ------------------------------------------------------------------------------------
 */

/* The objects of a type by one key. A changed object is added anew: its older entries lead to it,
 * but do not fit any more. */
struct match_table {
    struct match_table *next;
    json_t *properties, *scope; /* of the key; NULL as there */
    struct known_index index;
};

struct matched_type {
    struct matched_type *next;
    const char *object; /* borrowed from the schema */
    struct known known;
    struct match_table *tables;
};

static struct match_key key_of(const struct matched_type *type, const struct match_table *table)
{
    return (struct match_key){
        .object = type->object, .properties = table->properties, .scope = table->scope};
}

static uint64_t hash_of(const char *signature)
{
    return hash_seeded(slice_of_text(signature), 0);
}

static void table_add(struct matcher *m, struct matched_type *type, struct match_table *table,
                      uint32_t record, const json_t *value)
{
    struct match_key key = key_of(type, table);
    char *signature =
        scope_has(key.scope, value) ? match_signature(&key, m->schema, value, NULL) : NULL;
    if (signature != NULL) {
        known_index_add(&table->index, hash_of(signature), record);
    }
    free(signature);
}

static bool same(json_t *a, json_t *b)
{
    return a == NULL || b == NULL ? a == b : json_equal(a, b);
}

static struct match_table *table_get(struct matcher *m, struct matched_type *type,
                                     const struct match_key *key)
{
    struct match_table *table = type->tables;
    while (table != NULL &&
           !(same(table->properties, key->properties) && same(table->scope, key->scope))) {
        table = table->next;
    }
    if (table != NULL) {
        return table;
    }
    table = need(calloc(1, sizeof *table));
    *table = (struct match_table){.next = type->tables,
                                  .properties = json_incref(key->properties),
                                  .scope = json_incref(key->scope)};
    type->tables = table;
    for (uint32_t i = 0; i < type->known.count; i++) {
        json_t *value = known_get(&type->known, i);
        table_add(m, type, table, i, value);
        json_decref(value);
    }
    return table;
}

static void type_free(struct matched_type *type)
{
    while (type->tables != NULL) {
        struct match_table *table = type->tables;
        type->tables = table->next;
        known_index_free(&table->index);
        json_decref(table->properties);
        json_decref(table->scope);
        free(table);
    }
    known_free(&type->known);
    free(type);
}

/* --- the matcher -------------------------------------------------------------------------------
 */

void matcher_init(struct matcher *m, json_t *schema, struct plan *plan)
{
    *m = (struct matcher){.schema = schema, .plan = plan};
}

static struct matched_type **place_of(struct matcher *m, const char *object)
{
    struct matched_type **at = &m->types;
    while (*at != NULL && strcmp((*at)->object, object) != 0) {
        at = &(*at)->next;
    }
    return at;
}

void matcher_forget(struct matcher *m, const char *object)
{
    struct matched_type **at = place_of(m, object), *type = *at;
    if (type != NULL) {
        *at = type->next;
        type_free(type);
    }
}

void matcher_free(struct matcher *m)
{
    while (m->types != NULL) {
        matcher_forget(m, m->types->object);
    }
}

static bool keep(void *arg, const json_t *value)
{
    struct matched_type *type = arg;
    uint32_t record;
    return known_put(&type->known, value, &record);
}

bool matcher_load(struct matcher *m, struct client *client, const char *object)
{
    struct matched_type **at = place_of(m, object);
    if (*at != NULL) {
        return true;
    }
    json_t *names = need(json_array()), *flag;
    const char *name;
    json_object_foreach(json_object_get(m->plan->compared, object), name, flag)
    {
        json_array_append_new(names, json_string(name));
    }
    *at = need(calloc(1, sizeof **at));
    (*at)->object = object;
    known_init(&(*at)->known, names);
    bool good = jmap_each_object(client, object, true, keep, *at);
    if (!good) {
        matcher_forget(m, object);
    }
    return good;
}

/* Looking for what has a signature. */
struct search {
    struct matcher *m;
    const struct matched_type *type;
    const struct match_key *key;
    const char *signature;
    uint32_t found;
    size_t count; /* of different ones */
};

static bool fits(void *arg, uint32_t record)
{
    struct search *s = arg;
    if (s->count > 0 && s->found == record) {
        return false; /* an older entry of it */
    }
    json_t *value = known_get(&s->type->known, record);
    char *signature =
        scope_has(s->key->scope, value) ? match_signature(s->key, s->m->schema, value, NULL) : NULL;
    if (signature != NULL && strcmp(signature, s->signature) == 0) {
        s->found = record;
        s->count++;
    }
    free(signature);
    json_decref(value);
    return false; /* all of them */
}

bool matcher_find(struct matcher *m, const struct match_key *key, const json_t *value,
                  const json_t *known, const char **out_id)
{
    char *signature = match_signature(key, m->schema, value, known);
    if (signature == NULL) {
        return false;
    }
    struct matched_type *type = *place_of(m, key->object);
    struct search search = {.m = m, .type = type, .key = key, .signature = signature};
    struct match_table *table = table_get(m, type, key);
    (void)known_index_find(&table->index, hash_of(signature), fits, &search);
    free(signature);
    *out_id = search.count > 0 ? known_id(&type->known, search.found) : NULL;
    return search.count <= 1 || fail("%s: ambiguous: %zu existing objects match one of the plan",
                                     schema_display(key->object), search.count);
}

void matcher_each_in_scope(struct matcher *m, const struct match_key *key,
                           void (*each)(void *arg, const char *id), void *arg)
{
    const struct matched_type *type = *place_of(m, key->object);
    for (uint32_t i = 0; i < type->known.count; i++) {
        json_t *value = known_get(&type->known, i);
        if (scope_has(key->scope, value)) {
            each(arg, known_id(&type->known, i));
        }
        json_decref(value);
    }
}

static bool keep_anew(struct matcher *m, struct matched_type *type, const json_t *value)
{
    uint32_t record;
    if (!known_put(&type->known, value, &record)) {
        return false;
    }
    for (struct match_table *table = type->tables; table != NULL; table = table->next) {
        table_add(m, type, table, record, value);
    }
    return true;
}

bool matcher_created(struct matcher *m, const char *object, const json_t *value)
{
    struct matched_type *type = *place_of(m, object);
    return type == NULL || keep_anew(m, type, value);
}

bool matcher_updated(struct matcher *m, const char *object, const char *id, const json_t *patch)
{
    struct matched_type *type = *place_of(m, object);
    uint32_t record;
    if (type == NULL || !known_find(&type->known, id, &record)) {
        return true;
    }
    json_t *value = known_get(&type->known, record), *part;
    const char *name;
    bool changed = false;
    json_object_foreach((json_t *)(uintptr_t)patch, name, part)
    {
        json_t *old = json_object_get(value, name);
        if (old != NULL && !json_equal(old, part)) {
            json_object_set(value, name, part);
            changed = true;
        }
    }
    bool good = !changed || keep_anew(m, type, value);
    json_decref(value);
    return good;
}
