#include "tools/cli/schema.h"

#include "core/text.h"
#include "tools/cli/client.h"
#include "tools/cli/fail.h"

static json_t *part(json_t *schema, const char *section, const char *name)
{
    return json_object_get(json_object_get(schema, section), name);
}

json_t *schema_load(const struct buf *document)
{
    static const struct {
        const char *name;
        json_type type;
    } members[] = {
        {"objects", JSON_OBJECT},   {"schemas", JSON_OBJECT}, {"fields", JSON_OBJECT},
        {"forms", JSON_OBJECT},     {"lists", JSON_OBJECT},   {"enums", JSON_OBJECT},
        {"dashboards", JSON_ARRAY}, {"layouts", JSON_ARRAY},
    };
    json_error_t error;
    json_t *schema = json_loadb(buf_text(document), document->len, 0, &error);
    if (schema == NULL) {
        fail("unexpected server response: the schema is not JSON: %s", error.text);
        return NULL;
    }
    for (size_t i = 0; i < mx_countof(members); i++) {
        const json_t *member = json_object_get(schema, members[i].name);
        if (member == NULL || json_typeof(member) != members[i].type) {
            fail("unexpected server response: the schema has no '%s'", members[i].name);
            json_decref(schema);
            return NULL;
        }
    }
    return schema;
}

const char *member_nocase(json_t *object, const char *name)
{
    const char *key;
    json_t *value;
    json_object_foreach(object, key, value)
    {
        if (text_equal_nocase(slice_of_text(key), slice_of_text(name))) {
            return key;
        }
    }
    return NULL;
}

/* --- objects -----------------------------------------------------------------------------------
 */

static bool is_type(json_t *schema, const char *object, const char *type)
{
    const char *is = member_text(part(schema, "objects", object), "type");
    return is != NULL && strcmp(is, type) == 0;
}

/* The name in the schema, views included. */
static const char *find(json_t *schema, const char *section, const char *typed)
{
    struct slice name = text_trim(slice_of_text(typed));
    if (text_starts_nocase(name, SLICE_LITERAL("x:"))) {
        name = slice_from(name, 2);
    }
    struct buf canonical = {0};
    buf_format(&canonical, "x:%.*s", SLICE_ARGS(name));
    const char *found = member_nocase(json_object_get(schema, section), canonical.at);
    buf_free(&canonical);
    return found;
}

const char *schema_find_object(json_t *schema, const char *typed)
{
    const char *found = find(schema, "objects", typed);
    return found != NULL && is_type(schema, found, "view") ? NULL : found;
}

const char *schema_find_embedded(json_t *schema, const char *typed)
{
    return find(schema, "objects", typed) != NULL ? NULL : find(schema, "schemas", typed);
}

const char *schema_object(json_t *schema, const char *typed)
{
    const char *found = find(schema, "objects", typed);
    if (found == NULL && find(schema, "schemas", typed) != NULL) {
        fail("%s is part of other objects, not an object of its own", typed);
    } else if (found == NULL) {
        fail("unknown object: %s", schema_display(typed));
    } else if (is_type(schema, found, "view")) {
        fail("%s is a view; use the underlying object name", schema_display(found));
    } else {
        return found;
    }
    return NULL;
}

bool schema_is_singleton(json_t *schema, const char *object)
{
    return is_type(schema, object, "singleton");
}

const char *schema_display(const char *object)
{
    return strncmp(object, "x:", 2) == 0 ? object + 2 : object;
}

json_t *schema_variants(json_t *schema, const char *object)
{
    json_t *entry = part(schema, "schemas", object);
    json_t *variants = json_object_get(entry, "variants");
    return json_is_array(variants) ? variants : NULL;
}

json_t *schema_variant(json_t *schema, const char *object, const char *name, bool nocase)
{
    size_t i;
    json_t *variant;
    json_array_foreach(schema_variants(schema, object), i, variant)
    {
        const char *its = member_text(variant, "name");
        if (its != NULL && name != NULL &&
            (nocase ? text_equal_nocase(slice_of_text(its), slice_of_text(name))
                    : strcmp(its, name) == 0)) {
            return variant;
        }
    }
    return NULL;
}

static json_t *fields_member(json_t *schema, const json_t *entry, const char *member)
{
    const char *name = member_text(entry, "schemaName");
    return name ? json_object_get(part(schema, "fields", name), member) : NULL;
}

static json_t *properties_of(json_t *schema, const json_t *entry)
{
    return fields_member(schema, entry, "properties");
}

static json_t *variant_or_whole(json_t *schema, const char *object, const char *at_type)
{
    return schema_variants(schema, object) ? schema_variant(schema, object, at_type, false)
                                           : part(schema, "schemas", object);
}

json_t *schema_fields(json_t *schema, const char *object, const char *at_type)
{
    return properties_of(schema, variant_or_whole(schema, object, at_type));
}

json_t *schema_defaults(json_t *schema, const char *object, const char *at_type)
{
    return fields_member(schema, variant_or_whole(schema, object, at_type), "defaults");
}

json_t *schema_fields_of(json_t *schema, const char *object, const json_t *value)
{
    return schema_fields(schema, object, member_text(value, "@type"));
}

json_t *schema_all_fields(json_t *schema, const char *object)
{
    json_t *all = need(json_object()), *variants = schema_variants(schema, object), *variant;
    if (variants == NULL) {
        json_object_update(all, schema_fields(schema, object, NULL));
    }
    size_t i;
    json_array_foreach(variants, i, variant)
    {
        json_object_update_missing(all, properties_of(schema, variant));
    }
    return all;
}

/* --- lists, forms, enums -----------------------------------------------------------------------
 */

json_t *schema_views(json_t *schema, const char *object)
{
    json_t *views = need(json_array()), *entry;
    const char *name;
    json_object_foreach(json_object_get(schema, "objects"), name, entry)
    {
        const char *parent = member_text(entry, "objectName");
        if (is_type(schema, name, "view") && parent != NULL && strcmp(parent, object) == 0) {
            json_array_append_new(views, json_string(name));
        }
    }
    return views;
}

json_t *schema_list(json_t *schema, const char *object)
{
    json_t *list = part(schema, "lists", object), *view;
    json_t *views = schema_views(schema, object);
    size_t i;
    json_array_foreach(views, i, view)
    {
        list = list ? list : part(schema, "lists", json_string_value(view));
    }
    json_decref(views);
    return list;
}

const char *schema_label(json_t *schema, const char *object)
{
    return member_text(part(schema, "lists", object), "labelProperty");
}

/* Names of properties that there are; what is not so is as good as nothing. */
static bool is_key(json_t *schema, const char *object, const json_t *names)
{
    json_t *all = schema_all_fields(schema, object), *name;
    bool good = json_array_size(names) > 0;
    size_t i;
    json_array_foreach(names, i, name)
    {
        good = good && json_is_string(name) && json_object_get(all, json_string_value(name));
    }
    json_decref(all);
    return good;
}

json_t *schema_match_key(json_t *schema, const char *object)
{
    json_t *key = json_object_get(part(schema, "lists", object), "matchProperties");
    const char *label = schema_label(schema, object);
    if (is_key(schema, object, key)) {
        return json_incref(key);
    }
    return label != NULL ? need(json_pack("[s]", label)) : NULL;
}

static void form_add(json_t *forms, json_t *form)
{
    size_t i;
    json_t *known;
    json_array_foreach(forms, i, known)
    {
        if (known == form) {
            return;
        }
    }
    if (form != NULL) {
        json_array_append(forms, form);
    }
}

json_t *schema_forms(json_t *schema, const char *object, const char *at_type)
{
    json_t *forms = need(json_array()), *view;
    json_t *entry = schema_variants(schema, object) ? schema_variant(schema, object, at_type, false)
                                                    : part(schema, "schemas", object);
    const char *schema_name = member_text(entry, "schemaName");
    if (schema_name != NULL) {
        form_add(forms, part(schema, "forms", schema_name));
    }
    if (at_type != NULL) {
        struct buf name = {0};
        buf_format(&name, "%s/%s", object, at_type);
        form_add(forms, part(schema, "forms", name.at));
        buf_free(&name);
    }
    form_add(forms, part(schema, "forms", object));
    json_t *views = schema_views(schema, object);
    size_t i;
    json_array_foreach(views, i, view)
    {
        form_add(forms, part(schema, "forms", json_string_value(view)));
    }
    json_decref(views);
    return forms;
}

static const char *label_among(const json_t *entries, const char *name)
{
    size_t i;
    json_t *entry;
    json_array_foreach(entries, i, entry)
    {
        const char *its = member_text(entry, "name"), *label = member_text(entry, "label");
        if (its != NULL && strcmp(its, name) == 0 && label != NULL && *label != '\0') {
            return label;
        }
    }
    return NULL;
}

static const char *label_in_forms(const json_t *forms, const char *name)
{
    size_t i, j;
    json_t *form, *section;
    json_array_foreach(forms, i, form)
    {
        json_array_foreach(json_object_get(form, "sections"), j, section)
        {
            const char *label = label_among(json_object_get(section, "fields"), name);
            if (label != NULL) {
                return label;
            }
        }
    }
    return NULL;
}

const char *schema_field_label(json_t *schema, const char *object, const char *name)
{
    json_t *forms = schema_forms(schema, object, NULL);
    size_t i;
    json_t *variant;
    json_array_foreach(schema_variants(schema, object), i, variant)
    {
        const char *schema_name = member_text(variant, "schemaName");
        form_add(forms, schema_name ? part(schema, "forms", schema_name) : NULL);
    }
    const char *label = label_in_forms(forms, name);
    json_decref(forms);
    return label ? label
                 : label_among(json_object_get(schema_list(schema, object), "columns"), name);
}

json_t *schema_enum(json_t *schema, const char *enum_name, const char *name)
{
    size_t i;
    json_t *entry;
    json_array_foreach(enum_name ? part(schema, "enums", enum_name) : NULL, i, entry)
    {
        const char *its = member_text(entry, "name");
        if (its != NULL && strcmp(its, name) == 0) {
            return entry;
        }
    }
    return NULL;
}

/* --- fields and types --------------------------------------------------------------------------
 */

json_t *field_type(const json_t *field)
{
    return json_object_get(field, "type");
}

enum kind type_kind(const json_t *type)
{
    static const struct {
        const char *name;
        enum kind kind;
    } kinds[] = {
        {"string", KIND_STRING}, {"number", KIND_NUMBER},   {"utcDateTime", KIND_DATE},
        {"enum", KIND_ENUM},     {"boolean", KIND_BOOLEAN}, {"blobId", KIND_BLOB},
        {"objectId", KIND_ID},   {"object", KIND_OBJECT},   {"objectList", KIND_LIST},
        {"set", KIND_SET},       {"map", KIND_MAP},
    };
    const char *name = member_text(type, "type");
    for (size_t i = 0; name != NULL && i < mx_countof(kinds); i++) {
        if (strcmp(kinds[i].name, name) == 0) {
            return kinds[i].kind;
        }
    }
    return KIND_UNKNOWN;
}

bool type_is_format(const json_t *type, const char *format)
{
    const char *its = member_text(type, "format");
    return its != NULL && strcmp(its, format) == 0;
}

bool type_is_secret(const json_t *type)
{
    return type_kind(type) == KIND_STRING &&
           (type_is_format(type, "secret") || type_is_format(type, "secretText"));
}

bool type_is_nullable(const json_t *type)
{
    return json_is_true(json_object_get(type, "nullable"));
}

bool field_is_mode(const json_t *field, const char *mode)
{
    const char *its = member_text(field, "update");
    return its != NULL && strcmp(its, mode) == 0;
}
