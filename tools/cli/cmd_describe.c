/* describe: the schema for people. */
#include "tools/cli/cli.h"
#include "tools/cli/fail.h"
#include "tools/cli/schema.h"

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

static void put_fields(struct buf *out, bool color, size_t indent, json_t *properties)
{
    size_t count, width;
    const char **names = sorted(properties, &count, &width);
    put_heading(out, color, indent, "Fields:");
    for (size_t i = 0; i < count; i++) {
        const json_t *field = json_object_get(properties, names[i]);
        bool server_set = field_is_mode(field, "serverSet");
        buf_spaces(out, indent + 4);
        put_name(out, color, names[i], width);
        put_type(out, field_type(field));
        buf_add(out, "  ");
        buf_styled(out, color, STYLE_DIM, server_set ? "server-set" : text_of(field, "update"));
        buf_add(out, "\n");
        put_lines(out, indent + 8, text_of(field, "description"));
    }
    free(names);
}

/* --- objects -----------------------------------------------------------------------------------
 */

static void put_variants(struct buf *out, const struct cli *cli, const char *object,
                         json_t *variants)
{
    size_t i;
    json_t *variant;
    put_heading(out, cli->color, 2, "Variants:");
    json_array_foreach(variants, i, variant)
    {
        const char *name = text_of(variant, "name");
        json_t *properties = schema_fields(cli->client.schema, object, name);
        buf_spaces(out, 4);
        buf_styled(out, cli->color, STYLE_CYAN, name);
        buf_format(out, ": %s\n", text_of(variant, "label"));
        if (properties != NULL) {
            put_fields(out, cli->color, 6, properties);
        }
    }
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

static void describe_object(struct buf *out, const struct cli *cli, const char *object)
{
    json_t *schema = cli->client.schema;
    const json_t *entry = json_object_get(json_object_get(schema, "objects"), object);
    json_t *variants = schema_variants(schema, object);
    buf_styled(out, cli->color, STYLE_BOLD, schema_display(object));
    if (schema_is_singleton(schema, object)) {
        buf_add(out, " ");
        buf_styled(out, cli->color, STYLE_DIM, "[singleton]");
    }
    buf_format(out, "\n  %s\n\n", text_of(entry, "description"));
    if (variants != NULL) {
        put_variants(out, cli, object, variants);
    } else if (schema_fields(schema, object, NULL) != NULL) {
        put_fields(out, cli->color, 0, schema_fields(schema, object, NULL));
    }
    put_filters(out, cli, object);
    put_sort(out, cli, object);
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

bool command_describe(struct cli *cli)
{
    const char *typed = cli->args->plain.count > 0 ? cli->args->plain.items[0] : NULL;
    json_t *enums = json_object_get(cli->client.schema, "enums");
    const char *object = typed ? schema_find_object(cli->client.schema, typed) : NULL;
    const char *enum_name = typed ? member_nocase(enums, typed) : NULL;
    struct buf out = {0};
    if (typed == NULL) {
        describe_all(&out, cli);
    } else if (object != NULL) {
        describe_object(&out, cli, object);
    } else if (enum_name != NULL) {
        describe_enum(&out, cli, enum_name, json_object_get(enums, enum_name));
    } else {
        return fail("no object or enum named `%s`", typed);
    }
    return cli_print(&out);
}
