#include "admin/validate.h"
#include "admin/json_memory.h"

#include "admin/object_id.h"
#include "admin/validate_private.h"
#include "admin/value.h"
#include "core/check.h"
#include "core/text.h"
#include "core/timefmt.h"

#include <stdio.h>
#include <stdlib.h>

enum {
    MEMBER_KEY_MAX = 1024,
    SHOWN_MAX = 80, /* bytes of a wrong value that are quoted */
};

void path_push(struct checker *c, struct slice segment)
{
    size_t room = sizeof(c->path) - 1 - c->path_len;
    size_t slash = c->path_len ? 1 : 0;
    if (room < slash + segment.len) {
        segment = slice_first(segment, room > slash ? room - slash : 0);
    }
    if (slash && room) {
        c->path[c->path_len++] = '/';
    }
    if (segment.len) {
        memcpy(c->path + c->path_len, segment.ptr, segment.len);
    }
    c->path_len += segment.len;
    c->path[c->path_len] = 0;
}

void path_pop(struct checker *c, size_t to)
{
    c->path_len = to;
    c->path[to] = 0;
}

/* "'...'", cut, for messages. */
struct shown {
    char text[SHOWN_MAX + 8];
};

static struct shown show(struct slice text)
{
    struct shown shown;
    size_t len = mx_min_size(text.len, SHOWN_MAX);
    while (len < text.len && len > 0 && (text.ptr[len] & 0xc0) == 0x80) {
        len--;
    }
    snprintf(shown.text, sizeof(shown.text), "'%.*s%s'", (int)len, (const char *)text.ptr,
             len < text.len ? "..." : "");
    return shown;
}

static struct slice json_slice(const json_t *value)
{
    return slice_of(json_string_value(value), json_string_length(value));
}

static struct set_error *wrong_form(struct checker *c, const char *what)
{
    return set_error_add(c->errors, SET_INVALID_PATCH, c->path, "must be %s", what);
}

static void invalid(struct checker *c, enum set_validation kind, int64_t required,
                    const char *format, ...) MX_PRINTF(4, 5);

static void invalid(struct checker *c, enum set_validation kind, int64_t required,
                    const char *format, ...)
{
    char text[SET_TEXT_MAX];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    struct set_error *error = set_error_add(c->errors, SET_VALIDATION_FAILED, c->path, "%s", text);
    if (error) {
        error->validation = kind;
        error->required = required;
    }
}

/* The normal form of a string in out; false when an error was added. */
static bool normal_text(struct checker *c, const struct reg_field *field, struct slice text,
                        struct writer *out)
{
    int64_t length_max = field->kind == REG_STRING && field->max ? field->max : REG_STRING_MAX;
    if (text.len == 0) {
        set_error_add(c->errors, SET_INVALID_PATCH, c->path, "may not be empty%s",
                      field->flags & REG_NULLABLE ? " (null unsets it)" : "");
        return false;
    }
    if ((int64_t)text.len > length_max) {
        invalid(c, SET_MAX_LENGTH, length_max, "is longer than %lld bytes", (long long)length_max);
        return false;
    }
    struct value_problem problem;
    if (value_normalize(out, field->format, text, &problem)) {
        if (reg_is_secret(field->format)) {
            set_error_add(c->errors, SET_INVALID_PATCH, c->path, "%s", problem.text);
        } else {
            set_error_add(c->errors, SET_INVALID_PATCH, c->path, "%s %s", show(text).text,
                          problem.text);
        }
        return false;
    }
    return true;
}

static json_t *normal_string(struct checker *c, const struct reg_field *field, const json_t *value)
{
    if (!json_is_string(value)) {
        wrong_form(c, "a string");
        return NULL;
    }
    struct slice text = json_slice(value);
    uint8_t small[MEMBER_KEY_MAX];
    size_t cap = sizeof(small);
    uint8_t *buf = small;
    if (text.len > sizeof(small) / 2 && text.len <= REG_PEM_MAX) {
        cap = text.len * 2;
        buf = malloc(cap);
        if (!buf) {
            set_error_add(c->errors, SET_FORBIDDEN, c->path, "out of memory");
            return NULL;
        }
    }
    struct writer out = writer_init(buf, cap);
    json_t *normal = NULL;
    if (normal_text(c, field, text, &out)) {
        normal = json_stringn((const char *)buf, out.len);
    }
    if (reg_is_secret(field->format)) {
        explicit_bzero(buf, mx_min_size(cap, out.len));
    }
    if (buf != small) {
        free(buf);
    }
    return normal;
}

static void outside(struct checker *c, const struct reg_field *field, bool below)
{
    invalid(c, below ? SET_MIN_VALUE : SET_MAX_VALUE, below ? field->min : field->max,
            "must be %lld to %lld", (long long)field->min, (long long)field->max);
}

static json_t *normal_number(struct checker *c, const struct reg_field *field, const json_t *value)
{
    if (!json_is_integer(value)) {
        wrong_form(c, field->format == FORMAT_DURATION ? "a whole number of milliseconds"
                                                       : "a whole number");
        return NULL;
    }
    json_int_t number = json_integer_value(value);
    if (number < field->min || number > field->max) {
        outside(c, field, number < field->min);
        return NULL;
    }
    return json_integer(number);
}

static json_t *normal_enum(struct checker *c, const struct reg_field *field, const json_t *value)
{
    if (json_is_string(value) && reg_enum_index(field->enumeration, json_slice(value)) >= 0) {
        return json_stringn(json_string_value(value), json_string_length(value));
    }
    char names[SET_TEXT_MAX];
    struct writer w = writer_init(names, sizeof(names) - 1);
    bool known =
        json_is_string(value) && reg_has_word(field->enumeration->unsupported, json_slice(value));
    for (uint32_t i = 0; i < field->enumeration->count; i++) {
        put_text(&w, i ? ", '" : "'");
        put_text(&w, field->enumeration->values[i].name);
        put_char(&w, '\'');
    }
    names[w.len] = 0;
    if (known) {
        set_error_add(c->errors, SET_INVALID_PATCH, c->path,
                      "'%s' is not supported by ringmx; it takes %s", json_string_value(value),
                      names);
        return NULL;
    }
    set_error_add(c->errors, SET_INVALID_PATCH, c->path, "must be %s%s",
                  field->enumeration->count > 1 ? "one of " : "", names);
    return NULL;
}

/* The same for an id or a reference ("#name"). */
static bool normal_id_text(struct checker *c, const struct reg_field *field, struct slice text,
                           struct writer *out)
{
    uint64_t id = 0;
    if (text.len > 1 && text.ptr[0] == '#') {
        const char *reason = "there are no references here";
        if (!c->resolver ||
            !c->resolver->resolve(c->resolver->arg, slice_from(text, 1), &id, &reason)) {
            struct set_error *error =
                set_error_add(c->errors, reason ? SET_INVALID_FOREIGN_KEY : SET_DEPENDS_ON_REFUSED,
                              c->path, "refers to %s%s%s", show(text).text,
                              reason ? ": " : ", which was refused", reason ? reason : "");
            if (error) {
                error->object.type = reg_type_find(slice_of_text(field->refers));
            }
            return false;
        }
    } else if (object_id_parse(&id, text)) {
        set_error_add(c->errors, SET_INVALID_PATCH, c->path, "%s is not an id", show(text).text);
        return false;
    }
    put_object_id(out, id);
    return true;
}

static json_t *normal_id(struct checker *c, const struct reg_field *field, const json_t *value)
{
    if (!json_is_string(value)) {
        wrong_form(c, "an id");
        return NULL;
    }
    uint8_t buf[OBJECT_ID_TEXT_MAX];
    struct writer w = writer_init(buf, sizeof(buf));
    return normal_id_text(c, field, json_slice(value), &w) ? json_stringn((const char *)buf, w.len)
                                                           : NULL;
}

static bool normal_member(struct checker *c, const struct reg_field *field, struct slice key,
                          struct writer *out)
{
    return field->format == FORMAT_ID ? normal_id_text(c, field, key, out)
                                      : normal_text(c, field, key, out);
}

static bool check_count(struct checker *c, const struct reg_field *field, size_t count)
{
    int64_t items_max = field->max ? field->max : REG_ITEMS_MAX;
    if ((int64_t)count < field->min) {
        invalid(c, SET_MIN_LENGTH, field->min, "must have at least %lld", (long long)field->min);
        return false;
    }
    if ((int64_t)count > items_max) {
        invalid(c, SET_MAX_LENGTH, items_max, "has more than %lld members", (long long)items_max);
        return false;
    }
    return true;
}

static json_t *normal_set(struct checker *c, const struct reg_field *field, const json_t *value)
{
    if (!json_is_object(value)) {
        wrong_form(c, "an object such as {\"member\": true}");
        return NULL;
    }
    json_t *set = json_object();
    uint32_t errors = c->errors->count;
    size_t base = c->path_len;
    void *at = json_object_iter((json_t *)(uintptr_t)value);
    for (; at; at = json_object_iter_next((json_t *)(uintptr_t)value, at)) {
        struct slice key = slice_of(json_object_iter_key(at), json_object_iter_key_len(at));
        const json_t *is_member = json_object_iter_value(at);
        path_push(c, key);
        uint8_t buf[MEMBER_KEY_MAX];
        struct writer out = writer_init(buf, sizeof(buf));
        if (!json_is_boolean(is_member)) {
            wrong_form(c, "true or false");
        } else if (json_is_true(is_member) && normal_member(c, field, key, &out)) {
            json_object_setn_new(set, (const char *)buf, out.len, json_true());
        }
        path_pop(c, base);
    }
    if (c->errors->count == errors) {
        (void)check_count(c, field, json_object_size(set));
    }
    return set;
}

struct numbered {
    uint32_t number;
    const json_t *value;
};

static int compare_numbered(const void *a, const void *b)
{
    uint32_t left = ((const struct numbered *)a)->number;
    uint32_t right = ((const struct numbered *)b)->number;
    return left < right ? -1 : left > right;
}

/* Members of {"0": ..., "1": ...} in numeric order, malloc'd; false when an error was added. */
static bool list_items(struct checker *c, const json_t *value, size_t items_max,
                       struct numbered **out_items, size_t *out_count)
{
    if (!json_is_object(value)) {
        wrong_form(c, "an object such as {\"0\": ..., \"1\": ...}");
        return false;
    }
    size_t count = json_object_size(value);
    if (count > items_max) {
        invalid(c, SET_MAX_LENGTH, (int64_t)items_max, "has more than %zu members", items_max);
        return false;
    }
    struct numbered *items = calloc(count + 1, sizeof(*items));
    if (!items) {
        set_error_add(c->errors, SET_FORBIDDEN, c->path, "out of memory");
        return false;
    }
    size_t at = 0;
    const char *key;
    json_t *item;
    json_object_foreach((json_t *)(uintptr_t)value, key, item)
    {
        uint64_t number;
        if (text_to_u64(&number, slice_of_text(key)) || number > UINT32_MAX) {
            set_error_add(c->errors, SET_INVALID_PATCH, c->path, "%s is not a position in a list",
                          show(slice_of_text(key)).text);
            free(items);
            return false;
        }
        items[at++] = (struct numbered){(uint32_t)number, item};
    }
    qsort(items, count, sizeof(*items), compare_numbered);
    *out_items = items;
    *out_count = count;
    return true;
}

static void put_index(char text[16], size_t index)
{
    snprintf(text, 16, "%u", (unsigned)index);
}

static json_t *normal_list(struct checker *c, const struct reg_field *field, const json_t *value,
                           unsigned depth)
{
    struct numbered *items;
    size_t count;
    size_t items_max = field->max ? (size_t)field->max : REG_ITEMS_MAX;
    if (!list_items(c, value, items_max, &items, &count)) {
        return NULL;
    }
    json_t *list = json_object();
    size_t base = c->path_len;
    for (size_t i = 0; i < count; i++) {
        char key[16];
        put_index(key, items[i].number);
        path_push(c, slice_of_text(key));
        json_t *item = normal_object(c, field->embedded, items[i].value, depth + 1);
        put_index(key, i);
        if (item) {
            json_object_set_new(list, key, item);
        }
        path_pop(c, base);
    }
    free(items);
    (void)check_count(c, field, count);
    return list;
}

/* One part of an expression. */
static bool expression_text(struct checker *c, const json_t *holder, const char *key, json_t *into)
{
    const json_t *text = json_object_get(holder, key);
    size_t base = c->path_len;
    path_push(c, slice_of_text(key));
    bool good = json_is_string(text) && json_string_length(text) > 0 &&
                json_string_length(text) <= EXPR_SOURCE_MAX;
    if (!text) {
        set_error_add(c->errors, SET_INVALID_PATCH, c->path, "is required");
    } else if (!good) {
        wrong_form(c, "text that is an expression");
    } else {
        json_object_set_new(into, key,
                            json_stringn(json_string_value(text), json_string_length(text)));
    }
    path_pop(c, base);
    return good;
}

static bool expression_members(struct checker *c, const json_t *value, const char *first,
                               const char *second)
{
    const char *key;
    json_t *member;
    json_object_foreach((json_t *)(uintptr_t)value, key, member)
    {
        if (strcmp(key, first) != 0 && strcmp(key, second) != 0) {
            set_error_add(c->errors, SET_INVALID_PATCH, c->path,
                          "has an unknown member %s; it takes \"%s\" and \"%s\"",
                          show(slice_of_text(key)).text, first, second);
            return false;
        }
    }
    return true;
}

static bool expression_branch(struct checker *c, const json_t *given, json_t *branch)
{
    if (!json_is_object(given)) {
        wrong_form(c, "an object with \"if\" and \"then\"");
        return false;
    }
    return expression_members(c, given, "if", "then") && expression_text(c, given, "if", branch) &&
           expression_text(c, given, "then", branch);
}

static bool expression_branches(struct checker *c, const json_t *match, json_t *into)
{
    struct numbered *items = NULL;
    size_t count = 0;
    size_t base = c->path_len;
    path_push(c, SLICE_LITERAL("match"));
    bool good = list_items(c, match, EXPR_BRANCHES_MAX, &items, &count);
    for (size_t i = 0; good && i < count; i++) {
        char key[16];
        size_t inner = c->path_len;
        put_index(key, items[i].number);
        path_push(c, slice_of_text(key));
        json_t *branch = json_object();
        good = expression_branch(c, items[i].value, branch);
        put_index(key, i);
        json_object_set_new(into, key, branch);
        path_pop(c, inner);
    }
    free(items);
    path_pop(c, base);
    return good;
}

static json_t *normal_expression(struct checker *c, const struct reg_field *field,
                                 const json_t *value)
{
    if (!json_is_object(value)) {
        wrong_form(c, "an expression object such as {\"match\": {}, \"else\": \"...\"}");
        return NULL;
    }
    json_t *normal = json_object();
    json_t *match = json_object();
    json_object_set_new(normal, "match", match);
    const json_t *branches = json_object_get(value, "match");
    bool good = expression_members(c, value, "match", "else") &&
                (!branches || expression_branches(c, branches, match)) &&
                expression_text(c, value, "else", normal);
    if (good) {
        check_expression(c, field, normal);
    }
    return normal;
}

/* In UTC, to the millisecond. */
static json_t *normal_date(struct checker *c, const json_t *value)
{
    int64_t wall_ms;
    char text[64];
    struct writer w = writer_init(text, sizeof(text));
    if (!json_is_string(value) || rfc3339_parse(&wall_ms, json_slice(value))) {
        wrong_form(c, "a date such as \"2026-11-24T10:00:00Z\"");
        return NULL;
    }
    put_rfc3339_ms(&w, wall_ms);
    return json_stringn(text, w.len);
}

static json_t *normal_value(struct checker *c, const struct reg_field *field, const json_t *value,
                            unsigned depth)
{
    if (json_is_null(value)) {
        if (!(field->flags & REG_NULLABLE)) {
            set_error_add(c->errors, SET_INVALID_PATCH, c->path, "may not be null");
            return NULL;
        }
        return json_null();
    }
    switch (field->kind) {
    case REG_STRING:
        return normal_string(c, field, value);
    case REG_DATE:
        return normal_date(c, value);
    case REG_NUMBER:
        return normal_number(c, field, value);
    case REG_BOOLEAN:
        if (!json_is_boolean(value)) {
            wrong_form(c, "true or false");
            return NULL;
        }
        return json_boolean(json_is_true(value));
    case REG_ENUM:
        return normal_enum(c, field, value);
    case REG_ID:
        return normal_id(c, field, value);
    case REG_OBJECT:
        return normal_object(c, field->embedded, value, depth + 1);
    case REG_LIST:
        return normal_list(c, field, value, depth);
    case REG_SET:
        return normal_set(c, field, value);
    case REG_EXPRESSION:
        return normal_expression(c, field, value);
    case REG_MAP:
        break; /* never given */
    }
    return NULL;
}

/* The value of a field that is not given. */
static json_t *initial_value(struct checker *c, const struct reg_field *field)
{
    if (field->flags & REG_REQUIRED) {
        invalid(c, SET_REQUIRED, 0, "is required");
        return NULL;
    }
    if (field->initial) {
        json_t *value = json_loads(field->initial, JSON_DECODE_ANY, NULL);
        return value; /* NULL: no memory; a test reads all of them */
    }
    switch (field->kind) {
    case REG_BOOLEAN:
        return json_false();
    case REG_SET:
    case REG_LIST:
        return json_object();
    default:
        MX_ASSERT(field->flags & REG_NULLABLE);
        return json_null();
    }
}

const struct reg_variant *find_variant(struct checker *c, const struct reg_shape *shape,
                                       const json_t *body)
{
    if (!reg_is_multiple(shape)) {
        return &shape->variants[0];
    }
    const json_t *word = json_object_get(body, "@type");
    struct slice name = json_is_string(word) ? json_slice(word) : SLICE_EMPTY;
    const struct reg_variant *variant = reg_variant_find(shape, name);
    if (variant) {
        return variant;
    }
    size_t base = c->path_len;
    path_push(c, SLICE_LITERAL("@type"));
    char names[SET_TEXT_MAX];
    struct writer w = writer_init(names, sizeof(names) - 1);
    for (uint32_t i = 0; i < shape->variant_count; i++) {
        put_text(&w, i ? ", '" : "'");
        put_text(&w, shape->variants[i].name);
        put_char(&w, '\'');
    }
    names[w.len] = 0;
    if (reg_has_word(shape->unsupported, name)) {
        set_error_add(c->errors, SET_INVALID_PATCH, c->path,
                      "%s is not supported by ringmx; it takes %s", show(name).text, names);
    } else {
        set_error_add(c->errors, SET_INVALID_PATCH, c->path, "is missing or unknown: must be %s%s",
                      shape->variant_count > 1 ? "one of " : "", names);
    }
    path_pop(c, base);
    return NULL;
}

/* The field of that name if it may be written; else NULL and an error. */
const struct reg_field *writable_field(struct checker *c, const struct reg_shape *shape,
                                       const struct reg_variant *variant, struct slice name)
{
    const struct reg_field *field = reg_field_find(variant, name);
    size_t base = c->path_len;
    path_push(c, name);
    if (!field) {
        bool known = reg_has_word(variant->unsupported, name);
        set_error_add(c->errors, SET_INVALID_PATCH, c->path,
                      known ? "is not supported by ringmx" : "is not a property of %s%s%s",
                      shape->name, variant->name ? " of the variant " : "",
                      variant->name ? variant->name : "");
    } else if (reg_is_server_mode(field->mode)) {
        set_error_add(c->errors, SET_INVALID_PATCH, c->path, "is set by the server");
        field = NULL;
    }
    path_pop(c, base);
    return field;
}

static void check_members(struct checker *c, const struct reg_shape *shape,
                          const struct reg_variant *variant, const json_t *body)
{
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)(uintptr_t)body, key, value)
    {
        struct slice name = slice_of_text(key);
        if (!(reg_is_multiple(shape) && slice_equal(name, SLICE_LITERAL("@type")))) {
            (void)writable_field(c, shape, variant, name);
        }
    }
}

json_t *normal_object(struct checker *c, const struct reg_shape *shape, const json_t *body,
                      unsigned depth)
{
    MX_ASSERT(depth < REG_DEPTH_MAX);
    if (!json_is_object(body)) {
        wrong_form(c, "an object");
        return NULL;
    }
    const struct reg_variant *variant = find_variant(c, shape, body);
    if (!variant) {
        return NULL;
    }
    check_members(c, shape, variant, body);
    json_t *normal = json_object();
    if (reg_is_multiple(shape)) {
        json_object_set_new(normal, "@type", json_string(variant->name));
    }
    size_t base = c->path_len;
    for (uint32_t i = 0; i < variant->field_count; i++) {
        const struct reg_field *field = &variant->fields[i];
        if (reg_is_server_mode(field->mode)) {
            continue;
        }
        path_push(c, slice_of_text(field->name));
        const json_t *given = json_object_get(body, field->name);
        json_t *value = given ? normal_value(c, field, given, depth) : initial_value(c, field);
        if (value) {
            json_object_set_new(normal, field->name, value);
        }
        path_pop(c, base);
    }
    return normal;
}

json_t *checked_result(struct checker *c, json_t *normal, uint32_t errors_before,
                       uint64_t failures_before)
{
    if (json_memory_failures() != failures_before && c->errors->count == errors_before) {
        set_error_add(c->errors, SET_FORBIDDEN, NULL, "out of memory");
    }
    if (c->errors->count != errors_before) {
        json_decref(normal);
        return NULL;
    }
    return normal;
}

json_t *object_normalize(const struct reg_type *type, const json_t *body,
                         const struct reference_resolver *resolver, struct set_errors *errors)
{
    struct checker c = {.resolver = resolver, .errors = errors};
    uint32_t before = errors->count;
    uint64_t failures = json_memory_failures();
    json_t *normal = normal_object(&c, &type->shape, body, 0);
    return checked_result(&c, normal, before, failures);
}

json_t *field_normalize(const struct reg_field *field, const json_t *value,
                        const struct reference_resolver *resolver, struct set_errors *errors)
{
    struct checker c = {.resolver = resolver, .errors = errors};
    uint32_t before = errors->count;
    uint64_t failures = json_memory_failures();
    path_push(&c, slice_of_text(field->name));
    json_t *normal = normal_value(&c, field, value, 0);
    return checked_result(&c, normal, before, failures);
}

json_t *object_defaults(const struct reg_type *type)
{
    MX_ASSERT(type->singleton);
    struct set_errors errors;
    errors.count = 0;
    json_t *first = reg_is_multiple(&type->shape)
                        ? json_pack("{s:s}", "@type", type->shape.variants[0].name)
                        : json_object();
    json_t *normal = first ? object_normalize(type, first, NULL, &errors) : NULL;
    json_decref(first);
    return normal;
}

const struct reg_variant *object_variant(const struct reg_shape *shape, const json_t *object)
{
    const json_t *word = json_object_get(object, "@type");
    return reg_variant_find(shape, json_is_string(word) ? json_slice(word) : SLICE_EMPTY);
}
