/* The form of a plan's lines: what can be said without the registry. */
#include "admin/plan_private.h"

#include "core/check.h"
#include "core/text.h"

#include <stdlib.h>

struct op_form {
    const char *name;
    const char *keys;   /* allowed besides "@type" and "object" */
    bool makes_objects; /* value maps client ids to bodies */
    bool singleton;     /* allowed on singletons */
};

static const struct op_form forms[] = {
    [PLAN_CREATE] = {"create", "value", true, true},
    [PLAN_UPDATE] = {"update", "id value", false, true},
    [PLAN_UPSERT] = {"upsert", "matchOn scope value", true, false},
    [PLAN_RECONCILE] = {"reconcile", "matchOn scope value", true, false},
    [PLAN_DESTROY] = {"destroy", "value", false, false},
};

static struct slice string_of(const json_t *value)
{
    return slice_of(json_string_value(value), json_string_length(value));
}

json_t *plan_line_json(const struct plan_line *line)
{
    return json_loadb((const char *)line->text.ptr, line->text.len, JSON_REJECT_DUPLICATES, NULL);
}

static bool find_op(struct plan *plan, struct plan_line *line, const json_t *operation)
{
    const json_t *word = json_object_get(operation, "@type");
    struct slice name = json_is_string(word) ? string_of(word) : SLICE_EMPTY;
    for (size_t i = 0; i < mx_countof(forms); i++) {
        if (slice_equal(name, slice_of_text(forms[i].name))) {
            line->op = (enum plan_op)i;
            return true;
        }
    }
    plan_error(plan, line, NULL, "@type",
               "must be 'create', 'update', 'upsert', 'reconcile' or 'destroy'");
    return false;
}

static bool find_object(struct plan *plan, struct plan_line *line, const json_t *operation)
{
    const json_t *object = json_object_get(operation, "object");
    if (!json_is_string(object)) {
        plan_error(plan, line, NULL, "object", "must be the name of a type");
        return false;
    }
    line->type = reg_type_find(string_of(object));
    if (line->type && line->type->storage == REG_ELSEWHERE) {
        plan_error(plan, line, NULL, "object", "%s is only for a server that runs",
                   line->type->shape.name);
        return false;
    }
    if (!line->type) {
        struct slice name = slice_first(string_of(object), REG_NAME_MAX);
        bool named = reg_type_unsupported(name);
        plan_error(plan, line, NULL, "object",
                   named ? "'%.*s' is not supported by ringmx"
                         : "there is no type '%.*s' in ringmx",
                   SLICE_ARGS(name));
        return false;
    }
    if (line->type->singleton && !forms[line->op].singleton) {
        plan_error(plan, line, NULL, NULL, "is a singleton: only 'update' applies to it");
        return false;
    }
    return true;
}

static bool check_keys(struct plan *plan, const struct plan_line *line, const json_t *operation)
{
    const char *key;
    json_t *value;
    bool good = true;
    json_object_foreach((json_t *)(uintptr_t)operation, key, value)
    {
        struct slice name = slice_of_text(key);
        if (!slice_equal(name, SLICE_LITERAL("@type")) &&
            !slice_equal(name, SLICE_LITERAL("object")) &&
            !reg_has_word(forms[line->op].keys, name)) {
            plan_error(plan, line, NULL, NULL, "'%.64s' is not a member of the operation %s", key,
                       forms[line->op].name);
            good = false;
        }
    }
    return good;
}

static bool check_match_on(struct plan *plan, const struct plan_line *line, const json_t *match_on)
{
    if (!match_on || json_is_null(match_on)) {
        if (line->op == PLAN_RECONCILE && !line->type->label) {
            plan_error(plan, line, NULL, "matchOn",
                       "is required: objects of this type have no name to match by");
            return false;
        }
        return true;
    }
    if (json_is_string(match_on) && slice_equal(string_of(match_on), SLICE_LITERAL("*"))) {
        return true;
    }
    bool good = json_is_array(match_on) && json_array_size(match_on) > 0;
    size_t index;
    json_t *name;
    json_array_foreach((json_t *)(uintptr_t)match_on, index, name)
    {
        good = good && json_is_string(name);
    }
    if (!good) {
        plan_error(plan, line, NULL, "matchOn", "must be a list of property names, or \"*\"");
    }
    return good;
}

static const char *client_name(const char *key)
{
    return key[0] == '#' ? key + 1 : key;
}

/* Every client id of a plan is made once. */
static bool declare(struct plan *plan, const struct plan_line *line, const char *key)
{
    const char *name = client_name(key);
    if (!name[0]) {
        plan_error(plan, line, NULL, "value", "holds an object without a name");
        return false;
    }
    const json_t *first = json_object_get(plan->declared, name);
    if (first) {
        plan_error(plan, line, name, NULL, "the name is taken by line %lld",
                   (long long)json_integer_value(first));
        return false;
    }
    json_object_set_new(plan->declared, name, json_integer(line->number));
    return true;
}

static bool check_bodies(struct plan *plan, const struct plan_line *line, const json_t *value)
{
    if (!json_is_object(value) || (json_object_size(value) == 0 && line->op != PLAN_RECONCILE)) {
        plan_error(plan, line, NULL, "value", "must map names to objects: {\"name\": {...}}");
        return false;
    }
    bool good = true;
    const char *key;
    json_t *body;
    json_object_foreach((json_t *)(uintptr_t)value, key, body)
    {
        if (!declare(plan, line, key)) {
            good = false;
        } else if (!json_is_object(body)) {
            plan_error(plan, line, client_name(key), NULL, "must be an object");
            good = false;
        }
    }
    return good;
}

static bool check_update(struct plan *plan, const struct plan_line *line, const json_t *operation)
{
    const json_t *id = json_object_get(operation, "id");
    bool given = id && !json_is_null(id);
    bool good = true;
    if (line->type->singleton) {
        if (given &&
            !(json_is_string(id) && slice_equal(string_of(id), SLICE_LITERAL("singleton")))) {
            plan_error(plan, line, NULL, "id", "must be absent or 'singleton'");
            good = false;
        }
    } else if (!json_is_string(id) || json_string_length(id) == 0) {
        plan_error(plan, line, NULL, "id", "is required: an id, or '#' and a name of this plan");
        good = false;
    }
    if (!json_is_object(json_object_get(operation, "value"))) {
        plan_error(plan, line, NULL, "value", "must be an object");
        good = false;
    }
    return good;
}

static bool check_scope(struct plan *plan, const struct plan_line *line, const json_t *scope)
{
    if (scope && !json_is_null(scope) && !json_is_object(scope)) {
        plan_error(plan, line, NULL, "scope", "must be an object");
        return false;
    }
    return true;
}

static bool check_form(struct plan *plan, struct plan_line *line, const json_t *operation)
{
    if (!json_is_object(operation)) {
        plan_error(plan, line, NULL, NULL, "must be a JSON object");
        return false;
    }
    if (!find_op(plan, line, operation) || !find_object(plan, line, operation)) {
        return false;
    }
    const json_t *value = json_object_get(operation, "value");
    bool good = check_keys(plan, line, operation);
    if (forms[line->op].makes_objects) {
        good = check_bodies(plan, line, value) && good;
    }
    if (line->op == PLAN_UPSERT || line->op == PLAN_RECONCILE) {
        good = check_match_on(plan, line, json_object_get(operation, "matchOn")) && good;
        good = check_scope(plan, line, json_object_get(operation, "scope")) && good;
    }
    if (line->op == PLAN_UPDATE) {
        good = check_update(plan, line, operation) && good;
    }
    if (line->op == PLAN_DESTROY && value && !json_is_null(value) && !json_is_object(value)) {
        plan_error(plan, line, NULL, "value", "must be an object that selects what to destroy");
        good = false;
    }
    return good;
}

/* False when the line is not JSON. */
static bool parse_line(struct plan *plan, struct plan_line *line)
{
    json_error_t error;
    json_t *operation =
        json_loadb((const char *)line->text.ptr, line->text.len, JSON_REJECT_DUPLICATES, &error);
    if (!operation) {
        plan_error(plan, line, NULL, NULL, "is not JSON: %s (at byte %d)", error.text,
                   error.position);
        return false;
    }
    line->good = check_form(plan, line, operation);
    if (line->good && line->op == PLAN_RECONCILE) {
        plan->has_reconcile = true;
    }
    json_decref(operation);
    return true;
}

static struct slice trim_line(struct slice text)
{
    if (text.len && text.ptr[text.len - 1] == '\r') {
        text = slice_first(text, text.len - 1);
    }
    return text_trim(text);
}

static bool split_lines(struct plan *plan)
{
    size_t cap = 0;
    struct slice rest = slice_of(plan->bytes, plan->len);
    for (uint32_t number = 1; rest.len; number++) {
        size_t end = slice_find(rest, '\n');
        struct slice text = trim_line(slice_first(rest, end));
        rest = slice_from(rest, mx_min_size(end + 1, rest.len));
        if (text.len == 0) {
            continue;
        }
        if (plan->line_count == cap) {
            cap = cap ? cap * 2 : 256;
            struct plan_line *grown = cap <= 2 * (size_t)PLAN_LINES_MAX
                                          ? realloc(plan->lines, cap * sizeof(*grown))
                                          : NULL;
            if (!grown) {
                plan_error(plan, NULL, NULL, NULL, "the plan has too many lines");
                return false;
            }
            plan->lines = grown;
        }
        plan->lines[plan->line_count++] = (struct plan_line){.number = number, .text = text};
    }
    return true;
}

bool plan_parse(struct plan *plan)
{
    if (!split_lines(plan)) {
        return false;
    }
    bool all_json = true;
    for (size_t i = 0; i < plan->line_count; i++) {
        all_json = parse_line(plan, &plan->lines[i]) && all_json;
    }
    return all_json;
}
