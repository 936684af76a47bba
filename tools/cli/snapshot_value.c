#include "tools/cli/snapshot_value.h"

#include "core/text.h"
#include "tools/cli/client.h"
#include "tools/cli/fail.h"
#include "tools/cli/schema.h"

void put_client_id(struct buf *out, const char *object, const char *id)
{
    const char *name = schema_display(object);
    for (; *name != '\0' && *name != '/'; name++) {
        char c = (char)ascii_lower((uint8_t)*name);
        buf_bytes(out, &c, 1);
    }
    buf_format(out, "-%s", id);
}

static bool is_allowed(const struct snapshot_rules *rules, const char *object)
{
    struct buf base = {0};
    buf_bytes(&base, object, strcspn(object, "/"));
    bool allowed = json_object_get(rules->allowed, base.at) != NULL;
    buf_free(&base);
    return allowed;
}

static void put_ref(struct buf *out, const char *object, const char *id)
{
    buf_add(out, "#");
    put_client_id(out, object, id);
}

/* NULL: left out. */
static json_t *id_value(struct snapshot_rules *rules, const json_t *type, const json_t *value)
{
    const char *object = member_text(type, "objectName"), *id = json_string_value(value);
    if (object == NULL || id == NULL || is_allowed(rules, object)) {
        return NULL;
    }
    struct buf text = {0};
    put_ref(&text, object, id);
    json_t *ref = need(json_string(text.at));
    buf_free(&text);
    return ref;
}

static json_t *embedded(struct snapshot_rules *rules, const char *object, const json_t *value)
{
    if (object == NULL || !json_is_object(value)) {
        return NULL;
    }
    return snapshot_value(rules, object, value);
}

/* The members of a set, list or map; key_class NULL: keys stay; object NULL: values stay. */
static json_t *members(struct snapshot_rules *rules, const json_t *key_class, const char *object,
                       const json_t *value)
{
    const char *key, *target = member_text(key_class, "objectName");
    bool refs = type_kind(key_class) == KIND_ID && target != NULL;
    json_t *out, *item;
    if (refs && is_allowed(rules, target)) {
        return NULL;
    }
    out = need(json_object());
    json_object_foreach((json_t *)(uintptr_t)value, key, item)
    {
        struct buf name = {0};
        if (refs) {
            put_ref(&name, target, key);
        } else {
            buf_add(&name, key);
        }
        json_t *part = object ? embedded(rules, object, item) : json_incref(item);
        if (part != NULL) {
            json_object_set_new(out, buf_text(&name), part);
        }
        buf_free(&name);
    }
    return out;
}

/* New reference; NULL: left out. */
static json_t *typed_value(struct snapshot_rules *rules, const json_t *type, json_t *value)
{
    if (json_is_null(value)) {
        return json_null();
    }
    const char *object = member_text(type, "objectName");
    switch (type_kind(type)) {
    case KIND_ID:
        return id_value(rules, type, value);
    case KIND_SET:
        return members(rules, json_object_get(type, "class"), NULL, value);
    case KIND_MAP:
        return members(rules, json_object_get(type, "keyClass"),
                       member_text(json_object_get(type, "valueClass"), "objectName"), value);
    case KIND_LIST:
        return members(rules, NULL, object, value);
    case KIND_OBJECT:
        return embedded(rules, object, value);
    default:
        return json_incref(value);
    }
}

static bool is_masked(const json_t *value)
{
    const char *text = json_string_value(value);
    return text != NULL && *text != '\0' && text[strspn(text, "*")] == '\0';
}

json_t *snapshot_value(struct snapshot_rules *rules, const char *object, const json_t *value)
{
    json_t *fields = schema_fields_of(rules->schema, object, value), *part;
    json_t *out = need(json_object()), *at_type = json_object_get(value, "@type");
    const char *name;
    if (at_type != NULL) {
        json_object_set(out, "@type", at_type);
    }
    json_object_foreach((json_t *)(uintptr_t)value, name, part)
    {
        const json_t *field = json_object_get(fields, name);
        bool secret = type_is_secret(field_type(field));
        rules->masked = rules->masked || (secret && is_masked(part));
        if (field == NULL || field_is_mode(field, "serverSet") ||
            (secret && !rules->with_secrets)) {
            continue;
        }
        json_t *kept = typed_value(rules, field_type(field), part);
        if (kept != NULL) {
            json_object_set_new(out, name, kept);
        }
    }
    return out;
}
