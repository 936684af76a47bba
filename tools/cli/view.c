#include "tools/cli/view.h"

#include "core/text.h"
#include "tools/cli/fail.h"
#include "tools/cli/schema.h"
#include "tools/cli/table.h"

#include <stdlib.h>

enum { INDENT = 4 };

static void put_embedded(struct buf *out, const struct look *look, const char *object,
                         const json_t *value, size_t indent);

static void put_line(struct buf *out, size_t indent, bool color, enum style style, const char *text)
{
    buf_spaces(out, indent);
    buf_styled(out, color, style, text);
    buf_add(out, "\n");
}

static void put_json_line(struct buf *out, size_t indent, const json_t *value)
{
    buf_spaces(out, indent);
    put_json(out, value);
    buf_add(out, "\n");
}

/* --- lists and maps of objects -----------------------------------------------------------------
 */

struct row {
    char *head; /* owned */
    const char *key;
    const json_t *value;
};

/* Numbers by their value, before everything else. */
static int compare_rows(const void *a, const void *b)
{
    const struct row *x = a, *y = b;
    uint64_t m = 0, n = 0;
    bool x_number = text_to_u64(&m, slice_of_text(x->key)) == MX_OK;
    bool y_number = text_to_u64(&n, slice_of_text(y->key)) == MX_OK;
    if (x_number && y_number) {
        return m < n ? -1 : m > n;
    }
    return x_number != y_number ? (x_number ? -1 : 1) : strcmp(x->head, y->head);
}

static bool is_flat(const json_t *type)
{
    enum kind kind = type_kind(type);
    return kind != KIND_OBJECT && kind != KIND_LIST &&
           !(kind == KIND_MAP && type_kind(json_object_get(type, "valueClass")) == KIND_OBJECT);
}

static void column_add(json_t *columns, const json_t *properties, const char *name,
                       const char *label)
{
    const json_t *field = json_object_get(properties, name);
    if (field != NULL && is_flat(field_type(field)) && json_object_get(columns, name) == NULL) {
        json_object_set_new(columns, name, json_string(label != NULL && *label ? label : name));
    }
}

/* New reference: name -> label of the columns of a table; empty: it cannot be a table. */
static json_t *columns_of(json_t *schema, const char *object)
{
    json_t *columns = need(json_object()), *properties = schema_fields(schema, object, NULL);
    if (schema_variants(schema, object) != NULL) {
        return columns;
    }
    json_t *forms = schema_forms(schema, object, NULL), *form, *section, *entry;
    size_t i, j, k;
    json_array_foreach(forms, i, form)
    {
        json_array_foreach(json_object_get(form, "sections"), j, section)
        {
            json_array_foreach(json_object_get(section, "fields"), k, entry)
            {
                const char *name = member_text(entry, "name");
                column_add(columns, properties, name ? name : "", member_text(entry, "label"));
            }
        }
    }
    const char *name;
    json_object_foreach(properties, name, entry)
    {
        if (json_array_size(forms) == 0) {
            column_add(columns, properties, name, NULL);
        }
    }
    json_decref(forms);
    return columns;
}

static void put_rows_as_table(struct buf *out, const struct look *look, const char *object,
                              const char *first, json_t *columns, const struct row *rows,
                              size_t count, size_t indent)
{
    struct look plain = *look;
    plain.color = false;
    json_t *properties = schema_fields(look->schema, object, NULL), *label;
    struct table table = {.columns = json_object_size(columns) + 1};
    const char *name;
    table_cell(&table, first);
    json_object_foreach(columns, name, label)
    {
        table_cell(&table, json_string_value(label));
    }
    for (size_t i = 0; i < count; i++) {
        table_cell(&table, rows[i].head);
        json_object_foreach(columns, name, label)
        {
            const json_t *value = json_object_get(rows[i].value, name);
            struct buf cell = {0};
            if (value != NULL) {
                put_value(&cell, &plain, field_type(json_object_get(properties, name)), value);
            }
            table_cell(&table, buf_text(&cell));
            buf_free(&cell);
        }
    }
    table_put(out, &table, indent, look->color);
    table_free(&table);
}

static void put_rows_one_by_one(struct buf *out, const struct look *look, const char *object,
                                const struct row *rows, size_t count, size_t indent)
{
    for (size_t i = 0; i < count; i++) {
        struct buf head = {0};
        buf_format(&head, "%s:", rows[i].head);
        put_line(out, indent, look->color, STYLE_DIM, head.at);
        buf_free(&head);
        put_embedded(out, look, object, rows[i].value, indent + 2);
    }
}

/* key_class NULL: a list. */
static void put_items(struct buf *out, const struct look *look, const char *object,
                      const json_t *key_class, const json_t *value, size_t indent)
{
    if (!json_is_object(value) || object == NULL) {
        put_json_line(out, indent, value);
        return;
    }
    if (json_object_size(value) == 0) {
        put_line(out, indent, look->color, STYLE_DIM, "<empty>");
        return;
    }
    struct row *rows = need(calloc(json_object_size(value), sizeof *rows));
    size_t count = 0;
    const char *key;
    json_t *item;
    json_object_foreach((json_t *)(uintptr_t)value, key, item)
    {
        struct buf head = {0};
        put_key(&head, look, key_class, key);
        buf_add(&head, "");
        rows[count++] = (struct row){.head = head.at, .key = key, .value = item};
    }
    qsort(rows, count, sizeof *rows, compare_rows);
    json_t *columns = columns_of(look->schema, object);
    if (json_object_size(columns) > 0) {
        put_rows_as_table(out, look, object, key_class ? "Key" : "#", columns, rows, count, indent);
    } else {
        put_rows_one_by_one(out, look, object, rows, count, indent);
    }
    for (size_t i = 0; i < count; i++) {
        free(rows[i].head);
    }
    free(rows);
    json_decref(columns);
}

/* --- properties --------------------------------------------------------------------------------
 */

/* A group of properties under a title: name -> label. */
struct group {
    const char *title;
    json_t *labels;
};

static void put_property(struct buf *out, const struct look *look, const char *label,
                         size_t label_width, const json_t *type, const json_t *value, size_t indent)
{
    enum kind kind = type_kind(type);
    const char *object = member_text(type, "objectName");
    const json_t *value_class = json_object_get(type, "valueClass");
    struct buf head = {0};
    buf_format(&head, "%s:", label);
    buf_spaces(out, indent + 2);
    buf_styled(out, look->color, STYLE_BOLD, head.at);
    buf_free(&head);
    if (json_is_null(value) || is_flat(type)) {
        buf_spaces(out, label_width - text_width(label) + 1);
        put_value(out, look, type, value);
        buf_add(out, "\n");
        return;
    }
    buf_add(out, "\n");
    if (kind == KIND_OBJECT) {
        put_embedded(out, look, object, value, indent + INDENT);
    } else if (kind == KIND_LIST) {
        put_items(out, look, object, NULL, value, indent + INDENT);
    } else {
        put_items(out, look, member_text(value_class, "objectName"),
                  json_object_get(type, "keyClass"), value, indent + INDENT);
    }
}

static void put_group(struct buf *out, const struct look *look, const struct group *group,
                      const json_t *properties, const json_t *value, size_t indent)
{
    size_t width = 0;
    const char *name;
    json_t *label;
    if (group->title != NULL && *group->title != '\0') {
        put_line(out, indent, look->color, STYLE_BOLD, group->title);
    }
    json_object_foreach(group->labels, name, label)
    {
        width = mx_max_size(width, text_width(json_string_value(label)));
    }
    json_object_foreach(group->labels, name, label)
    {
        put_property(out, look, json_string_value(label), width,
                     field_type(json_object_get(properties, name)), json_object_get(value, name),
                     indent);
    }
}

static void group_add(json_t *group, json_t *seen, const json_t *properties, const json_t *value,
                      const char *name, const char *label)
{
    if (name != NULL && json_object_get(properties, name) != NULL &&
        json_object_get(value, name) != NULL && json_object_get(seen, name) == NULL) {
        json_object_set_new(seen, name, json_true());
        json_object_set_new(group, name, json_string(label != NULL && *label ? label : name));
    }
}

struct body {
    struct buf *out;
    const struct look *look;
    json_t *properties, *seen;
    const json_t *value;
    size_t indent;
    bool started;
};

static void flush_group(struct body *body, const char *title, json_t *labels)
{
    struct group group = {.title = title, .labels = labels};
    if (json_object_size(labels) > 0) {
        buf_add(body->out, body->started ? "\n" : "");
        put_group(body->out, body->look, &group, body->properties, body->value, body->indent);
        body->started = true;
    }
    json_decref(labels);
}

static void put_form(struct body *body, const json_t *form)
{
    size_t i, j;
    json_t *section, *entry;
    json_array_foreach(json_object_get(form, "sections"), i, section)
    {
        json_t *labels = need(json_object());
        json_array_foreach(json_object_get(section, "fields"), j, entry)
        {
            group_add(labels, body->seen, body->properties, body->value, member_text(entry, "name"),
                      member_text(entry, "label"));
        }
        flush_group(body, member_text(section, "title"), labels);
    }
}

/* Properties in the order of the forms, then those that no form has. */
static void put_body(struct buf *out, const struct look *look, const char *object,
                     json_t *properties, const json_t *value, size_t indent)
{
    struct body body = {.out = out,
                        .look = look,
                        .properties = properties,
                        .seen = need(json_object()),
                        .value = value,
                        .indent = indent};
    json_t *forms = schema_forms(look->schema, object, member_text(value, "@type")), *entry;
    size_t i;
    json_array_foreach(forms, i, entry)
    {
        put_form(&body, entry);
    }
    json_t *rest = need(json_object());
    const char *name;
    json_object_foreach(properties, name, entry)
    {
        group_add(rest, body.seen, properties, value, name, NULL);
    }
    flush_group(&body, NULL, rest);
    json_decref(forms);
    json_decref(body.seen);
}

static const char *variant_label(const struct look *look, const char *object, const json_t *value)
{
    const char *at_type = member_text(value, "@type");
    return member_text(schema_variant(look->schema, object, at_type, false), "label");
}

static void put_variant(struct buf *out, const struct look *look, const char *label, size_t indent)
{
    buf_spaces(out, indent);
    buf_styled(out, look->color, STYLE_BOLD, "Type:");
    buf_format(out, " %s\n", label);
}

static void put_embedded(struct buf *out, const struct look *look, const char *object,
                         const json_t *value, size_t indent)
{
    json_t *properties = object ? schema_fields_of(look->schema, object, value) : NULL;
    const char *label = object ? variant_label(look, object, value) : NULL;
    if (label != NULL) {
        put_variant(out, look, label, indent);
    }
    if (properties != NULL && json_is_object(value)) {
        put_body(out, look, object, properties, value, indent);
    } else if (label == NULL) {
        put_json_line(out, indent, value);
    }
}

void put_view(struct buf *out, const struct look *look, const char *object, const json_t *value)
{
    json_t *properties = schema_fields_of(look->schema, object, value);
    const char *label = variant_label(look, object, value);
    if (label != NULL) {
        put_variant(out, look, label, 0);
        buf_add(out, "\n");
    }
    if (properties != NULL) {
        put_body(out, look, object, properties, value, 0);
    } else {
        char *text = need(json_dumps(value, JSON_INDENT(2)));
        buf_format(out, "%s\n", text);
        free(text);
    }
}
