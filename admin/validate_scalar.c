/* Scalar values in normal form: text, numbers, words, ids, dates. */
#include "admin/object_id.h"
#include "admin/validate_private.h"
#include "admin/value.h"
#include "core/text.h"
#include "core/timefmt.h"

#include <stdio.h>
#include <stdlib.h>

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

struct shown show(struct slice text)
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

struct set_error *wrong_form(struct checker *c, const char *what)
{
    return set_error_add(c->errors, SET_INVALID_PATCH, c->path, "must be %s", what);
}

void invalid(struct checker *c, enum set_validation kind, int64_t required, const char *format, ...)
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

json_t *normal_string(struct checker *c, const struct reg_field *field, const json_t *value)
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

json_t *normal_number(struct checker *c, const struct reg_field *field, const json_t *value)
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

/* False: not a value of the field, and an error was added. */
static bool check_enum(struct checker *c, const struct reg_field *field, struct slice word)
{
    if (reg_enum_index(field->enumeration, word) >= 0) {
        return true;
    }
    char names[SET_TEXT_MAX];
    struct writer w = writer_init(names, sizeof(names) - 1);
    for (uint32_t i = 0; i < field->enumeration->count; i++) {
        put_text(&w, i ? ", '" : "'");
        put_text(&w, field->enumeration->values[i].name);
        put_char(&w, '\'');
    }
    names[w.len] = 0;
    if (word.len > 0 && reg_has_word(field->enumeration->unsupported, word)) {
        set_error_add(c->errors, SET_INVALID_PATCH, c->path,
                      "%s is not supported by ringmx; it takes %s", show(word).text, names);
        return false;
    }
    set_error_add(c->errors, SET_INVALID_PATCH, c->path, "must be %s%s",
                  field->enumeration->count > 1 ? "one of " : "", names);
    return false;
}

json_t *normal_enum(struct checker *c, const struct reg_field *field, const json_t *value)
{
    struct slice word = json_is_string(value) ? json_slice(value) : SLICE_EMPTY;
    return check_enum(c, field, word) ? json_stringn((const char *)word.ptr, word.len) : NULL;
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

json_t *normal_id(struct checker *c, const struct reg_field *field, const json_t *value)
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

/* In UTC, to the millisecond. */
json_t *normal_date(struct checker *c, const json_t *value)
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

bool normal_member(struct checker *c, const struct reg_field *field, struct slice key,
                   struct writer *out)
{
    if (field->enumeration) {
        put_slice(out, check_enum(c, field, key) ? key : SLICE_EMPTY);
        return out->len > 0;
    }
    return field->format == FORMAT_ID ? normal_id_text(c, field, key, out)
                                      : normal_text(c, field, key, out);
}
