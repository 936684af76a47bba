#include "admin/set_error.h"

#include <stdarg.h>
#include <stdio.h>

struct set_error *set_error_add(struct set_errors *errors, enum set_error_type type,
                                const char *property, const char *format, ...)
{
    if (errors->count++ >= SET_ERRORS_MAX) {
        return NULL;
    }
    struct set_error *error = &errors->items[errors->count - 1];
    *error = (struct set_error){.type = type};
    snprintf(error->property, sizeof(error->property), "%s", property ? property : "");
    va_list args;
    va_start(args, format);
    vsnprintf(error->text, sizeof(error->text), format, args);
    va_end(args);
    return error;
}

const char *set_error_name(enum set_error_type type)
{
    switch (type) {
    case SET_INVALID_PATCH:
        return "invalidPatch";
    case SET_VALIDATION_FAILED:
        return "validationFailed";
    case SET_INVALID_PROPERTIES:
        return "invalidProperties";
    case SET_PRIMARY_KEY_VIOLATION:
        return "primaryKeyViolation";
    case SET_INVALID_FOREIGN_KEY:
    case SET_DEPENDS_ON_REFUSED:
        return "invalidForeignKey";
    case SET_OBJECT_IS_LINKED:
        return "objectIsLinked";
    case SET_SINGLETON:
        return "singleton";
    case SET_WILL_DESTROY:
        return "willDestroy";
    case SET_NOT_FOUND:
        return "notFound";
    case SET_FORBIDDEN:
        return "forbidden";
    case SET_OVER_QUOTA:
        return "overQuota";
    }
    return "serverFail";
}
