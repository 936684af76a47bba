#include "tools/cli/value.h"

#include "tools/cli/fail.h"
#include "tools/cli/schema.h"

#include <math.h>
#include <stdlib.h>

void put_json(struct buf *out, const json_t *value)
{
    char *text = need(json_dumps(value, JSON_COMPACT | JSON_ENCODE_ANY));
    buf_add(out, text);
    free(text);
}

void put_size(struct buf *out, double bytes)
{
    static const char *const units[] = {"B", "KB", "MB", "GB", "TB"};
    size_t unit = 0;
    bytes = bytes < 0 ? 0 : bytes;
    while (bytes >= 1024 && unit + 1 < mx_countof(units)) {
        bytes /= 1024;
        unit++;
    }
    buf_format(out, "%.*f %s", unit > 0 && bytes < 100 ? 1 : 0, bytes, units[unit]);
}

/* At most two units, the smaller one only if it is not zero. */
void put_duration(struct buf *out, double ms)
{
    static const struct {
        uint64_t ms;
        const char *name;
    } units[] = {{86400000, "d"}, {3600000, "h"}, {60000, "m"}, {1000, "s"}, {1, "ms"}};
    double size = fabs(ms);
    uint64_t left = size < 1e18 ? (uint64_t)size : 0;
    size_t i = 0;
    while (i + 1 < mx_countof(units) && left < units[i].ms) {
        i++;
    }
    buf_format(out, "%s%llu %s", ms < 0 && left > 0 ? "-" : "",
               (unsigned long long)(left / units[i].ms), units[i].name);
    left %= units[i].ms;
    if (i + 1 < mx_countof(units) && left >= units[i + 1].ms) {
        buf_format(out, " %llu %s", (unsigned long long)(left / units[i + 1].ms),
                   units[i + 1].name);
    }
}

static void put_none(struct buf *out, const struct look *look)
{
    buf_styled(out, look->color, STYLE_DIM, "<none>");
}

static void put_text_or_json(struct buf *out, const json_t *value)
{
    if (json_is_string(value)) {
        buf_add(out, json_string_value(value));
    } else {
        put_json(out, value);
    }
}

static void put_number(struct buf *out, const json_t *type, const json_t *value)
{
    if (!json_is_number(value)) {
        put_json(out, value);
    } else if (type_is_format(type, "size")) {
        put_size(out, json_number_value(value));
    } else if (type_is_format(type, "duration")) {
        put_duration(out, json_number_value(value));
    } else {
        put_json(out, value);
    }
}

static void put_enum(struct buf *out, const struct look *look, const json_t *type, const char *name)
{
    const json_t *entry = schema_enum(look->schema, member_text(type, "enumName"), name);
    const char *label = member_text(entry, "label");
    if (label == NULL) {
        buf_add(out, name);
    } else {
        buf_colored(out, look->color, member_text(entry, "color"), label);
    }
}

static void put_id(struct buf *out, const struct look *look, const json_t *type, const char *id)
{
    const char *label = labels_get(look->labels, member_text(type, "objectName"), id);
    if (label == NULL) {
        buf_add(out, id);
    } else {
        buf_format(out, "%s (id: %s)", label, id);
    }
}

void put_key(struct buf *out, const struct look *look, const json_t *class, const char *key)
{
    switch (type_kind(class)) {
    case KIND_ID:
        put_id(out, look, class, key);
        break;
    case KIND_ENUM:
        put_enum(out, look, class, key);
        break;
    default:
        buf_add(out, key);
        break;
    }
}

static void put_map_value(struct buf *out, const struct look *look, const json_t *class,
                          const json_t *value)
{
    buf_add(out, " → ");
    put_value(out, look, class, value);
}

/* A set, or a map of plain values. */
static void put_members(struct buf *out, const struct look *look, const json_t *key_class,
                        const json_t *value_class, const json_t *value)
{
    const char *key, *between = "";
    json_t *item;
    if (!json_is_object(value)) {
        put_json(out, value);
        return;
    }
    if (json_object_size(value) == 0) {
        put_none(out, look);
    }
    json_object_foreach((json_t *)(uintptr_t)value, key, item)
    {
        buf_add(out, between);
        put_key(out, look, key_class, key);
        if (value_class != NULL) {
            put_map_value(out, look, value_class, item);
        }
        between = ", ";
    }
}

static void put_map(struct buf *out, const struct look *look, const json_t *type,
                    const json_t *value)
{
    const json_t *value_class = json_object_get(type, "valueClass");
    if (type_kind(value_class) == KIND_OBJECT) {
        buf_format(out, "<map:%zu>", json_object_size(value));
    } else {
        put_members(out, look, json_object_get(type, "keyClass"), value_class, value);
    }
}

static void put_object(struct buf *out, const struct look *look, const json_t *type,
                       const json_t *value)
{
    const json_t *variant = schema_variant(look->schema, member_text(type, "objectName"),
                                           member_text(value, "@type"), false);
    const char *label = member_text(variant, "label");
    buf_add(out, label ? label : "<object>");
}

void put_value(struct buf *out, const struct look *look, const json_t *type, const json_t *value)
{
    const char *text = json_string_value(value);
    enum kind kind = type_kind(type);
    if (json_is_null(value)) {
        put_none(out, look);
        return;
    }
    switch (kind) {
    case KIND_NUMBER:
        put_number(out, type, value);
        return;
    case KIND_BOOLEAN:
        if (json_is_boolean(value)) {
            buf_add(out, json_is_true(value) ? "Yes" : "No");
            return;
        }
        break;
    case KIND_STRING:
        if (type_is_secret(type) && !look->secrets) {
            buf_add(out, "*****");
            return;
        }
        break;
    case KIND_ENUM:
        if (text != NULL) {
            put_enum(out, look, type, text);
            return;
        }
        break;
    case KIND_ID:
        if (text != NULL) {
            put_id(out, look, type, text);
            return;
        }
        break;
    case KIND_BLOB:
        buf_format(out, "<blob: %s>", text ? text : "");
        return;
    case KIND_SET:
        put_members(out, look, json_object_get(type, "class"), NULL, value);
        return;
    case KIND_MAP:
        put_map(out, look, type, value);
        return;
    case KIND_OBJECT:
        put_object(out, look, type, value);
        return;
    case KIND_LIST:
        buf_format(out, "<list:%zu>", json_object_size(value));
        return;
    default:
        break;
    }
    put_text_or_json(out, value);
}
