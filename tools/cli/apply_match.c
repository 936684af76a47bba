#include "tools/cli/apply_match.h"

#include "tools/cli/apply_scope.h"
#include "tools/cli/fail.h"
#include "tools/cli/schema.h"

#include <stdlib.h>

void matcher_init(struct matcher *m, json_t *schema)
{
    *m = (struct matcher){
        .schema = schema, .objects = need(json_object()), .indexes = need(json_object())};
}

void matcher_free(struct matcher *m)
{
    json_decref(m->objects);
    json_decref(m->indexes);
}

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

/* --- indexes -----------------------------------------------------------------------------------
 *
 * An index: {"properties": ..., "scope": ..., "ids": signature -> [id, ...]}.
 */

static struct match_key key_of(const char *object, const json_t *index)
{
    json_t *properties = json_object_get(index, "properties"), *scope;
    scope = json_object_get(index, "scope");
    return (struct match_key){.object = object,
                              .properties = json_is_null(properties) ? NULL : properties,
                              .scope = json_is_null(scope) ? NULL : scope};
}

static void index_add(struct matcher *m, const char *object, json_t *index, const json_t *value)
{
    struct match_key key = key_of(object, index);
    const char *id = member_text(value, "id");
    char *signature = id != NULL && scope_has(key.scope, value)
                          ? match_signature(&key, m->schema, value, NULL)
                          : NULL;
    if (signature != NULL) {
        json_t *all = json_object_get(index, "ids"), *ids = json_object_get(all, signature);
        if (ids == NULL) {
            ids = need(json_array());
            json_object_set_new(all, signature, ids);
        }
        json_array_append_new(ids, json_string(id));
    }
    free(signature);
}

static void index_remove(struct matcher *m, const char *object, json_t *index, const json_t *value)
{
    struct match_key key = key_of(object, index);
    const char *id = member_text(value, "id");
    char *signature = match_signature(&key, m->schema, value, NULL);
    json_t *ids = signature ? json_object_get(json_object_get(index, "ids"), signature) : NULL,
           *item;
    size_t i;
    json_array_foreach(ids, i, item)
    {
        if (id != NULL && strcmp(json_string_value(item), id) == 0) {
            json_array_remove(ids, i);
            break;
        }
    }
    free(signature);
}

static json_t *index_get(struct matcher *m, const struct match_key *key)
{
    json_t *spec = need(json_pack("[o,o]", or_null(key->properties), or_null(key->scope))), *value;
    char *text = need(json_dumps(spec, JSON_COMPACT | JSON_SORT_KEYS));
    json_t *of_type = json_object_get(m->indexes, key->object);
    if (of_type == NULL) {
        of_type = need(json_object());
        json_object_set_new(m->indexes, key->object, of_type);
    }
    json_t *index = json_object_get(of_type, text);
    if (index == NULL) {
        const char *id;
        index = need(json_pack("{s:O,s:O,s:{}}", "properties", json_array_get(spec, 0), "scope",
                               json_array_get(spec, 1), "ids"));
        json_object_set_new(of_type, text, index);
        json_object_foreach(json_object_get(m->objects, key->object), id, value)
        {
            index_add(m, key->object, index, value);
        }
    }
    free(text);
    json_decref(spec);
    return index;
}

/* --- the matcher -------------------------------------------------------------------------------
 */

bool matcher_load(struct matcher *m, struct client *client, const char *object)
{
    if (json_object_get(m->objects, object) != NULL) {
        return true;
    }
    json_t *found = need(json_array()), *by_id = need(json_object()), *value;
    size_t i;
    bool good = jmap_all_objects(client, object, true, found);
    json_array_foreach(found, i, value)
    {
        const char *id = member_text(value, "id");
        if (id != NULL) {
            json_object_set(by_id, id, value);
        }
    }
    if (good) {
        json_object_set(m->objects, object, by_id);
    }
    json_decref(by_id);
    json_decref(found);
    return good;
}

bool matcher_find(struct matcher *m, const struct match_key *key, const json_t *value,
                  const json_t *known, const char **out_id)
{
    char *signature = match_signature(key, m->schema, value, known);
    if (signature == NULL) {
        return false;
    }
    const json_t *ids = json_object_get(json_object_get(index_get(m, key), "ids"), signature);
    free(signature);
    size_t count = json_array_size(ids);
    *out_id = json_string_value(json_array_get(ids, 0));
    return count <= 1 || fail("%s: ambiguous: %zu existing objects match one of the plan",
                              schema_display(key->object), count);
}

json_t *matcher_in_scope(struct matcher *m, const struct match_key *key)
{
    json_t *found = need(json_object()), *value;
    const char *id;
    json_object_foreach(json_object_get(m->objects, key->object), id, value)
    {
        if (scope_has(key->scope, value)) {
            json_object_set(found, id, value);
        }
    }
    return found;
}

void matcher_created(struct matcher *m, const char *object, const json_t *value)
{
    json_t *by_id = json_object_get(m->objects, object), *index;
    const char *id = member_text(value, "id"), *spec;
    if (by_id == NULL || id == NULL) {
        return;
    }
    json_object_set(by_id, id, (json_t *)(uintptr_t)value);
    json_object_foreach(json_object_get(m->indexes, object), spec, index)
    {
        index_add(m, object, index, value);
    }
}

void matcher_updated(struct matcher *m, const char *object, const char *id, const json_t *patch)
{
    json_t *value = json_object_get(json_object_get(m->objects, object), id), *part, *index;
    const char *name, *spec;
    if (value == NULL) {
        return;
    }
    json_object_foreach(json_object_get(m->indexes, object), spec, index)
    {
        index_remove(m, object, index, value);
    }
    json_object_foreach((json_t *)(uintptr_t)patch, name, part)
    {
        if (strchr(name, '/') == NULL) {
            json_object_set(value, name, part);
        }
    }
    json_object_foreach(json_object_get(m->indexes, object), spec, index)
    {
        index_add(m, object, index, value);
    }
}

void matcher_forget(struct matcher *m, const char *object)
{
    json_object_del(m->objects, object);
    json_object_del(m->indexes, object);
}
