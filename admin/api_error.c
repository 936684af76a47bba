/* Errors of method calls and of objects. */
#include "admin/api_private.h"
#include "admin/json_text.h"

#include <stdarg.h>
#include <stdio.h>

bool api_fail(struct api_call *call, const char *type, const char *format, ...)
{
    if (!call->error) {
        va_list args;
        va_start(args, format);
        vsnprintf(call->description, sizeof(call->description), format, args);
        va_end(args);
        call->error = type;
    }
    return false;
}

bool api_fail_store(struct api_call *call, mx_err err)
{
    const char *problem = err == MX_ERR_NOMEM ? "" : store_problem(call->api->conf.store);
    return api_fail(call, "serverUnavailable", "%s%s%s; nothing was changed", err_text(err),
                    problem[0] ? ": " : "", problem);
}

void api_permission(char out[API_PERMISSION_MAX], const struct reg_type *type, const char *verb)
{
    snprintf(out, API_PERMISSION_MAX, "sys%.*s%s", REG_NAME_MAX, type->shape.name, verb);
}

bool api_may(struct api_call *call, const char *verb)
{
    char permission[API_PERMISSION_MAX];
    api_permission(permission, call->type, verb);
    const struct api_caller *caller = call->session->caller;
    return caller->may(caller->arg, permission) ||
           api_fail(call, "forbidden",
                    "You are not authorized to do this; it needs the permission "
                    "%s.",
                    permission);
}

/* SetErrors -------------------------------------------------------------------------------- */

static json_t *object_json(const struct set_object *object)
{
    return json_pack("{s:s,s:o}", "object", object->type->shape.name, "id", api_id(object->id));
}

static const char *leaf(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

static json_t *validation_json(const struct set_error *error)
{
    static const char *const names[] = {
        [SET_NONE] = "Invalid",         [SET_INVALID] = "Invalid",
        [SET_REQUIRED] = "Required",    [SET_MAX_LENGTH] = "MaxLength",
        [SET_MIN_LENGTH] = "MinLength", [SET_MAX_VALUE] = "MaxValue",
        [SET_MIN_VALUE] = "MinValue"};
    json_t *entry = json_pack("{s:s,s:o}", "type", names[error->validation], "property",
                              json_text(slice_of_text(leaf(error->property))));
    if (error->validation == SET_NONE || error->validation == SET_INVALID) {
        json_object_set_new(entry, "value", json_text(slice_of_text(error->text)));
    } else if (error->validation != SET_REQUIRED) {
        json_object_set_new(entry, "required", json_integer(error->required));
    }
    return entry;
}

/* "port: must be 1 to 65535; address: is required" */
static json_t *description(const struct set_errors *errors)
{
    char text[SET_ERRORS_MAX * (SET_TEXT_MAX + SET_PROPERTY_MAX + 4) + 64];
    struct writer w = writer_init(text, sizeof(text));
    for (uint32_t i = 0; i < set_errors_kept(errors); i++) {
        const struct set_error *error = &errors->items[i];
        put_text(&w, i ? "; " : "");
        put_text(&w, error->property);
        put_text(&w, error->property[0] ? ": " : "");
        put_text(&w, error->text);
    }
    if (errors->count > SET_ERRORS_MAX) {
        put_text(&w, "; and ");
        put_decimal(&w, errors->count - SET_ERRORS_MAX);
        put_text(&w, " more");
    }
    return json_text(writer_slice(&w));
}

static void add_property(json_t *properties, const char *path)
{
    size_t index;
    json_t *known;
    json_array_foreach(properties, index, known)
    {
        if (strcmp(json_string_value(known), path) == 0) {
            return;
        }
    }
    json_array_append_new(properties, json_text(slice_of_text(path)));
}

/* The type is the one of the first error; properties, validationErrors and the description tell of
 * all of them. */
json_t *api_set_error(const struct set_errors *errors)
{
    const struct set_error *first = &errors->items[0];
    json_t *properties = json_array();
    json_t *validation = json_array();
    json_t *result = json_pack("{s:s,s:o}", "type", set_error_name(first->type), "description",
                               description(errors));
    const struct set_error *object = NULL;
    for (uint32_t i = 0; i < set_errors_kept(errors); i++) {
        const struct set_error *error = &errors->items[i];
        if (error->property[0]) {
            add_property(properties, error->property);
        }
        if (error->type == SET_VALIDATION_FAILED) {
            json_array_append_new(validation, validation_json(error));
        }
        object = !object && error->type == first->type && error->object.type && error->object.id
                     ? error
                     : object;
    }
    if (json_array_size(properties)) {
        json_object_set(result, "properties", properties);
    }
    if (json_array_size(validation)) {
        json_object_set(result, "validationErrors", validation);
    }
    if (object) {
        json_object_set_new(result, "objectId", object_json(&object->object));
    }
    if (first->linked_count) {
        json_t *linked = json_array();
        for (uint32_t i = 0; i < first->linked_count; i++) {
            json_array_append_new(linked, object_json(&first->linked[i]));
        }
        json_object_set_new(result, "linkedObjects", linked);
    }
    json_decref(properties);
    json_decref(validation);
    return result;
}
