#include "tools/cli/labels.h"

#include "tools/cli/fail.h"
#include "tools/cli/schema.h"
#include "tools/cli/value.h"

#include <stdlib.h>

static void collect(json_t *schema, json_t *properties, const json_t *value, json_t *wanted);

static void want(json_t *wanted, const char *object, const char *id)
{
    json_t *ids = object ? json_object_get(wanted, object) : NULL;
    if (object != NULL && ids == NULL) {
        ids = need(json_object());
        json_object_set_new(wanted, object, ids);
    }
    if (ids != NULL && id != NULL) {
        json_object_set_new(ids, id, json_true());
    }
}

static void want_keys(json_t *wanted, const json_t *class, const json_t *value)
{
    const char *key;
    json_t *item;
    if (type_kind(class) == KIND_ID) {
        json_object_foreach((json_t *)(uintptr_t)value, key, item)
        {
            want(wanted, member_text(class, "objectName"), key);
        }
    }
}

static void collect_embedded(json_t *schema, const char *object, const json_t *value,
                             json_t *wanted)
{
    if (object != NULL && json_is_object(value)) {
        collect(schema, schema_fields_of(schema, object, value), value, wanted);
    }
}

static void collect_items(json_t *schema, const char *object, const json_t *value, json_t *wanted)
{
    const char *key;
    json_t *item;
    json_object_foreach((json_t *)(uintptr_t)value, key, item)
    {
        collect_embedded(schema, object, item, wanted);
    }
}

static void collect_value(json_t *schema, const json_t *type, const json_t *value, json_t *wanted)
{
    const char *object = member_text(type, "objectName");
    switch (type_kind(type)) {
    case KIND_ID:
        want(wanted, object, json_string_value(value));
        break;
    case KIND_SET:
        want_keys(wanted, json_object_get(type, "class"), value);
        break;
    case KIND_MAP:
        want_keys(wanted, json_object_get(type, "keyClass"), value);
        collect_items(schema, member_text(json_object_get(type, "valueClass"), "objectName"), value,
                      wanted);
        break;
    case KIND_OBJECT:
        collect_embedded(schema, object, value, wanted);
        break;
    case KIND_LIST:
        collect_items(schema, object, value, wanted);
        break;
    default:
        break;
    }
}

static void collect(json_t *schema, json_t *properties, const json_t *value, json_t *wanted)
{
    const char *name;
    json_t *item;
    json_object_foreach((json_t *)(uintptr_t)value, name, item)
    {
        collect_value(schema, field_type(json_object_get(properties, name)), item, wanted);
    }
}

/* New reference: a text as it is, the members of a set, anything else as JSON. */
static json_t *label_text(json_t *label)
{
    struct buf text = {0};
    const char *name;
    json_t *member;
    if (json_is_string(label)) {
        return json_incref(label);
    }
    json_object_foreach(label, name, member)
    {
        if (!json_is_true(member)) {
            buf_free(&text);
            break;
        }
        buf_format(&text, "%s%s", text.len > 0 ? ", " : "", name);
    }
    if (text.len == 0) {
        put_json(&text, label);
    }
    json_t *made = json_string(buf_text(&text));
    buf_free(&text);
    return made;
}

static void remember(struct labels *labels, const char *object, const char *property,
                     const json_t *result)
{
    size_t i;
    json_t *item;
    json_array_foreach(json_object_get(result, "list"), i, item)
    {
        const char *id = member_text(item, "id");
        json_t *label = json_object_get(item, property);
        bool empty = json_is_object(label) && json_object_size(label) == 0;
        if (id == NULL || label == NULL || json_is_null(label) || empty) {
            continue;
        }
        json_t *of_object = json_object_get(labels->known, object);
        if (of_object == NULL) {
            of_object = need(json_object());
            json_object_set_new(labels->known, object, of_object);
        }
        json_object_set_new(of_object, id, label_text(label));
    }
}

static void look_up(struct labels *labels, struct client *client, const char *object,
                    const json_t *ids)
{
    const char *property = schema_label(client->schema, object), *id;
    json_t *unknown = need(json_array()), *item;
    json_object_foreach((json_t *)(uintptr_t)ids, id, item)
    {
        if (labels_get(labels, object, id) == NULL) {
            json_array_append_new(unknown, json_string(id));
        }
    }
    if (property != NULL && json_array_size(unknown) > 0) {
        json_t *result =
            jmap_call(client, object, "get",
                      need(json_pack("{s:O,s:[s]}", "ids", unknown, "properties", property)));
        remember(labels, object, property, result);
        json_decref(result);
    }
    json_decref(unknown);
}

static void look_up_wanted(struct labels *labels, struct client *client, json_t *wanted)
{
    const char *object;
    json_t *ids;
    if (labels->known == NULL) {
        labels->known = need(json_object());
    }
    json_object_foreach(wanted, object, ids)
    {
        look_up(labels, client, object, ids);
    }
    json_decref(wanted);
}

void labels_look_up(struct labels *labels, struct client *client, json_t *properties,
                    const json_t *value)
{
    json_t *wanted = need(json_object());
    collect(client->schema, properties, value, wanted);
    look_up_wanted(labels, client, wanted);
}

void labels_look_up_all(struct labels *labels, struct client *client, json_t *properties,
                        const json_t *values)
{
    json_t *wanted = need(json_object()), *value;
    size_t i;
    json_array_foreach(values, i, value)
    {
        collect(client->schema, properties, value, wanted);
    }
    look_up_wanted(labels, client, wanted);
}

const char *labels_get(const struct labels *labels, const char *object, const char *id)
{
    const json_t *of_object = object ? json_object_get(labels->known, object) : NULL;
    return id ? member_text(of_object, id) : NULL;
}

void labels_free(struct labels *labels)
{
    json_decref(labels->known);
    labels->known = NULL;
}
