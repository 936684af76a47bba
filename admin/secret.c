#include "admin/secret.h"

#include "admin/validate.h"

#include <string.h>

/* As deep as API_DEPTH_MAX and a plan's lines let it be. */
bool secret_has_hash(const json_t *value)
{
    size_t index;
    const char *key;
    json_t *item;
    bool found = json_is_string(value) &&
                 password_is_hash(slice_of(json_string_value(value), json_string_length(value)));
    json_array_foreach((json_t *)(uintptr_t)value, index, item)
    {
        found = found || secret_has_hash(item);
    }
    json_object_foreach((json_t *)(uintptr_t)value, key, item)
    {
        found = found || secret_has_hash(item);
    }
    return found;
}

struct sealing {
    struct secret_memo *memo;
    struct set_errors *errors;
    mx_err err;
};

/* Cut to fit. */
static void join(char out[SET_PROPERTY_MAX], const char *path, const char *name)
{
    struct writer w = writer_init(out, SET_PROPERTY_MAX - 1);
    put_text(&w, path);
    put_text(&w, *path ? "/" : "");
    put_text(&w, name);
    out[w.len] = '\0';
}

static void refuse(struct sealing *sealing, const char *path, const char *problem)
{
    set_error_add(sealing->errors, SET_INVALID_PROPERTIES, path, "%s", problem);
}

static json_t *sealed(struct sealing *sealing, const char *path, const char *old, struct slice text)
{
    if (old && slice_equal(text, slice_of_text(old))) {
        return json_string(old);
    }
    bool is_mask = slice_equal(text, SLICE_LITERAL(REG_MASK));
    bool is_hash = password_is_hash(text);
    const char *problem = is_mask   ? "stands for a secret, and there is none here yet"
                          : is_hash ? password_hash_problem(text)
                                    : password_problem(text);
    if (problem) {
        refuse(sealing, path, problem);
        return NULL;
    }
    if (is_hash) {
        return json_stringn((const char *)text.ptr, text.len);
    }
    bool fits = false;
    if (old) {
        sealing->err = secret_memo_fits(sealing->memo, old, text, &fits);
    }
    char hash[PASSWORD_HASH_MAX];
    if (!sealing->err && !fits) {
        sealing->err = secret_memo_hash(sealing->memo, text, hash);
    }
    return sealing->err ? NULL : json_string(fits ? old : hash);
}

static void seal_object(struct sealing *sealing, const struct reg_shape *shape, const char *path,
                        const json_t *before, json_t *after);

static void seal_list(struct sealing *sealing, const struct reg_shape *shape, const char *path,
                      const json_t *before, json_t *after)
{
    const char *key;
    json_t *item;
    json_object_foreach(after, key, item)
    {
        char inner[SET_PROPERTY_MAX];
        join(inner, path, key);
        seal_object(sealing, shape, inner, json_object_get(before, key), item);
    }
}

static void seal_object(struct sealing *sealing, const struct reg_shape *shape, const char *path,
                        const json_t *before, json_t *after)
{
    const struct reg_variant *variant = object_variant(shape, after);
    for (uint32_t i = 0; variant && !sealing->err && i < variant->field_count; i++) {
        const struct reg_field *field = &variant->fields[i];
        json_t *value = json_object_get(after, field->name);
        const json_t *old = json_object_get(before, field->name);
        char inner[SET_PROPERTY_MAX];
        join(inner, path, field->name);
        if (field->kind == REG_OBJECT && json_is_object(value)) {
            seal_object(sealing, field->embedded, inner, old, value);
        } else if (field->kind == REG_LIST) {
            seal_list(sealing, field->embedded, inner, old, value);
        } else if (field->format == FORMAT_PASSWORD && field->mode != REG_SERVER_STORED &&
                   json_is_string(value)) {
            struct slice text = slice_of(json_string_value(value), json_string_length(value));
            json_t *hash = sealed(sealing, inner, json_string_value(old), text);
            json_object_set_new(after, field->name, hash ? hash : json_null());
        }
    }
}

mx_err secret_seal(const struct reg_shape *shape, const json_t *before, json_t *after,
                   struct secret_memo *memo, struct set_errors *errors)
{
    struct sealing sealing = {memo, errors, MX_OK};
    seal_object(&sealing, shape, "", before, after);
    return sealing.err;
}
