/* Shared by validate.c and validate_*.c. */
#pragma once

#include "admin/validate.h"
#include "core/cursor.h"

/* State of the check of one object. */
struct checker {
    const struct reference_resolver *resolver;
    struct set_errors *errors;
    char path[SET_PROPERTY_MAX];
    size_t path_len;
};

/* Appends a segment to the path that errors name (cut to fit). */
void path_push(struct checker *c, struct slice segment);
void path_pop(struct checker *c, size_t to);

enum {
    MEMBER_KEY_MAX = 1024,
    SHOWN_MAX = 80, /* bytes of a wrong value that are quoted */
};

/* "'...'", cut, for messages. */
struct shown {
    char text[SHOWN_MAX + 8];
};
struct shown show(struct slice text);
static inline struct slice json_slice(const json_t *value)
{
    return slice_of(json_string_value(value), json_string_length(value));
}

/* Errors at the path: "must be ...", and one that the contract has a kind for. */
struct set_error *wrong_form(struct checker *c, const char *what);
void invalid(struct checker *c, enum set_validation kind, int64_t required, const char *format, ...)
    MX_PRINTF(4, 5);

/* Scalar values in normal form, new references; NULL when errors were added. */
json_t *normal_string(struct checker *c, const struct reg_field *field, const json_t *value);
json_t *normal_number(struct checker *c, const struct reg_field *field, const json_t *value);
json_t *normal_enum(struct checker *c, const struct reg_field *field, const json_t *value);
json_t *normal_id(struct checker *c, const struct reg_field *field, const json_t *value);
json_t *normal_date(struct checker *c, const json_t *value);
/* A member of a set. */
bool normal_member(struct checker *c, const struct reg_field *field, struct slice key,
                   struct writer *out);
json_t *normal_expression(struct checker *c, const struct reg_field *field, const json_t *value);

/* Members of {"0": ..., "1": ...} in numeric order, malloc'd; false when an error was added. */
struct numbered {
    uint32_t number;
    const json_t *value;
};
bool list_items(struct checker *c, const json_t *value, size_t items_max,
                struct numbered **out_items, size_t *out_count);
/* Without leading zeros: two members of a list cannot have the same position. */
bool list_position(uint32_t *out, struct slice key);
void put_index(char text[16], size_t index);

/* What was built, or NULL when errors were added or memory had failed since. */
json_t *checked_result(struct checker *c, json_t *normal, uint32_t errors_before,
                       uint64_t failures_before);
json_t *normal_object(struct checker *c, const struct reg_shape *shape, const json_t *body,
                      unsigned depth);
const struct reg_variant *find_variant(struct checker *c, const struct reg_shape *shape,
                                       const json_t *body);
const struct reg_field *writable_field(struct checker *c, const struct reg_shape *shape,
                                       const struct reg_variant *variant, struct slice name);
