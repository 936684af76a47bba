#include "tools/cli/apply_scope.h"

#include "tools/cli/fail.h"
#include "tools/cli/schema.h"

static bool wrong(const struct op *op, const char *property, const char *what)
{
    return fail("%s operation #%zu (%s): `scope` on `%s` %s", op_names[op->kind], op->index + 1,
                schema_display(op->object), property, what);
}

const char *property_ref(json_t *schema, const char *object, const char *property,
                         const json_t *value)
{
    json_t *all = schema_all_fields(schema, object);
    bool is_id = type_kind(field_type(json_object_get(all, property))) == KIND_ID;
    json_decref(all);
    return is_id ? client_ref(value) : NULL;
}

static bool property_check(const struct op *op, const char *property, const json_t *wanted,
                           json_t *schema, const json_t *all)
{
    const json_t *field = json_object_get(all, property);
    if (json_is_null(wanted)) {
        return wrong(op, property, "is null, which every object without the property has");
    }
    if (strcmp(property, "@type") == 0) {
        const char *name = json_string_value(wanted);
        return (name != NULL && schema_variant(schema, op->object, name, false) != NULL) ||
               wrong(op, property, "is no variant of this type");
    }
    if (field == NULL) {
        return wrong(op, property, "is no property of this type");
    }
    return !field_is_mode(field, "serverSet") ||
           wrong(op, property, "is set by the server, so nothing can be created in it");
}

/* An object outside the scope of its own operation would be created again every time. */
static bool entries_check(const struct op *op, const char *property, const json_t *wanted)
{
    const char *name;
    json_t *entry;
    json_object_foreach(op->value, name, entry)
    {
        const json_t *value = json_object_get(entry, property);
        bool comparable = (client_ref(value) == NULL) == (client_ref(wanted) == NULL);
        if (value != NULL && comparable && !json_equal(value, wanted)) {
            return fail("%s operation #%zu (%s): `%s` is outside the operation's `scope` on `%s`",
                        op_names[op->kind], op->index + 1, schema_display(op->object), name,
                        property);
        }
    }
    return true;
}

bool scope_take(struct op *op, json_t *scope, json_t *schema)
{
    if (scope == NULL || json_is_null(scope) ||
        (json_is_object(scope) && json_object_size(scope) == 0)) {
        return true;
    }
    if (!json_is_object(scope)) {
        return fail("%s operation #%zu has a `scope` that is no object", op_names[op->kind],
                    op->index + 1);
    }
    json_t *all = schema_all_fields(schema, op->object), *wanted;
    const char *property;
    bool good = true;
    json_object_foreach(scope, property, wanted)
    {
        good = good && property_check(op, property, wanted, schema, all) &&
               entries_check(op, property, wanted);
    }
    json_decref(all);
    op->scope = good ? json_incref(scope) : NULL;
    return good;
}

json_t *scope_resolve(const struct op *op, json_t *schema, const json_t *known)
{
    const char *property;
    json_t *wanted;
    if (op->scope == NULL) {
        return NULL;
    }
    json_t *resolved = need(json_object());
    json_object_foreach(op->scope, property, wanted)
    {
        const char *ref = property_ref(schema, op->object, property, wanted);
        json_t *id = ref ? json_object_get(known, ref) : wanted;
        if (id == NULL) {
            wrong(op, property, "refers to an id that no operation before this one makes");
            json_decref(resolved);
            return NULL;
        }
        json_object_set(resolved, property, id);
    }
    return resolved;
}

bool scope_has(const json_t *scope, const json_t *value)
{
    const char *property;
    json_t *wanted;
    json_object_foreach((json_t *)(uintptr_t)scope, property, wanted)
    {
        if (!json_equal(json_object_get(value, property), wanted)) {
            return false;
        }
    }
    return true;
}
