/* Why an object was refused, in the terms of the management contract (SetError), so that the plan
 * reader prints it and the API can send it. */
#pragma once

#include "admin/registry.h"
#include "core/cursor.h"

enum set_error_type {
    SET_INVALID_PATCH, /* wrong form: JSON type, unknown or read-only property, bad word */
    SET_VALIDATION_FAILED,
    SET_INVALID_PROPERTIES,
    SET_PRIMARY_KEY_VIOLATION,
    SET_INVALID_FOREIGN_KEY,
    SET_DEPENDS_ON_REFUSED, /* refers to an object that was refused in the same call or plan */
    SET_OBJECT_IS_LINKED,
    SET_SINGLETON,
    SET_WILL_DESTROY, /* updated and destroyed in the same call */
    SET_NOT_FOUND,
    SET_FORBIDDEN,
    SET_OVER_QUOTA,
};

/* Entry of "validationErrors" that goes with SET_VALIDATION_FAILED. */
enum set_validation {
    SET_NONE,
    SET_INVALID,
    SET_REQUIRED,
    SET_MAX_LENGTH,
    SET_MIN_LENGTH,
    SET_MAX_VALUE,
    SET_MIN_VALUE,
};

enum {
    SET_ERRORS_MAX = 16, /* kept per object; more are counted */
    SET_LINKED_MAX = 8,
    SET_PROPERTY_MAX = 192,
    SET_TEXT_MAX = 480,
};

struct set_object {
    const struct reg_type *type;
    uint64_t id;
};

struct set_error {
    enum set_error_type type;
    enum set_validation validation;
    int64_t required;                /* bound, for the MIN and MAX kinds */
    char property[SET_PROPERTY_MAX]; /* path joined by '/'; empty = the object */
    char text[SET_TEXT_MAX];         /* one sentence without the property's name */
    struct set_object object;        /* existing holder, or missing target; type NULL = none */
    struct set_object linked[SET_LINKED_MAX];
    uint32_t linked_count;
};

struct set_errors {
    struct set_error items[SET_ERRORS_MAX];
    uint32_t count; /* all, kept or not */
};

/* The next entry, filled with type, property and text (both cut to fit); NULL when full (counted).
 * property may be NULL. */
struct set_error *set_error_add(struct set_errors *errors, enum set_error_type type,
                                const char *property, const char *format, ...) MX_PRINTF(4, 5);
static inline uint32_t set_errors_kept(const struct set_errors *errors)
{
    return errors->count < SET_ERRORS_MAX ? errors->count : SET_ERRORS_MAX;
}
/* Name on the wire: "invalidPatch" ... */
const char *set_error_name(enum set_error_type type);
