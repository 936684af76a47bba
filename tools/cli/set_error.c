#include "tools/cli/set_error.h"

#include "tools/cli/client.h"
#include "tools/cli/schema.h"

static const char *text_or(const char *text, const char *otherwise)
{
    return text ? text : otherwise;
}

/* {"object": "Domain", "id": "b"} as Domain#b; a bare id as it is. */
static void put_reference(struct buf *out, const json_t *reference)
{
    const char *object = member_text(reference, "object");
    if (json_is_string(reference)) {
        buf_add(out, json_string_value(reference));
    } else if (object == NULL) {
        buf_add(out, text_or(member_text(reference, "id"), "?"));
    } else {
        buf_format(out, "%s#%s", schema_display(object),
                   text_or(member_text(reference, "id"), "?"));
    }
}

static void put_validation_error(struct buf *out, const json_t *error)
{
    static const struct {
        const char *type, *words, *unit;
    } bounds[] = {
        {"MaxLength", "at most", " chars"},
        {"MinLength", "at least", " chars"},
        {"MaxValue", "at most", ""},
        {"MinValue", "at least", ""},
    };
    const char *type = text_or(member_text(error, "type"), "?");
    buf_format(out, "%s: ", text_or(member_text(error, "property"), "?"));
    for (size_t i = 0; i < mx_countof(bounds); i++) {
        if (strcmp(type, bounds[i].type) == 0) {
            buf_format(out, "must be %s %lld%s", bounds[i].words,
                       (long long)json_integer_value(json_object_get(error, "required")),
                       bounds[i].unit);
            return;
        }
    }
    if (strcmp(type, "Invalid") == 0) {
        buf_format(out, "invalid value \"%s\"", text_or(member_text(error, "value"), ""));
    } else {
        buf_add(out, strcmp(type, "Required") == 0 ? "required" : type);
    }
}

void put_set_error(struct buf *out, const json_t *error, const char *between, bool color)
{
    struct buf head = {0};
    buf_format(&head, "error: %s", text_or(member_text(error, "type"), "invalidProperties"));
    buf_styled(out, color, STYLE_RED, head.at);
    buf_free(&head);
    size_t i;
    json_t *item;
    const char *description = member_text(error, "description");
    if (description != NULL && *description != '\0') {
        buf_format(out, "%s  %s", between, description);
    }
    json_array_foreach(json_object_get(error, "properties"), i, item)
    {
        buf_format(out, "%s%s", i > 0 ? ", " : between, i > 0 ? "" : "  Properties: ");
        buf_add(out, text_or(json_string_value(item), "?"));
    }
    if (member_text(error, "existingId") != NULL) {
        buf_format(out, "%s  Existing id: %s", between, member_text(error, "existingId"));
    }
    const json_t *object_id = json_object_get(error, "objectId");
    if (json_is_string(object_id) || json_is_object(object_id)) {
        buf_format(out, "%s  Object id:   ", between);
        put_reference(out, object_id);
    }
    json_array_foreach(json_object_get(error, "linkedObjects"), i, item)
    {
        buf_format(out, "%s%s", i > 0 ? ", " : between, i > 0 ? "" : "  Linked by:   ");
        put_reference(out, item);
    }
    json_array_foreach(json_object_get(error, "validationErrors"), i, item)
    {
        buf_format(out, "%s%s%s    ", i > 0 ? "" : between,
                   i > 0 ? "" : "  Validation errors:", between);
        put_validation_error(out, item);
    }
}
