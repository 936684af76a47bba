#include "admin/reference.h"

#include "admin/registry.h"
#include "route/expr_tables.h"

#include <inttypes.h>

enum { SHAPES_MAX = 64 };

/* Embedded shapes that are described after the types, each once. */
struct shape_list {
    const struct reg_shape *shapes[SHAPES_MAX];
    uint32_t count;
};

static const char *string_kind(enum reg_format format)
{
    switch (format) {
    case FORMAT_DOMAIN:
        return "domain name";
    case FORMAT_HOSTNAME:
        return "host name";
    case FORMAT_HOST:
        return "host name or address";
    case FORMAT_LOCAL_PART:
        return "local part";
    case FORMAT_EMAIL:
        return "e-mail address";
    case FORMAT_NETWORK:
        return "address or network";
    case FORMAT_SOCKET:
        return "address:port";
    case FORMAT_ADDRESS:
        return "address";
    case FORMAT_NAME:
        return "name";
    case FORMAT_PEM:
        return "PEM text";
    case FORMAT_SECRET_PEM:
        return "secret PEM text";
    case FORMAT_PATH:
        return "path";
    case FORMAT_PASSWORD:
        return "secret";
    case FORMAT_PERMISSION:
        return "permission";
    default:
        return "string";
    }
}

static const char *number_kind(enum reg_format format)
{
    switch (format) {
    case FORMAT_SIZE:
        return "bytes";
    case FORMAT_DURATION:
        return "duration";
    case FORMAT_LABEL:
        return "name";
    default:
        return "whole number";
    }
}

static void print_enum(FILE *out, const struct reg_enum *enumeration)
{
    for (uint32_t i = 0; i < enumeration->count; i++) {
        fprintf(out, "%s`%s`", i ? ", " : "", enumeration->values[i].name);
    }
}

static void print_kind(FILE *out, const struct reg_field *field)
{
    switch (field->kind) {
    case REG_STRING:
        fprintf(out, "%s", string_kind(field->format));
        break;
    case REG_NUMBER:
        fprintf(out, "%s", number_kind(field->format));
        break;
    case REG_BOOLEAN:
        fprintf(out, "boolean");
        break;
    case REG_ENUM:
        print_enum(out, field->enumeration);
        break;
    case REG_DATE:
        fprintf(out, "date");
        break;
    case REG_ID:
        fprintf(out, "id of a [%s](#%s)", field->refers, field->refers);
        break;
    case REG_OBJECT:
        fprintf(out, "[%s](#%s)", field->embedded->name, field->embedded->name);
        break;
    case REG_LIST:
        fprintf(out, "list of [%s](#%s)", field->embedded->name, field->embedded->name);
        break;
    case REG_MAP:
        fprintf(out, "map of %s to [%s](#%s)", string_kind(field->format), field->embedded->name,
                field->embedded->name);
        break;
    case REG_SET:
        if (field->enumeration) {
            fprintf(out, "set of ");
            print_enum(out, field->enumeration);
        } else if (field->format == FORMAT_ID) {
            fprintf(out, "set of ids of a [%s](#%s)", field->refers, field->refers);
        } else {
            fprintf(out, "set of %s", string_kind(field->format));
        }
        break;
    case REG_EXPRESSION:
        fprintf(out, "expression (%s): %s", expr_context_row(field->context)->name,
                number_kind(field->format));
        if (field->refers) {
            fprintf(out, " of a [%s](#%s)", field->refers, field->refers);
        }
        break;
    }
    if (field->max && field->kind != REG_STRING && field->kind != REG_SET) {
        fprintf(out, ", %" PRId64 " to %" PRId64, field->min, field->max);
    }
    if (field->flags & REG_NULLABLE) {
        fprintf(out, ", or null");
    }
}

static void print_default(FILE *out, const struct reg_field *field)
{
    if (reg_is_server_mode(field->mode)) {
        fprintf(out, "set by the server");
    } else if (field->flags & REG_REQUIRED) {
        fprintf(out, "**required**");
    } else if (field->initial) {
        fprintf(out, "`%s`", field->initial);
    } else if (field->kind == REG_BOOLEAN) {
        fprintf(out, "`false`");
    } else {
        fprintf(out, field->flags & REG_NULLABLE ? "`null`" : "`{}`");
    }
    if (field->mode == REG_IMMUTABLE) {
        fprintf(out, "; fixed at creation");
    }
}

static void print_fields(FILE *out, const struct reg_variant *variant, struct shape_list *shapes)
{
    if (variant->field_count == 0) {
        return;
    }
    fprintf(out, "\n| Field | Value | Default | Meaning |\n|---|---|---|---|\n");
    for (uint32_t i = 0; i < variant->field_count; i++) {
        const struct reg_field *field = &variant->fields[i];
        fprintf(out, "| `%s` | ", field->name);
        print_kind(out, field);
        fprintf(out, " | ");
        print_default(out, field);
        fprintf(out, " | %s |\n", field->description);
        bool known = !field->embedded;
        for (uint32_t k = 0; k < shapes->count; k++) {
            known = known || shapes->shapes[k] == field->embedded;
        }
        if (!known && shapes->count < SHAPES_MAX) {
            shapes->shapes[shapes->count++] = field->embedded;
        }
    }
}

static void print_shape(FILE *out, const struct reg_shape *shape, struct shape_list *shapes)
{
    for (uint32_t i = 0; i < shape->variant_count; i++) {
        const struct reg_variant *variant = &shape->variants[i];
        if (variant->name) {
            fprintf(out, "\n`\"@type\": \"%s\"` - %s.\n", variant->name, variant->label);
        }
        print_fields(out, variant, shapes);
        if (variant->note) {
            fprintf(out, "\n%s\n", variant->note);
        }
    }
}

void reference_print(FILE *out)
{
    struct shape_list shapes = {0};
    fprintf(out, "# Objects\n\nSets are written `{\"member\": true}`, lists `{\"0\": {...}}`, "
                 "expressions `{\"match\": {\"0\": {\"if\": \"...\", \"then\": \"...\"}}, "
                 "\"else\": \"...\"}`. A duration in an expression is written `5m`, `1h`; "
                 "everywhere else it is milliseconds.\n");
    for (uint32_t i = 0; i < reg_type_count; i++) {
        const struct reg_type *type = &reg_types[i];
        fprintf(out, "\n## %s\n\n%s", type->shape.name, type->description);
        if (type->singleton) {
            fprintf(out, " There is exactly one; it is updated, never created or destroyed.");
        }
        fprintf(out, "\n");
        print_shape(out, &type->shape, &shapes);
    }
    fprintf(out, "\n# Parts of objects\n");
    for (uint32_t i = 0; i < shapes.count; i++) {
        fprintf(out, "\n## %s\n", shapes.shapes[i]->name);
        print_shape(out, shapes.shapes[i], &shapes);
    }
}
