/* Shared by validate.c and validate_*.c. */
#pragma once

#include "admin/validate.h"

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

/* What was built, or NULL when errors were added or memory had failed since. */
json_t *checked_result(struct checker *c, json_t *normal, uint32_t errors_before,
                       uint64_t failures_before);
json_t *normal_object(struct checker *c, const struct reg_shape *shape, const json_t *body,
                      unsigned depth);
/* Adds errors when a normal expression does not compile or yields what the field cannot take. */
void check_expression(struct checker *c, const struct reg_field *field, const json_t *value);
const struct reg_variant *find_variant(struct checker *c, const struct reg_shape *shape,
                                       const json_t *body);
const struct reg_field *writable_field(struct checker *c, const struct reg_shape *shape,
                                       const struct reg_variant *variant, struct slice name);
