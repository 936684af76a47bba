/* Which existing object an entry of an upsert or reconcile means, and filters. Values are compared
 * in normal form, so "Example.ORG" matches example.org. */
#include "admin/plan_private.h"

#include "admin/object_id.h"
#include "core/check.h"

#include <stdlib.h>

enum { MATCH_KEYS_MAX = 32 };

struct plan_matcher {
    struct plan *plan;
    const struct plan_line *line;
    const struct reg_type *type;
    const char *keys[MATCH_KEYS_MAX]; /* count 0: every comparable field of the variant */
    size_t key_count;
    json_t *operation; /* owns the text of keys */
    json_t *scope;     /* in normal form; empty: everything */
    json_t *seen;      /* signature -> client id: entries of this operation */
    json_t *existing;  /* signature -> id, 0 when several match; NULL: not read yet */
};

static struct slice string_of(const json_t *value)
{
    return slice_of(json_string_value(value), json_string_length(value));
}

/* Filters ---------------------------------------------------------------------------------- */

/* A field of that name in any variant, NULL when there is none. */
static const struct reg_field *any_field(const struct reg_type *type, struct slice name)
{
    for (uint32_t i = 0; i < type->shape.variant_count; i++) {
        const struct reg_field *field = reg_field_find(&type->shape.variants[i], name);
        if (field) {
            return field;
        }
    }
    return NULL;
}

static bool known_variant(const struct reg_type *type, const json_t *value)
{
    return reg_is_multiple(&type->shape) && json_is_string(value) &&
           reg_variant_find(&type->shape, string_of(value));
}

/* A set is searched for one member. */
static json_t *filter_value(struct plan *plan, const struct reg_field *field, const json_t *value,
                            struct set_errors *errors)
{
    struct reference_resolver resolver = plan_resolver(plan);
    if (field->kind != REG_SET || !json_is_string(value)) {
        return field_normalize(field, value, &resolver, errors);
    }
    json_t *one = json_object();
    json_object_setn_new(one, json_string_value(value), json_string_length(value), json_true());
    json_t *normal = field_normalize(field, one, &resolver, errors);
    json_decref(one);
    return normal;
}

json_t *plan_filter(struct plan *plan, const struct plan_line *line, const json_t *given,
                    const char *what)
{
    json_t *filter = json_object();
    uint64_t before = plan->error_count;
    bool good = true;
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)(uintptr_t)given, key, value)
    {
        char path[SET_PROPERTY_MAX];
        snprintf(path, sizeof(path), "%s/%s", what, key);
        if (strcmp(key, "@type") == 0) {
            if (!known_variant(line->type, value)) {
                plan_error(plan, line, NULL, path, "is not a variant of %s",
                           line->type->shape.name);
            }
            json_object_set(filter, key, value);
            continue;
        }
        const struct reg_field *field = any_field(line->type, slice_of_text(key));
        if (!field || reg_is_server_mode(field->mode)) {
            plan_error(plan, line, NULL, path, "is not a property that can be compared");
            continue;
        }
        struct set_errors errors;
        errors.count = 0;
        json_t *normal = filter_value(plan, field, value, &errors);
        if (!normal) {
            plan_set_errors(plan, line, NULL, &errors);
            good = false;
            continue;
        }
        json_object_set_new(filter, key, normal);
    }
    if (!good || plan->error_count != before) {
        json_decref(filter);
        return NULL;
    }
    return filter;
}

static bool has_members(const json_t *set, const json_t *wanted)
{
    const char *member;
    json_t *yes;
    json_object_foreach((json_t *)(uintptr_t)wanted, member, yes)
    {
        if (!json_object_get(set, member)) {
            return false;
        }
    }
    return true;
}

bool plan_filter_matches(const struct reg_type *type, const json_t *filter, const json_t *object)
{
    const char *key;
    json_t *wanted;
    json_object_foreach((json_t *)(uintptr_t)filter, key, wanted)
    {
        const json_t *value = json_object_get(object, key);
        const struct reg_field *field = any_field(type, slice_of_text(key));
        bool same = field && field->kind == REG_SET ? has_members(value, wanted)
                                                    : json_equal(value, wanted);
        if (!same) {
            return false;
        }
    }
    return true;
}

/* Matchers --------------------------------------------------------------------------------- */

static bool check_keys(struct plan_matcher *m)
{
    for (size_t i = 0; i < m->key_count; i++) {
        const struct reg_field *field = any_field(m->type, slice_of_text(m->keys[i]));
        if (!field || reg_is_server_mode(field->mode)) {
            plan_error(m->plan, m->line, NULL, "matchOn", "'%.64s' is not a property of %s",
                       m->keys[i], m->type->shape.name);
            return false;
        }
    }
    return true;
}

/* Of a type with a label. */
static void choose_usual_keys(struct plan_matcher *m)
{
    struct slice rest = slice_of_text(m->type->match ? m->type->match : m->type->label);
    while (rest.len > 0) {
        struct slice name = slice_first(rest, slice_find(rest, ' '));
        const struct reg_field *field = any_field(m->type, name);
        MX_ASSERT(field);
        m->keys[m->key_count++] = field->name;
        rest = slice_from(rest, mx_min_size(name.len + 1, rest.len));
    }
}

static bool choose_keys(struct plan_matcher *m, const json_t *match_on)
{
    if (json_is_array(match_on)) {
        if (json_array_size(match_on) > MATCH_KEYS_MAX) {
            plan_error(m->plan, m->line, NULL, "matchOn", "has more than %d names", MATCH_KEYS_MAX);
            return false;
        }
        size_t index;
        json_t *name;
        json_array_foreach((json_t *)(uintptr_t)match_on, index, name)
        {
            m->keys[m->key_count++] = json_string_value(name);
        }
        return check_keys(m);
    }
    if (!json_is_string(match_on) && m->type->label) {
        choose_usual_keys(m);
    }
    return true;
}

static bool check_scope(struct plan_matcher *m, const json_t *given)
{
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)(uintptr_t)given, key, value)
    {
        if (json_is_null(value)) {
            plan_error(m->plan, m->line, NULL, "scope",
                       "'%.64s' may not be null: that would widen the scope", key);
            return false;
        }
    }
    return true;
}

mx_err plan_matcher_new(struct plan_matcher **out_matcher, struct plan *plan,
                        const struct plan_line *line, const json_t *operation)
{
    struct plan_matcher *m = calloc(1, sizeof(*m));
    if (!m) {
        return MX_ERR_NOMEM;
    }
    m->plan = plan;
    m->line = line;
    m->type = line->type;
    m->operation = json_incref((json_t *)(uintptr_t)operation);
    m->seen = json_object();
    const json_t *scope = json_object_get(operation, "scope");
    m->scope = check_scope(m, scope) ? plan_filter(plan, line, scope, "scope") : NULL;
    bool good = m->scope && m->seen;
    if (!choose_keys(m, json_object_get(operation, "matchOn")) || !good) {
        plan_matcher_free(m);
        return MX_ERR_INVALID;
    }
    *out_matcher = m;
    return MX_OK;
}

void plan_matcher_free(struct plan_matcher *m)
{
    if (m) {
        json_decref(m->operation);
        json_decref(m->scope);
        json_decref(m->seen);
        json_decref(m->existing);
        free(m);
    }
}

bool plan_matcher_in_scope(const struct plan_matcher *m, const json_t *object)
{
    return plan_filter_matches(m->type, m->scope, object);
}

/* The normal form of one member of a body; NULL when it was refused. */
static json_t *normal_member(struct plan_matcher *m, const char *client, const char *key,
                             const json_t *value)
{
    const struct reg_field *field = any_field(m->type, slice_of_text(key));
    if (!field) {
        return json_incref((json_t *)(uintptr_t)value); /* "@type" */
    }
    struct reference_resolver resolver = plan_resolver(m->plan);
    struct set_errors errors;
    errors.count = 0;
    json_t *normal = field_normalize(field, value, &resolver, &errors);
    if (!normal) {
        plan_set_errors(m->plan, m->line, client, &errors);
    }
    return normal;
}

json_t *plan_matcher_body(struct plan_matcher *m, const char *client, const json_t *given)
{
    json_t *body = json_copy((json_t *)(uintptr_t)given);
    bool good = body != NULL;
    const char *key;
    json_t *wanted;
    json_object_foreach(m->scope, key, wanted)
    {
        const json_t *value = json_object_get(given, key);
        if (!value) {
            json_object_set(body, key, wanted);
            continue;
        }
        json_t *normal = normal_member(m, client, key, value);
        good = good && normal;
        if (normal && !json_equal(normal, wanted)) {
            plan_error(m->plan, m->line, client, key,
                       "is outside the operation's own scope: it would be made again every time");
            good = false;
        }
        json_decref(normal);
    }
    if (good && reg_is_multiple(&m->type->shape)) {
        const json_t *variant = json_object_get(body, "@type");
        if (!known_variant(m->type, variant)) {
            /* Say it in the words of a create. */
            struct set_errors errors;
            errors.count = 0;
            json_decref(object_normalize(m->type, body, NULL, &errors));
            errors.count = errors.count > 1 ? 1 : errors.count;
            plan_set_errors(m->plan, m->line, client, &errors);
            good = false;
        }
    }
    if (!good) {
        json_decref(body);
        return NULL;
    }
    return body;
}

static bool is_comparable(const struct reg_field *field)
{
    return !reg_is_server_mode(field->mode) && field->format != FORMAT_PASSWORD &&
           (field->kind == REG_STRING || field->kind == REG_NUMBER || field->kind == REG_BOOLEAN ||
            field->kind == REG_ENUM || field->kind == REG_DATE || field->kind == REG_ID);
}

/* What identifies an object: its variant and the values of the keys, as text. A stored object has
 * all of them; absent and null are the same. NULL when memory is out. */
static char *signature(const struct plan_matcher *m, const json_t *object)
{
    const struct reg_variant *variant = object_variant(&m->type->shape, object);
    json_t *parts = json_array();
    json_t *word = json_object_get(object, "@type");
    json_array_append_new(parts, word ? json_incref(word) : json_null());
    for (size_t i = 0; i < m->key_count; i++) {
        json_t *value = json_object_get(object, m->keys[i]);
        json_array_append_new(parts, value ? json_incref(value) : json_null());
    }
    for (uint32_t i = 0; m->key_count == 0 && variant && i < variant->field_count; i++) {
        if (is_comparable(&variant->fields[i])) {
            json_t *value = json_object_get(object, variant->fields[i].name);
            json_array_append_new(parts, value ? json_incref(value) : json_null());
        }
    }
    char *text = json_dumps(parts, JSON_COMPACT | JSON_SORT_KEYS);
    json_decref(parts);
    return text;
}

static mx_err index_object(void *arg, uint64_t id, json_t *object)
{
    struct plan_matcher *m = arg;
    if (!plan_matcher_in_scope(m, object)) {
        return MX_OK;
    }
    char *key = signature(m, object);
    if (!key) {
        return MX_ERR_NOMEM;
    }
    bool first = json_object_get(m->existing, key) == NULL;
    json_object_set_new(m->existing, key, json_integer(first ? (json_int_t)id : 0));
    free(key);
    return MX_OK;
}

/* The wanted values of the keys in normal form. */
static json_t *wanted_values(struct plan_matcher *m, const char *client, const json_t *body)
{
    const struct reg_variant *variant = object_variant(&m->type->shape, body);
    json_t *wanted = json_object();
    json_t *word = json_object_get(body, "@type");
    bool good = true;
    if (word && reg_is_multiple(&m->type->shape)) {
        json_object_set(wanted, "@type", word);
    }
    for (size_t i = 0; i < m->key_count; i++) {
        const json_t *value = json_object_get(body, m->keys[i]);
        if (!value) {
            plan_error(m->plan, m->line, client, m->keys[i],
                       "is missing: existing objects are matched by it");
            good = false;
            continue;
        }
        json_t *normal = normal_member(m, client, m->keys[i], value);
        good = normal && good;
        json_object_set_new(wanted, m->keys[i], normal);
    }
    for (uint32_t i = 0; m->key_count == 0 && variant && i < variant->field_count; i++) {
        const char *name = variant->fields[i].name;
        const json_t *value = json_object_get(body, name);
        if (is_comparable(&variant->fields[i]) && value) {
            json_t *normal = normal_member(m, client, name, value);
            good = normal && good;
            json_object_set_new(wanted, name, normal);
        }
    }
    if (!good) {
        json_decref(wanted);
        return NULL;
    }
    return wanted;
}

/* By a unique index, without reading all objects. MX_ERR_UNSUPPORTED: the keys do not allow it. */
static mx_err find_by_index(struct plan_matcher *m, uint64_t *out_id, const json_t *wanted)
{
    const json_t *name = json_object_get(wanted, "name");
    const json_t *domain = json_object_get(wanted, "domainId");
    if (!m->type->unique || !json_is_string(name)) {
        return MX_ERR_UNSUPPORTED;
    }
    uint64_t id = 0;
    mx_err err;
    if (reg_has_address(m->type)) {
        uint64_t domain_id;
        struct store_holder holder = {0};
        if (!json_is_string(domain) || object_id_parse(&domain_id, string_of(domain))) {
            return MX_ERR_UNSUPPORTED;
        }
        err = store_find_holder(m->plan->store, &holder, domain_id, string_of(name));
        err = !err && (holder.position >= 0 || holder.type != m->type) ? MX_ERR_NOTFOUND : err;
        id = holder.id;
    } else {
        err = store_find_label(m->plan->store, &id, m->type, string_of(name));
    }
    json_t *object = NULL;
    err = err ? err : store_get(m->plan->store, &object, m->type, id);
    if (err) {
        *out_id = 0;
        return err == MX_ERR_NOTFOUND ? MX_OK : err;
    }
    /* Found by the index; the rest of the keys and the scope must agree too. */
    char *left = signature(m, object);
    char *right = signature(m, wanted);
    bool same = left && right && strcmp(left, right) == 0 && plan_matcher_in_scope(m, object);
    free(left);
    free(right);
    json_decref(object);
    *out_id = same ? id : 0;
    return MX_OK;
}

static mx_err find_by_scan(struct plan_matcher *m, uint64_t *out_id, const char *key,
                           const char *client)
{
    if (!m->existing) {
        m->existing = json_object();
        mx_err err = store_each(m->plan->store, m->type, index_object, m);
        if (err) {
            return err;
        }
    }
    const json_t *found = json_object_get(m->existing, key);
    *out_id = (uint64_t)json_integer_value(found);
    if (found && *out_id == 0) {
        plan_error(m->plan, m->line, client, NULL,
                   "several existing objects match; name more properties in matchOn");
        return MX_ERR_INVALID;
    }
    return MX_OK;
}

bool plan_matcher_find(struct plan_matcher *m, uint64_t *out_id, const char *client,
                       const json_t *body)
{
    json_t *wanted = wanted_values(m, client, body);
    char *key = wanted ? signature(m, wanted) : NULL;
    if (!key) {
        json_decref(wanted);
        return false;
    }
    mx_err err = MX_ERR_INVALID;
    const json_t *twin = json_object_get(m->seen, key);
    if (twin) {
        plan_error(m->plan, m->line, client, NULL,
                   "matches the same object as '%.200s' of this operation",
                   json_string_value(twin));
    } else {
        json_object_set_new(m->seen, key, json_string(client));
        err = find_by_index(m, out_id, wanted);
        if (err == MX_ERR_UNSUPPORTED) {
            err = find_by_scan(m, out_id, key, client);
        }
    }
    free(key);
    json_decref(wanted);
    if (err && err != MX_ERR_INVALID) {
        m->plan->failure = err;
    }
    return err == MX_OK;
}
