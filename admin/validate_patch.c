/* Patches by pointer: the stored object is copied, changed where the pointers say, and brought into
 * normal form as a whole, so a patched object passes every check that a new one does. */
#include "admin/json_memory.h"
#include "admin/validate_private.h"

#include "admin/object_id.h"
#include "admin/value.h"
#include "core/check.h"
#include "core/text.h"

#include <stdio.h>

enum { PATCH_SEGMENTS_MAX = 2 * REG_DEPTH_MAX, PATCH_SEGMENT_BYTES = 512 };

struct pointer {
    struct slice segments[PATCH_SEGMENTS_MAX];
    size_t count;
    size_t used;
    uint8_t text[PATCH_SEGMENTS_MAX * PATCH_SEGMENT_BYTES / 4];
};

/* Splits at '/', "~1" is '/', "~0" is '~'. */
static bool pointer_parse(struct pointer *pointer, struct slice path)
{
    pointer->count = 0;
    pointer->used = 0;
    for (;;) {
        size_t end = slice_find(path, '/');
        if (pointer->count == PATCH_SEGMENTS_MAX || end > PATCH_SEGMENT_BYTES ||
            pointer->used + end > sizeof(pointer->text)) {
            return false;
        }
        uint8_t *out = pointer->text + pointer->used;
        size_t len = 0;
        for (size_t i = 0; i < end; i++) {
            uint8_t byte = path.ptr[i];
            if (byte == '~') {
                if (i + 1 == end || (path.ptr[i + 1] != '0' && path.ptr[i + 1] != '1')) {
                    return false;
                }
                byte = path.ptr[++i] == '1' ? '/' : '~';
            }
            out[len++] = byte;
        }
        pointer->segments[pointer->count++] = slice_of(out, len);
        pointer->used += len;
        if (end == path.len) {
            return true;
        }
        path = slice_from(path, end + 1);
    }
}

static void refuse(struct checker *c, const char *text)
{
    set_error_add(c->errors, SET_INVALID_PATCH, c->path, "%s", text);
}

static void put_member(json_t *holder, struct slice key, const json_t *value)
{
    json_object_setn_new(holder, (const char *)key.ptr, key.len, json_deep_copy(value));
}

static void patch_object(struct checker *c, const struct reg_shape *shape, json_t *object,
                         const struct slice *segments, size_t count, const json_t *value);

/* Every member of value as a patch of its own ("rate": {"count": 5} keeps the period). */
static void merge_object(struct checker *c, const struct reg_shape *shape, json_t *object,
                         const json_t *value)
{
    const char *key;
    json_t *member;
    json_object_foreach((json_t *)(uintptr_t)value, key, member)
    {
        struct slice name = slice_of_text(key);
        patch_object(c, shape, object, &name, 1, member);
    }
}

/* "set/member": true adds; null or false removes. */
static void patch_set(struct checker *c, const struct reg_field *field, json_t *set,
                      const struct slice *segments, size_t count, const json_t *value)
{
    if (count != 1) {
        refuse(c, "goes deeper than a member of a set");
        return;
    }
    if (!json_is_boolean(value) && !json_is_null(value)) {
        refuse(c, "must be true to add or null to remove");
        return;
    }
    struct slice key = segments[0];
    uint8_t buf[1024];
    struct writer w = writer_init(buf, sizeof(buf));
    struct value_problem problem;
    if (value_normalize(&w, field->format, key, &problem) == MX_OK) {
        key = writer_slice(&w);
    }
    if (json_is_true(value)) {
        json_object_setn_new(set, (const char *)key.ptr, key.len, json_true());
    } else {
        json_object_deln(set, (const char *)key.ptr, key.len);
    }
}

/* "list/3": an object inserts or patches, null removes; "list/3/name" goes into it. */
static void patch_list(struct checker *c, const struct reg_field *field, json_t *list,
                       const struct slice *segments, size_t count, const json_t *value)
{
    char key[OBJECT_ID_TEXT_MAX];
    uint32_t index;
    if (!list_position(&index, segments[0])) {
        refuse(c, "is not a position in a list");
        return;
    }
    snprintf(key, sizeof(key), "%u", (unsigned)index);
    json_t *item = json_object_get(list, key);
    if (count > 1 || json_is_null(value)) {
        if (!item) {
            refuse(c, "there is no such position in the list");
        } else if (count > 1) {
            patch_object(c, field->embedded, item, segments + 1, count - 1, value);
        } else {
            json_object_del(list, key);
        }
        return;
    }
    if (item && json_is_object(value) && !reg_is_multiple(field->embedded)) {
        merge_object(c, field->embedded, item, value);
        return;
    }
    json_object_set_new(list, key, json_deep_copy(value));
}

/* Inside of an expression: plain JSON, checked later as a whole. */
static void patch_plain(struct checker *c, json_t *holder, const struct slice *segments,
                        size_t count, const json_t *value)
{
    for (; count > 1; segments++, count--) {
        json_t *inner = json_object_getn(holder, (const char *)segments[0].ptr, segments[0].len);
        if (!inner) {
            inner = json_object();
            json_object_setn_new(holder, (const char *)segments[0].ptr, segments[0].len, inner);
        }
        if (!json_is_object(inner)) {
            refuse(c, "has no parts at this place");
            return;
        }
        holder = inner;
    }
    if (json_is_null(value)) {
        json_object_deln(holder, (const char *)segments[0].ptr, segments[0].len);
    } else {
        put_member(holder, segments[0], value);
    }
}

static void patch_inside(struct checker *c, const struct reg_field *field, json_t *current,
                         const struct slice *segments, size_t count, const json_t *value)
{
    if (field->kind == REG_OBJECT && json_is_object(current)) {
        patch_object(c, field->embedded, current, segments, count, value);
        return;
    }
    size_t base = c->path_len;
    size_t shown = field->kind == REG_LIST ? 1 : count;
    for (size_t i = 0; i < shown; i++) {
        path_push(c, segments[i]);
    }
    if (!json_is_object(current)) {
        refuse(c, "has no parts at this place");
    } else if (field->kind == REG_SET) {
        patch_set(c, field, current, segments, count, value);
    } else if (field->kind == REG_LIST) {
        patch_list(c, field, current, segments, count, value);
    } else if (field->kind == REG_EXPRESSION) {
        patch_plain(c, current, segments, count, value);
    } else {
        refuse(c, "has no parts at this place");
    }
    path_pop(c, base);
}

static void patch_object(struct checker *c, const struct reg_shape *shape, json_t *object,
                         const struct slice *segments, size_t count, const json_t *value)
{
    if (reg_is_multiple(shape) && slice_equal(segments[0], SLICE_LITERAL("@type"))) {
        const char *now = json_string_value(json_object_get(object, "@type"));
        if (count > 1 || !json_is_string(value) || strcmp(now, json_string_value(value)) != 0) {
            refuse(c, "the variant changes only with the whole value");
        }
        return;
    }
    const struct reg_variant *variant = find_variant(c, shape, object);
    const struct reg_field *field = variant ? writable_field(c, shape, variant, segments[0]) : NULL;
    if (!field) {
        return;
    }
    size_t base = c->path_len;
    path_push(c, segments[0]);
    json_t *current = json_object_get(object, field->name);
    if (count > 1) {
        patch_inside(c, field, current, segments + 1, count - 1, value);
    } else if (field->kind == REG_OBJECT && !reg_is_multiple(field->embedded) &&
               json_is_object(current) && json_is_object(value)) {
        merge_object(c, field->embedded, current, value);
    } else {
        put_member(object, segments[0], value);
    }
    path_pop(c, base);
}

static void check_immutable(struct checker *c, const struct reg_variant *variant,
                            const json_t *stored, const json_t *patched)
{
    for (uint32_t i = 0; i < variant->field_count; i++) {
        const struct reg_field *field = &variant->fields[i];
        if (field->mode == REG_IMMUTABLE && !json_equal(json_object_get(stored, field->name),
                                                        json_object_get(patched, field->name))) {
            set_error_add(c->errors, SET_INVALID_PATCH, field->name,
                          "cannot be changed after creation");
        }
    }
}

static bool is_mask(const json_t *value)
{
    return json_is_string(value) && strcmp(json_string_value(value), REG_MASK) == 0;
}

static void keep_masked(const struct reg_shape *shape, const json_t *stored, json_t *body);

/* Items are known by their position. */
static void keep_masked_items(const struct reg_shape *shape, const json_t *stored, json_t *list)
{
    const char *key;
    json_t *item;
    json_object_foreach(list, key, item)
    {
        const json_t *old = json_object_get(stored, key);
        if (json_is_object(old) && json_is_object(item)) {
            keep_masked(shape, old, item);
        }
    }
}

/* A secret that comes back as it was shown, or not at all, stays what it is: nobody can read it to
 * send it again with the rest. */
static void keep_masked(const struct reg_shape *shape, const json_t *stored, json_t *body)
{
    const struct reg_variant *variant = object_variant(shape, stored);
    bool same = variant == object_variant(shape, body);
    for (uint32_t i = 0; same && variant && i < variant->field_count; i++) {
        const struct reg_field *field = &variant->fields[i];
        const json_t *old = json_object_get(stored, field->name);
        json_t *value = json_object_get(body, field->name);
        if (field->kind == REG_OBJECT && json_is_object(old) && json_is_object(value)) {
            keep_masked(field->embedded, old, value);
        } else if (field->kind == REG_LIST && json_is_object(value)) {
            keep_masked_items(field->embedded, old, value);
        } else if (reg_is_secret(field->format) && !reg_is_server_mode(field->mode) &&
                   json_is_string(old) && (value == NULL || is_mask(value))) {
            put_member(body, slice_of_text(field->name), old);
        }
    }
}

/* Moves what the server keeps in the object out of it, so that the rest is as from outside. */
static json_t *take_stored(const struct reg_shape *shape, json_t *body)
{
    const struct reg_variant *variant = object_variant(shape, body);
    json_t *kept = json_object();
    for (uint32_t i = 0; variant && i < variant->field_count; i++) {
        const struct reg_field *field = &variant->fields[i];
        if (field->mode == REG_SERVER_STORED) {
            json_object_set(kept, field->name, json_object_get(body, field->name));
            json_object_del(body, field->name);
        }
    }
    return kept;
}

/* RFC 8620 section 5.3: no pointer may be the beginning of another one. What they do would depend
 * on the order of members, which JSON does not have. */
static bool is_apart(struct checker *c, const json_t *patch, const char *key)
{
    for (size_t i = 1; key[0] != '\0' && key[i] != '\0'; i++) {
        if (key[i] == '/' && json_object_getn(patch, key, i) != NULL) {
            set_error_add(c->errors, SET_INVALID_PATCH, key, "'%.*s' is changed as a whole as well",
                          (int)i, key);
            return false;
        }
    }
    return true;
}

static void patch_one(struct checker *c, const struct reg_type *type, json_t *body, const char *key,
                      const json_t *value)
{
    struct pointer pointer;
    if (key[0] == '\0' || key[0] == '/') {
        set_error_add(c->errors, SET_INVALID_PATCH, key,
                      "is not a pointer into the object: it begins with the name of a property");
    } else if (!pointer_parse(&pointer, slice_of_text(key))) {
        set_error_add(c->errors, SET_INVALID_PATCH, key, "is not a pointer into the object");
    } else {
        patch_object(c, &type->shape, body, pointer.segments, pointer.count, value);
    }
}

/* A different "@type" makes the patch a whole new body. */
static bool changes_variant(const struct reg_type *type, const json_t *stored, const json_t *patch)
{
    const json_t *wanted = json_object_get(patch, "@type");
    return reg_is_multiple(&type->shape) && wanted &&
           !json_equal(wanted, json_object_get(stored, "@type"));
}

json_t *object_patch(const struct reg_type *type, const json_t *stored, const json_t *patch,
                     const struct reference_resolver *resolver, struct set_errors *errors)
{
    struct checker c = {.resolver = resolver, .errors = errors};
    if (!json_is_object(patch)) {
        set_error_add(errors, SET_INVALID_PATCH, NULL, "must be an object");
        return NULL;
    }
    if (changes_variant(type, stored, patch) && reg_has_address(type)) {
        set_error_add(errors, SET_INVALID_PATCH, "@type", "is fixed at creation");
        return NULL;
    }
    if (changes_variant(type, stored, patch)) {
        return object_normalize(type, patch, resolver, errors);
    }
    uint32_t before = errors->count;
    uint64_t failures = json_memory_failures();
    json_t *body = json_deep_copy(stored);
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)(uintptr_t)patch, key, value)
    {
        if (is_apart(&c, patch, key)) {
            patch_one(&c, type, body, key, value);
        }
    }
    /* Also after an error, so that all errors of the object are found. */
    keep_masked(&type->shape, stored, body);
    json_t *kept = take_stored(&type->shape, body);
    json_t *normal = normal_object(&c, &type->shape, body, 0);
    if (normal) {
        json_object_update(normal, kept);
        check_immutable(&c, object_variant(&type->shape, stored), stored, normal);
    }
    json_decref(kept);
    json_decref(body);
    return checked_result(&c, normal, before, failures);
}

/* References ------------------------------------------------------------------------------- */

struct reference_walk {
    struct checker path; /* only its path is used */
    object_reference_fn each;
    void *arg;
};

static bool walk_object(struct reference_walk *walk, const struct reg_shape *shape,
                        const json_t *object);

static bool walk_set(struct reference_walk *walk, const struct reg_type *type, const json_t *set)
{
    const char *key;
    json_t *yes;
    size_t base = walk->path.path_len;
    bool go_on = true;
    json_object_foreach((json_t *)(uintptr_t)set, key, yes)
    {
        uint64_t id = 0;
        MX_ASSERT(object_id_parse(&id, slice_of_text(key)) == MX_OK);
        path_push(&walk->path, slice_of_text(key));
        go_on = walk->each(walk->arg, walk->path.path, type, id);
        path_pop(&walk->path, base);
        if (!go_on) {
            break;
        }
    }
    return go_on;
}

static bool walk_value(struct reference_walk *walk, const struct reg_field *field,
                       const json_t *value)
{
    if (field->kind == REG_ID && json_is_string(value)) {
        uint64_t id = 0;
        const struct reg_type *type = reg_type_find(slice_of_text(field->refers));
        struct slice text = slice_of(json_string_value(value), json_string_length(value));
        MX_ASSERT(type && object_id_parse(&id, text) == MX_OK);
        return walk->each(walk->arg, walk->path.path, type, id);
    }
    if (field->kind == REG_SET && field->format == FORMAT_ID) {
        return walk_set(walk, reg_type_find(slice_of_text(field->refers)), value);
    }
    if (field->kind == REG_OBJECT && json_is_object(value)) {
        return walk_object(walk, field->embedded, value);
    }
    if (field->kind != REG_LIST) {
        return true;
    }
    const char *key;
    json_t *item;
    size_t base = walk->path.path_len;
    bool go_on = true;
    json_object_foreach((json_t *)(uintptr_t)value, key, item)
    {
        path_push(&walk->path, slice_of_text(key));
        go_on = walk_object(walk, field->embedded, item);
        path_pop(&walk->path, base);
        if (!go_on) {
            break;
        }
    }
    return go_on;
}

static bool walk_object(struct reference_walk *walk, const struct reg_shape *shape,
                        const json_t *object)
{
    const struct reg_variant *variant = object_variant(shape, object);
    MX_ASSERT(variant);
    size_t base = walk->path.path_len;
    bool go_on = true;
    for (uint32_t i = 0; go_on && i < variant->field_count; i++) {
        const struct reg_field *field = &variant->fields[i];
        const json_t *value = json_object_get(object, field->name);
        if (value) {
            path_push(&walk->path, slice_of_text(field->name));
            go_on = walk_value(walk, field, value);
            path_pop(&walk->path, base);
        }
    }
    return go_on;
}

void object_references(const struct reg_type *type, const json_t *object, object_reference_fn each,
                       void *arg)
{
    struct reference_walk walk = {.each = each, .arg = arg};
    (void)walk_object(&walk, &type->shape, object);
}
