/* The schema document: everything in it comes from the tables of the registry. */
#include "admin/api_private.h"

#include "core/check.h"
#include "core/text.h"
#include "io/digest.h"

#include <stdio.h>
#include <stdlib.h>
#include <zlib.h>

enum { NAME_BYTES = 2 * REG_NAME_MAX + 8, LABEL_BYTES = 160, LIST_COLUMNS_MAX = 5 };

struct name {
    char text[NAME_BYTES];
};

/* "x:Domain" */
static struct name wire_name(const char *name)
{
    struct name result;
    snprintf(result.text, sizeof(result.text), "x:%.*s", REG_NAME_MAX, name);
    return result;
}

/* "x:MtaRouteRelay"; a shape with one variant without a name: its own. */
static struct name variant_name(const struct reg_shape *shape, const struct reg_variant *variant)
{
    struct name result;
    snprintf(result.text, sizeof(result.text), "x:%.*s%.*s", REG_NAME_MAX, shape->name,
             REG_NAME_MAX, variant->name ? variant->name : "");
    return result;
}

/* Labels ----------------------------------------------------------------------------------- */

static const char *const abbreviations[] = {"ID",  "IDs",  "IP",  "MTA",  "SMTP", "TLS",
                                            "URL", "MIME", "API", "DKIM", "DNS",  "MX"};

static void put_word(struct writer *w, struct slice word, bool first)
{
    for (size_t i = 0; i < mx_countof(abbreviations); i++) {
        if (text_equal_nocase(word, slice_of_text(abbreviations[i]))) {
            put_text(w, abbreviations[i]);
            return;
        }
    }
    for (size_t k = 0; k < word.len; k++) {
        uint8_t c = ascii_lower(word.ptr[k]);
        put_char(w, (char)(k == 0 && first && ascii_is_alpha(c) ? c & 0xdf : c));
    }
}

/* "overrideProxyTrustedNetworks" is "Override proxy trusted networks". */
static void put_label(struct writer *w, const char *name, bool capital)
{
    struct slice rest = slice_of_text(name);
    bool first = true;
    while (rest.len) {
        size_t end = 1;
        while (end < rest.len && !(rest.ptr[end] >= 'A' && rest.ptr[end] <= 'Z')) {
            end++;
        }
        if (!first) {
            put_char(w, ' ');
        }
        put_word(w, slice_first(rest, end), first && capital);
        rest = slice_from(rest, end);
        first = false;
    }
}

static json_t *label_json(const char *name, bool capital, const char *end)
{
    char text[LABEL_BYTES];
    struct writer w = writer_init(text, sizeof(text));
    put_label(&w, name, capital);
    put_text(&w, end);
    return json_stringn(text, w.len);
}

static json_t *field_label(const struct reg_field *field)
{
    return field->label ? json_string(field->label) : label_json(field->name, true, "");
}

/* Fields ----------------------------------------------------------------------------------- */

static const char *string_format(const struct reg_field *field)
{
    switch (field->format) {
    case FORMAT_EMAIL:
        return "emailAddress";
    case FORMAT_NETWORK:
        return "ipNetwork";
    case FORMAT_SOCKET:
        return "socketAddress";
    case FORMAT_ADDRESS:
        return "ipAddress";
    case FORMAT_PEM:
        return "text";
    case FORMAT_SECRET_PEM:
        return "secretText";
    case FORMAT_PASSWORD:
        return "secret";
    default:
        return "string";
    }
}

static const char *number_format(const struct reg_field *field)
{
    return field->format == FORMAT_SIZE       ? "size"
           : field->format == FORMAT_DURATION ? "duration"
           : field->min < 0                   ? "integer"
                                              : "unsignedInteger";
}

static void add_enum(json_t *document, const struct reg_enum *enumeration)
{
    json_t *values = json_array();
    for (uint32_t i = 0; i < enumeration->count; i++) {
        json_array_append_new(values, json_pack("{s:s,s:s}", "name", enumeration->values[i].name,
                                                "label", enumeration->values[i].label));
    }
    json_object_set_new(json_object_get(document, "enums"), enumeration->name, values);
}

static json_t *member_class(json_t *document, const struct reg_field *field)
{
    if (field->enumeration) {
        add_enum(document, field->enumeration);
        return json_pack("{s:s,s:s}", "type", "enum", "enumName", field->enumeration->name);
    }
    if (field->refers) {
        return json_pack("{s:s,s:s}", "type", "objectId", "objectName",
                         wire_name(field->refers).text);
    }
    return json_pack("{s:s,s:s}", "type", "string", "format", string_format(field));
}

static void set_bounds(json_t *type, const struct reg_field *field, const char *low,
                       const char *high)
{
    if (field->min) {
        json_object_set_new(type, low, json_integer(field->min));
    }
    if (field->max) {
        json_object_set_new(type, high, json_integer(field->max));
    }
}

static void add_shape(json_t *document, const struct reg_shape *shape);

static json_t *embedded_type(json_t *document, const struct reg_field *field, const char *kind)
{
    add_shape(document, field->embedded);
    return json_pack("{s:s,s:s}", "type", kind, "objectName",
                     wire_name(field->embedded->name).text);
}

static json_t *field_type(json_t *document, const struct reg_field *field)
{
    json_t *type = NULL;
    switch (field->kind) {
    case REG_STRING:
        type = json_pack("{s:s,s:s}", "type", "string", "format", string_format(field));
        set_bounds(type, field, "minLength", "maxLength");
        break;
    case REG_NUMBER:
        type = json_pack("{s:s,s:s}", "type", "number", "format", number_format(field));
        json_object_set_new(type, "min", json_integer(field->min));
        json_object_set_new(type, "max", json_integer(field->max));
        break;
    case REG_BOOLEAN:
        return json_pack("{s:s}", "type", "boolean");
    case REG_ENUM:
        add_enum(document, field->enumeration);
        type = json_pack("{s:s,s:s}", "type", "enum", "enumName", field->enumeration->name);
        break;
    case REG_DATE:
        type = json_pack("{s:s}", "type", "utcDateTime");
        break;
    case REG_ID:
        type =
            json_pack("{s:s,s:s}", "type", "objectId", "objectName", wire_name(field->refers).text);
        break;
    case REG_OBJECT:
        type = embedded_type(document, field, "object");
        break;
    case REG_LIST:
        type = embedded_type(document, field, "objectList");
        set_bounds(type, field, "minItems", "maxItems");
        return type;
    case REG_SET:
        type = json_pack("{s:s,s:o}", "type", "set", "class", member_class(document, field));
        set_bounds(type, field, "minItems", "maxItems");
        return type;
    case REG_MAP:
        return json_pack("{s:s,s:o,s:o}", "type", "map", "keyClass", member_class(document, field),
                         "valueClass", embedded_type(document, field, "object"));
    case REG_EXPRESSION:
        return json_pack("{s:s,s:s}", "type", "object", "objectName", "x:Expression");
    }
    if (field->flags & REG_NULLABLE) {
        json_object_set_new(type, "nullable", json_true());
    }
    return type;
}

static json_t *field_json(json_t *document, const struct reg_field *field)
{
    static const char *const modes[] = {[REG_MUTABLE] = "mutable",
                                        [REG_IMMUTABLE] = "immutable",
                                        [REG_SERVER_SET] = "serverSet",
                                        [REG_SERVER_STORED] = "serverSet"};
    return json_pack("{s:s,s:o,s:s}", "description", field->description, "type",
                     field_type(document, field), "update", modes[field->mode]);
}

/* NULL: none that is worth telling. */
static json_t *field_default(const struct reg_field *field)
{
    if (field->flags & REG_REQUIRED || reg_is_server_mode(field->mode)) {
        return NULL;
    }
    if (field->initial) {
        return json_loads(field->initial, JSON_DECODE_ANY, NULL);
    }
    return field->kind == REG_BOOLEAN                          ? json_false()
           : field->kind == REG_SET || field->kind == REG_LIST ? json_object()
                                                               : NULL;
}

static void add_fields(json_t *document, const char *name, const struct reg_variant *variant)
{
    json_t *properties = json_object();
    json_t *defaults = json_object();
    for (uint32_t i = 0; i < variant->field_count; i++) {
        const struct reg_field *field = &variant->fields[i];
        json_object_set_new(properties, field->name, field_json(document, field));
        json_t *value = field_default(field);
        if (value) {
            json_object_set_new(defaults, field->name, value);
        }
    }
    json_object_set_new(json_object_get(document, "fields"), name,
                        json_pack("{s:o,s:o}", "properties", properties, "defaults", defaults));
}

/* Forms ------------------------------------------------------------------------------------ */

static void add_form_field(json_t *fields, json_t *seen, const char *name, json_t *label)
{
    if (json_object_get(seen, name)) {
        json_decref(label);
        return;
    }
    json_object_set_new(seen, name, json_true());
    json_array_append_new(fields, json_pack("{s:s,s:o}", "name", name, "label", label));
}

static void add_form(json_t *document, const char *name, const char *title,
                     const struct reg_variant *variants, uint32_t count, bool multiple)
{
    json_t *fields = json_array();
    json_t *seen = json_object();
    if (multiple) {
        add_form_field(fields, seen, "@type", json_string("Type"));
    }
    for (uint32_t v = 0; v < count; v++) {
        for (uint32_t i = 0; i < variants[v].field_count; i++) {
            const struct reg_field *field = &variants[v].fields[i];
            add_form_field(fields, seen, field->name, field_label(field));
        }
    }
    json_decref(seen);
    json_object_set_new(json_object_get(document, "forms"), name,
                        json_pack("{s:o,s:[{s:o}]}", "title", label_json(title, true, ""),
                                  "sections", "fields", fields));
}

/* Shapes ----------------------------------------------------------------------------------- */

static void add_multiple(json_t *document, const struct reg_shape *shape, json_t *schema)
{
    json_t *variants = json_array();
    for (uint32_t v = 0; v < shape->variant_count; v++) {
        const struct reg_variant *variant = &shape->variants[v];
        json_t *entry = json_pack("{s:s,s:s}", "name", variant->name, "label", variant->label);
        if (variant->field_count) {
            struct name name = variant_name(shape, variant);
            json_object_set_new(entry, "schemaName", json_string(name.text));
            add_fields(document, name.text, variant);
            add_form(document, name.text, shape->name, variant, 1, true);
        }
        json_array_append_new(variants, entry);
    }
    json_object_set_new(schema, "type", json_string("multiple"));
    json_object_set_new(schema, "variants", variants);
}

static void add_shape(json_t *document, const struct reg_shape *shape)
{
    json_t *schemas = json_object_get(document, "schemas");
    struct name name = wire_name(shape->name);
    if (json_object_get(schemas, name.text)) {
        return;
    }
    json_t *schema = json_object();
    json_object_set_new(schemas, name.text, schema);
    if (reg_is_multiple(shape)) {
        add_multiple(document, shape, schema);
    } else {
        json_object_set_new(schema, "type", json_string("single"));
        json_object_set_new(schema, "schemaName", json_string(name.text));
        add_fields(document, name.text, &shape->variants[0]);
    }
    add_form(document, name.text, shape->name, shape->variants, shape->variant_count,
             reg_is_multiple(shape));
}

/* Expressions have a shape that no table of the registry describes. */
static void add_expression(json_t *document)
{
    static const struct reg_field branch_fields[] = {
        {.name = "if",
         .kind = REG_STRING,
         .flags = REG_REQUIRED,
         .max = EXPR_SOURCE_MAX,
         .description = "Condition."},
        {.name = "then",
         .kind = REG_STRING,
         .flags = REG_REQUIRED,
         .max = EXPR_SOURCE_MAX,
         .description = "Result when the condition is true."},
    };
    static const struct reg_variant branch_variants[] = {
        {.label = "Branch", .fields = branch_fields, .field_count = 2}};
    static const struct reg_shape branch = {
        .name = "ExpressionMatch", .variants = branch_variants, .variant_count = 1};
    static const struct reg_field fields[] = {
        {.name = "match",
         .kind = REG_LIST,
         .embedded = &branch,
         .max = EXPR_BRANCHES_MAX,
         .description = "Conditions with their results; the first that is true counts."},
        {.name = "else",
         .kind = REG_STRING,
         .flags = REG_REQUIRED,
         .max = EXPR_SOURCE_MAX,
         .description = "Result when no condition is true."},
    };
    static const struct reg_variant variants[] = {
        {.label = "Expression", .fields = fields, .field_count = 2}};
    static const struct reg_shape expression = {
        .name = "Expression", .variants = variants, .variant_count = 1};
    add_shape(document, &expression);
}

/* Types and lists -------------------------------------------------------------------------- */

static bool is_column(const struct reg_type *type, const struct reg_field *field)
{
    bool scalar = field->kind == REG_STRING || field->kind == REG_NUMBER ||
                  field->kind == REG_BOOLEAN || field->kind == REG_ENUM ||
                  field->kind == REG_DATE || field->kind == REG_ID;
    return scalar && field->format != FORMAT_PEM && field->format != FORMAT_SECRET_PEM &&
           !(type->label && strcmp(type->label, field->name) == 0);
}

static json_t *list_columns(const struct reg_type *type)
{
    const struct reg_variant *variant = &type->shape.variants[0];
    const char *first = type->label ? type->label : type->shown_by;
    json_t *columns = json_array();
    json_t *seen = json_object();
    if (first) {
        const struct reg_field *field = reg_field_find(variant, slice_of_text(first));
        add_form_field(columns, seen, first,
                       field ? field_label(field) : label_json(first, true, ""));
    }
    if (reg_is_multiple(&type->shape) && type->shape.variant_count > 1) {
        add_form_field(columns, seen, "@type", json_string("Type"));
    }
    for (uint32_t i = 0; i < variant->field_count && json_array_size(columns) < LIST_COLUMNS_MAX;
         i++) {
        if (is_column(type, &variant->fields[i])) {
            add_form_field(columns, seen, variant->fields[i].name,
                           field_label(&variant->fields[i]));
        }
    }
    json_decref(seen);
    return columns;
}

static json_t *filter_json(const struct reg_field *field)
{
    const char *kind = field->kind == REG_ENUM     ? "enum"
                       : field->kind == REG_ID     ? "objectId"
                       : field->kind == REG_NUMBER ? "integer"
                       : field->kind == REG_DATE   ? "date"
                                                   : "text";
    json_t *filter =
        json_pack("{s:s,s:s,s:o}", "type", kind, "field", field->name, "label", field_label(field));
    if (field->kind == REG_ENUM) {
        json_object_set_new(filter, "enumName", json_string(field->enumeration->name));
    } else if (field->kind == REG_ID) {
        json_object_set_new(filter, "objectName", json_string(wire_name(field->refers).text));
    }
    return filter;
}

static void add_filter(json_t *filters, json_t *sort, const struct reg_field *field, bool sorted)
{
    json_array_append_new(filters, filter_json(field));
    if (sorted) {
        json_array_append_new(sort, json_string(field->name));
    }
}

/* What tells objects apart where the label does not: by this ringmx-cli finds those of a plan.
 * Beyond the contract; other clients do not look at it. */
static json_t *match_properties(const struct reg_type *type)
{
    json_t *names = json_array();
    struct slice rest = slice_of_text(type->match ? type->match : type->unique);
    while (rest.len) {
        size_t end = slice_find(rest, ' ');
        json_array_append_new(names, json_stringn((const char *)rest.ptr, end));
        rest = slice_from(rest, mx_min_size(end + 1, rest.len));
    }
    return names;
}

static void add_list(json_t *document, const struct reg_type *type)
{
    const char *name = type->shape.name;
    json_t *filters = json_array();
    json_t *sort = json_array();
    json_t *seen = json_object();
    if (store_has_text(type)) {
        json_array_append_new(
            filters, json_pack("{s:s,s:s,s:s}", "type", "text", "field", "text", "label", "Text"));
    }
    for (uint32_t v = 0; v < type->shape.variant_count; v++) {
        for (uint32_t i = 0; i < type->shape.variants[v].field_count; i++) {
            const struct reg_field *field = &type->shape.variants[v].fields[i];
            if ((field->flags & REG_INDEXED) && !json_object_get(seen, field->name)) {
                json_object_set_new(seen, field->name, json_true());
                add_filter(filters, sort, field, field->kind != REG_SET);
            }
        }
    }
    for (uint32_t i = 0; i < type->filter_count; i++) {
        add_filter(filters, sort, &type->filters[i], type->filters[i].kind == REG_DATE);
    }
    json_decref(seen);
    json_t *list =
        json_pack("{s:o,s:s,s:o,s:o,s:o,s:o,s:o}", "title", label_json(name, true, "s"), "subtitle",
                  type->description, "singularName", label_json(name, false, ""), "pluralName",
                  label_json(name, false, "s"), "columns", list_columns(type), "filters", filters,
                  "sort", sort);
    if (type->label) {
        json_object_set_new(list, "labelProperty", json_string(type->label));
    } else if (type->shown_by) {
        json_object_set_new(list, "labelProperty", json_string(type->shown_by));
    }
    if (type->match || (!type->label && type->unique)) {
        json_object_set_new(list, "matchProperties", match_properties(type));
    }
    json_object_set_new(json_object_get(document, "lists"), wire_name(name).text, list);
}

static void add_type(json_t *document, const struct reg_type *type)
{
    struct name name = wire_name(type->shape.name);
    char prefix[API_PERMISSION_MAX];
    api_permission(prefix, type, "");
    json_object_set_new(json_object_get(document, "objects"), name.text,
                        json_pack("{s:s,s:s,s:s}", "type", type->singleton ? "singleton" : "object",
                                  "description", type->description, "permissionPrefix", prefix));
    add_shape(document, &type->shape);
    if (!type->singleton) {
        add_list(document, type);
    }
}

/* One page for each type, in the order of the registry. */
static json_t *layouts(void)
{
    json_t *items = json_array();
    for (uint32_t i = 0; i < reg_type_count; i++) {
        json_array_append_new(
            items,
            json_pack("{s:{s:o,s:s,s:s}}", "link", "name",
                      label_json(reg_types[i].shape.name, true, reg_types[i].singleton ? "" : "s"),
                      "icon", reg_types[i].singleton ? "settings" : "list", "viewName",
                      wire_name(reg_types[i].shape.name).text));
    }
    return json_pack("[{s:s,s:s,s:o}]", "name", "Management", "icon", "settings", "items", items);
}

json_t *api_schema_document(void)
{
    json_t *document =
        json_pack("{s:{},s:{},s:{},s:{},s:{},s:{},s:[],s:o}", "objects", "schemas", "fields",
                  "forms", "lists", "enums", "dashboards", "layouts", layouts());
    if (document) {
        for (uint32_t i = 0; i < reg_type_count; i++) {
            add_type(document, &reg_types[i]);
        }
        add_expression(document);
    }
    return document;
}

/* Bytes ------------------------------------------------------------------------------------ */

static mx_err compress_text(struct api_schema *schema, struct slice text)
{
    z_stream stream = {0};
    /* 16: a gzip header, without name and time, so the same tables give the same bytes. */
    if (deflateInit2(&stream, Z_BEST_COMPRESSION, Z_DEFLATED, 15 + 16, 9, Z_DEFAULT_STRATEGY)) {
        return MX_ERR_NOMEM;
    }
    size_t cap = deflateBound(&stream, text.len);
    schema->gzip = malloc(cap);
    if (!schema->gzip) {
        (void)deflateEnd(&stream);
        return MX_ERR_NOMEM;
    }
    stream.next_in = (uint8_t *)(uintptr_t)text.ptr;
    stream.avail_in = (uInt)text.len;
    stream.next_out = schema->gzip;
    stream.avail_out = (uInt)cap;
    int rc = deflate(&stream, Z_FINISH);
    schema->len = cap - stream.avail_out;
    (void)deflateEnd(&stream);
    MX_ASSERT(rc == Z_STREAM_END); /* deflateBound is enough for one call */
    return MX_OK;
}

/* RFC 4648 section 5, without padding. */
static void put_base64url(struct writer *w, struct slice bytes)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    uint32_t bits = 0;
    unsigned count = 0;
    for (size_t i = 0; i < bytes.len; i++) {
        bits = bits << 8 | bytes.ptr[i];
        for (count += 8; count >= 6; count -= 6) {
            put_char(w, digits[bits >> (count - 6) & 63]);
        }
    }
    if (count) {
        put_char(w, digits[bits << (6 - count) & 63]);
    }
}

mx_err api_schema_build(struct api_schema *schema)
{
    json_t *document = api_schema_document();
    char *text = document ? json_dumps(document, JSON_COMPACT) : NULL;
    json_decref(document);
    if (!text) {
        return MX_ERR_NOMEM;
    }
    mx_err err = compress_text(schema, slice_of_text(text));
    free(text);
    if (err) {
        return err;
    }
    uint8_t digest[DIGEST_SHA256_BYTES];
    digest_sha256(digest, slice_of(schema->gzip, schema->len));
    struct writer w = writer_init(schema->hash, API_SCHEMA_HASH_CHARS);
    put_base64url(&w, slice_of(digest, sizeof(digest)));
    MX_ASSERT(!w.overflow && w.len == API_SCHEMA_HASH_CHARS);
    schema->hash[w.len] = 0;
    return MX_OK;
}
