/* describe: the schema for people. */
#include "tools/cli/cli.h"
#include "tools/cli/fail.h"
#include "tools/cli/schema.h"
#include "tools/cli/value.h"

#include <stdio.h>
#include <stdlib.h>

static const char *text_of(const json_t *entry, const char *name)
{
    const char *text = member_text(entry, name);
    return text ? text : "";
}

static void put_name(struct buf *out, bool color, const char *name, size_t width)
{
    buf_styled(out, color, STYLE_CYAN, name);
    buf_spaces(out, width - text_width(name) + 2);
}

static void put_lines(struct buf *out, size_t indent, const char *text)
{
    while (*text != '\0') {
        size_t len = strcspn(text, "\n");
        buf_spaces(out, indent);
        buf_bytes(out, text, len);
        buf_add(out, "\n");
        text += len + (text[len] == '\n');
    }
}

static void put_heading(struct buf *out, bool color, size_t indent, const char *text)
{
    buf_spaces(out, indent);
    buf_styled(out, color, STYLE_BOLD, text);
    buf_add(out, "\n");
}

static int compare_texts(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* The names of an object's members in order: an owned array of borrowed texts. */
static const char **sorted(json_t *object, size_t *out_count, size_t *out_width)
{
    const char **names = need(calloc(json_object_size(object) + 1, sizeof *names));
    const char *name;
    json_t *value;
    *out_count = *out_width = 0;
    json_object_foreach(object, name, value)
    {
        names[(*out_count)++] = name;
        *out_width = mx_max_size(*out_width, text_width(schema_display(name)));
    }
    qsort(names, *out_count, sizeof *names, compare_texts);
    return names;
}

/* --- types -------------------------------------------------------------------------------------
 */

static void put_type(struct buf *out, const json_t *type)
{
    const char *object = schema_display(text_of(type, "objectName"));
    const char *format = text_of(type, "format");
    switch (type_kind(type)) {
    case KIND_STRING:
        buf_format(out, "string<%s>", format);
        break;
    case KIND_NUMBER:
        buf_format(out, "number<%s>", format);
        break;
    case KIND_DATE:
        buf_add(out, "datetime");
        break;
    case KIND_BOOLEAN:
        buf_add(out, "boolean");
        break;
    case KIND_ENUM:
        buf_format(out, "enum (see %s)", text_of(type, "enumName"));
        break;
    case KIND_BLOB:
        buf_add(out, "blob");
        break;
    case KIND_ID:
        buf_format(out, "id<%s>", object);
        break;
    case KIND_OBJECT:
        buf_format(out, "object<%s>", object);
        break;
    case KIND_LIST:
        buf_format(out, "list<%s>", object);
        break;
    case KIND_SET:
        buf_add(out, "set<");
        put_type(out, json_object_get(type, "class"));
        buf_add(out, ">");
        break;
    case KIND_MAP:
        buf_add(out, "map<");
        put_type(out, json_object_get(type, "keyClass"));
        buf_add(out, ", ");
        put_type(out, json_object_get(type, "valueClass"));
        buf_add(out, ">");
        break;
    case KIND_UNKNOWN:
        buf_add(out, text_of(type, "type"));
        break;
    }
    buf_add(out, type_is_nullable(type) ? "?" : "");
}

/* "1 to 65535", "at most 255 bytes"; nothing when there is no bound. */
static void put_bounds(struct buf *out, const json_t *type)
{
    static const struct {
        const char *low, *high, *unit;
    } bounds[] = {{"min", "max", ""},
                  {"minLength", "maxLength", " bytes"},
                  {"minItems", "maxItems", " members"}};
    const char *unit = type_is_format(type, "duration") ? " ms"
                       : type_is_format(type, "size")   ? " bytes"
                                                        : "";
    for (size_t i = 0; i < mx_countof(bounds); i++) {
        const json_t *low = json_object_get(type, bounds[i].low);
        const json_t *high = json_object_get(type, bounds[i].high);
        if (json_is_integer(low) && json_is_integer(high)) {
            buf_format(out, "  %lld to %lld", (long long)json_integer_value(low),
                       (long long)json_integer_value(high));
        } else if (json_is_integer(low) || json_is_integer(high)) {
            buf_format(out, "  at %s %lld", low ? "least" : "most",
                       (long long)json_integer_value(low ? low : high));
        } else {
            continue;
        }
        buf_add(out, i == 0 ? unit : bounds[i].unit);
    }
}

/* What is given nowhere and has no value by itself has to be given. */
static bool is_required(const json_t *field, const json_t *initial)
{
    const json_t *type = field_type(field);
    enum kind kind = type_kind(type);
    bool many = kind == KIND_SET || kind == KIND_MAP || kind == KIND_LIST;
    bool empty = kind == KIND_BOOLEAN ||
                 (many && json_integer_value(json_object_get(type, "minItems")) == 0);
    return initial == NULL && !empty && !type_is_nullable(type) &&
           !field_is_mode(field, "serverSet");
}

/* Where the fields are, for people: how far to the right, and of what. */
struct place {
    size_t indent;
    bool color, singleton;
};

static void put_field(struct buf *out, const struct place *at, const json_t *field,
                      const json_t *initial)
{
    bool server_set = field_is_mode(field, "serverSet");
    bool scalar = json_is_string(initial) || json_is_number(initial) || json_is_boolean(initial);
    put_type(out, field_type(field));
    buf_add(out, "  ");
    buf_styled(out, at->color, STYLE_DIM, server_set ? "server-set" : text_of(field, "update"));
    put_bounds(out, field_type(field));
    if (scalar) {
        buf_add(out, "  default ");
        put_json(out, initial);
    } else if (!at->singleton && is_required(field, initial)) {
        buf_add(out, "  required");
    }
    buf_add(out, "\n");
    put_lines(out, at->indent + 8, text_of(field, "description"));
    if (json_object_size(initial) > 0) {
        buf_spaces(out, at->indent + 8);
        buf_add(out, "Default: ");
        put_json(out, initial);
        buf_add(out, "\n");
    }
}

static void put_fields(struct buf *out, const struct place *at, json_t *properties,
                       const json_t *defaults)
{
    size_t count, width;
    const char **names = sorted(properties, &count, &width);
    put_heading(out, at->color, at->indent, "Fields:");
    for (size_t i = 0; i < count; i++) {
        buf_spaces(out, at->indent + 4);
        put_name(out, at->color, names[i], width);
        put_field(out, at, json_object_get(properties, names[i]),
                  json_object_get(defaults, names[i]));
    }
    free(names);
}

/* --- objects -----------------------------------------------------------------------------------
 */

/* only: the name of one, or NULL. False: there is none. */
static bool put_variants(struct buf *out, const struct cli *cli, const char *object,
                         const char *only)
{
    json_t *schema = cli->client.schema, *variant;
    const json_t *wanted = only ? schema_variant(schema, object, only, true) : NULL;
    struct place at = {.indent = 6, .color = cli->color};
    size_t i;
    at.singleton = schema_is_singleton(schema, object);
    put_heading(out, cli->color, 2, "Variants:");
    json_array_foreach(schema_variants(schema, object), i, variant)
    {
        const char *name = text_of(variant, "name");
        json_t *properties = schema_fields(schema, object, name);
        if (only != NULL && variant != wanted) {
            continue;
        }
        buf_spaces(out, 4);
        buf_styled(out, cli->color, STYLE_CYAN, name);
        buf_format(out, ": %s\n", text_of(variant, "label"));
        if (properties != NULL) {
            put_fields(out, &at, properties, schema_defaults(schema, object, name));
        }
    }
    return only == NULL || wanted != NULL;
}

/* Filters or sort keys of the object's list and those of its views: name -> filter (or true). */
static json_t *of_lists(const struct cli *cli, const char *object, const char *member)
{
    json_t *found = need(json_object()), *views = schema_views(cli->client.schema, object), *item;
    json_t *names = need(json_pack("[s]", object)), *name;
    size_t i, j;
    json_array_extend(names, views);
    json_array_foreach(names, i, name)
    {
        const json_t *list =
            json_object_get(json_object_get(cli->client.schema, "lists"), json_string_value(name));
        json_array_foreach(json_object_get(list, member), j, item)
        {
            const char *field =
                json_is_string(item) ? json_string_value(item) : text_of(item, "field");
            if (json_object_get(found, field) == NULL) {
                json_object_set(found, field, item);
            }
        }
    }
    json_decref(names);
    json_decref(views);
    return found;
}

static void put_filter(struct buf *out, const json_t *filter)
{
    const char *type = text_of(filter, "type");
    if (strcmp(type, "enum") == 0) {
        buf_format(out, "enum (see %s)", text_of(filter, "enumName"));
    } else if (strcmp(type, "objectId") == 0) {
        buf_format(out, "id<%s>", schema_display(text_of(filter, "objectName")));
    } else {
        buf_add(out, type);
    }
}

static void put_filters(struct buf *out, const struct cli *cli, const char *object)
{
    json_t *filters = of_lists(cli, object, "filters"), *filter;
    size_t width = 0, kind_width = 0;
    const char *name;
    json_object_foreach(filters, name, filter)
    {
        struct buf kind = {0};
        put_filter(&kind, filter);
        width = mx_max_size(width, text_width(name));
        kind_width = mx_max_size(kind_width, text_width(buf_text(&kind)));
        buf_free(&kind);
    }
    if (json_object_size(filters) > 0) {
        buf_add(out, "\n");
        put_heading(out, cli->color, 0, "Filters:");
    }
    json_object_foreach(filters, name, filter)
    {
        struct buf kind = {0};
        put_filter(&kind, filter);
        buf_spaces(out, 4);
        put_name(out, cli->color, name, width);
        buf_add(out, buf_text(&kind));
        buf_spaces(out, kind_width - text_width(buf_text(&kind)) + 2);
        buf_format(out, "%s\n", text_of(filter, "label"));
        buf_free(&kind);
    }
    json_decref(filters);
}

static void put_sort(struct buf *out, const struct cli *cli, const char *object)
{
    json_t *keys = of_lists(cli, object, "sort"), *key;
    const char *name, *between = "    ";
    if (json_object_size(keys) > 0) {
        buf_add(out, "\n");
        put_heading(out, cli->color, 0, "Sort by:");
    }
    json_object_foreach(keys, name, key)
    {
        buf_add(out, between);
        buf_styled(out, cli->color, STYLE_CYAN, name);
        between = ", ";
    }
    buf_add(out, json_object_size(keys) > 0 ? "\n" : "");
    json_decref(keys);
}

/* only: a variant, or NULL. False: it has no such variant. */
static bool describe_object(struct buf *out, const struct cli *cli, const char *object,
                            const char *only)
{
    json_t *schema = cli->client.schema;
    const json_t *entry = json_object_get(json_object_get(schema, "objects"), object);
    struct place at = {.color = cli->color, .singleton = schema_is_singleton(schema, object)};
    bool good = true;
    buf_styled(out, cli->color, STYLE_BOLD, schema_display(object));
    if (at.singleton) {
        buf_add(out, " ");
        buf_styled(out, cli->color, STYLE_DIM, "[singleton]");
    }
    buf_add(out, "\n");
    put_lines(out, 2, text_of(entry, "description"));
    buf_add(out, "\n");
    if (schema_variants(schema, object) != NULL) {
        good = put_variants(out, cli, object, only);
    } else if (only != NULL) {
        good = false;
    } else if (schema_fields(schema, object, NULL) != NULL) {
        put_fields(out, &at, schema_fields(schema, object, NULL),
                   schema_defaults(schema, object, NULL));
    }
    put_filters(out, cli, object);
    put_sort(out, cli, object);
    return good;
}

static void describe_all(struct buf *out, const struct cli *cli)
{
    size_t count, width;
    json_t *objects = json_object_get(cli->client.schema, "objects"), *shown = need(json_object());
    const char *name;
    json_t *entry;
    json_object_foreach(objects, name, entry)
    {
        if (strncmp(name, "x:", 2) == 0 && strcmp(text_of(entry, "type"), "view") != 0) {
            json_object_set(shown, name, entry);
        }
    }
    const char **names = sorted(shown, &count, &width);
    for (size_t i = 0; i < count; i++) {
        entry = json_object_get(shown, names[i]);
        put_name(out, cli->color, schema_display(names[i]), width);
        buf_add(out, text_of(entry, "description"));
        if (schema_is_singleton(cli->client.schema, names[i])) {
            buf_add(out, " ");
            buf_styled(out, cli->color, STYLE_DIM, "[singleton]");
        }
        buf_add(out, "\n");
    }
    free(names);
    json_decref(shown);
}

/* --- enums -------------------------------------------------------------------------------------
 */

static void describe_enum(struct buf *out, const struct cli *cli, const char *name,
                          const json_t *entries)
{
    size_t i, width = 0;
    json_t *entry;
    buf_styled(out, cli->color, STYLE_BOLD, name);
    buf_add(out, "  ");
    buf_styled(out, cli->color, STYLE_DIM, "(enum)");
    buf_add(out, "\n\n");
    put_heading(out, cli->color, 2, "Variants:");
    json_array_foreach(entries, i, entry)
    {
        width = mx_max_size(width, text_width(text_of(entry, "name")));
    }
    json_array_foreach(entries, i, entry)
    {
        buf_spaces(out, 4);
        put_name(out, cli->color, text_of(entry, "name"), width);
        buf_format(out, "%s\n", text_of(entry, "label"));
        put_lines(out, 8, text_of(entry, "explanation"));
    }
}

/* OBJECT, OBJECT/VARIANT, an object that is part of others, or an enum. */
static bool describe_named(struct buf *out, const struct cli *cli, const char *typed)
{
    json_t *schema = cli->client.schema, *enums = json_object_get(schema, "enums");
    const char *slash = strchr(typed, '/'), *enum_name = member_nocase(enums, typed);
    struct buf name = {0};
    buf_bytes(&name, typed, slash ? (size_t)(slash - typed) : strlen(typed));
    const char *object = schema_find_object(schema, buf_text(&name));
    if (object == NULL && enum_name == NULL) {
        object = schema_find_embedded(schema, buf_text(&name));
    }
    buf_free(&name);
    if (object != NULL) {
        return describe_object(out, cli, object, slash ? slash + 1 : NULL);
    }
    if (enum_name != NULL) {
        describe_enum(out, cli, enum_name, json_object_get(enums, enum_name));
    }
    return enum_name != NULL;
}

bool command_describe(struct cli *cli)
{
    const char *typed = cli->args->plain.count > 0 ? cli->args->plain.items[0] : NULL;
    struct buf out = {0};
    if (typed == NULL) {
        describe_all(&out, cli);
    } else if (!describe_named(&out, cli, typed)) {
        buf_free(&out);
        return fail("no object or enum named `%s`", typed);
    }
    return cli_print(&out);
}
