/* Composite values in normal form: sets, lists, embedded and whole objects. */
#include "admin/json_memory.h"
#include "admin/validate_private.h"
#include "core/check.h"
#include "core/text.h"

#include <stdio.h>
#include <stdlib.h>

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

static int compare_numbered(const void *a, const void *b)
{
    uint32_t left = ((const struct numbered *)a)->number;
    uint32_t right = ((const struct numbered *)b)->number;
    return left < right ? -1 : left > right;
}

bool list_position(uint32_t *out, struct slice key)
{
    uint64_t number;
    bool padded = key.len > 1 && key.ptr[0] == '0';
    if (padded || text_to_u64(&number, key) || number > UINT32_MAX) {
        return false;
    }
    *out = (uint32_t)number;
    return true;
}

bool list_items(struct checker *c, const json_t *value, size_t items_max,
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
        uint32_t number;
        if (!list_position(&number, slice_of_text(key))) {
            set_error_add(c->errors, SET_INVALID_PATCH, c->path, "%s is not a position in a list",
                          show(slice_of_text(key)).text);
            free(items);
            return false;
        }
        items[at++] = (struct numbered){number, item};
    }
    qsort(items, count, sizeof(*items), compare_numbered);
    *out_items = items;
    *out_count = count;
    return true;
}

void put_index(char text[16], size_t index)
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
