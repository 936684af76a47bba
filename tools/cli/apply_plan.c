#include "tools/cli/apply_plan.h"

#include "core/text.h"
#include "tools/cli/apply_match.h"
#include "tools/cli/apply_scope.h"
#include "tools/cli/fail.h"
#include "tools/cli/schema.h"

#include <stdlib.h>

const char *const op_names[OP_KINDS] = {
    [OP_DESTROY] = "destroy", [OP_UPDATE] = "update",       [OP_CREATE] = "create",
    [OP_UPSERT] = "upsert",   [OP_RECONCILE] = "reconcile",
};

void op_free(struct op *op)
{
    free(op->id);
    json_decref(op->match_on);
    json_decref(op->scope);
    json_decref(op->value);
    *op = (struct op){0};
}

void plan_free(struct plan *plan)
{
    lines_close(&plan->lines);
    json_decref(plan->refs);
    json_decref(plan->compared);
    *plan = (struct plan){0};
}

const char *client_ref(const json_t *value)
{
    const char *text = json_string_value(value);
    return text != NULL && text[0] == '#' && text[1] != '\0' ? text + 1 : NULL;
}

json_t *op_match_properties(const struct op *op, json_t *schema)
{
    if (op->match_on != NULL) {
        return json_incref(op->match_on);
    }
    return op->by_value ? NULL : schema_match_key(schema, op->object);
}

/* Prefix of messages: "upsert operation #2". */
static bool wrong(const struct op *op, const char *what)
{
    return fail("%s operation #%zu (%s) %s", op_names[op->kind], op->index + 1,
                op->object ? schema_display(op->object) : "?", what);
}

/* --- members of a line -------------------------------------------------------------------------
 */

static bool take_kind(struct op *op, const char *name)
{
    for (size_t i = 0; name != NULL && i < OP_KINDS; i++) {
        if (strcmp(op_names[i], name) == 0) {
            op->kind = (enum op_kind)i;
            return true;
        }
    }
    return fail("`@type` must be destroy, update, create, upsert or reconcile");
}

static bool members_check(const struct op *op, const json_t *line)
{
    static const struct {
        const char *name;
        unsigned kinds; /* bits */
    } members[] = {
        {"@type", ~0u},
        {"object", ~0u},
        {"value", ~0u},
        {"id", 1 << OP_UPDATE},
        {"matchOn", 1 << OP_UPSERT | 1 << OP_RECONCILE},
        {"scope", 1 << OP_UPSERT | 1 << OP_RECONCILE},
    };
    const char *name;
    json_t *value;
    json_object_foreach((json_t *)(uintptr_t)line, name, value)
    {
        bool known = false;
        for (size_t i = 0; i < mx_countof(members); i++) {
            known = known ||
                    (strcmp(members[i].name, name) == 0 && (members[i].kinds >> op->kind & 1) != 0);
        }
        if (!known) {
            return fail("`%s` is no member of %s", name, op_names[op->kind]);
        }
    }
    return true;
}

static bool take_object(struct op *op, const json_t *line, json_t *schema)
{
    const char *name = member_text(line, "object");
    if (name == NULL) {
        return fail("`object` is missing");
    }
    op->object = schema_object(schema, name);
    if (op->object == NULL) {
        return false;
    }
    bool for_singletons = op->kind == OP_UPDATE || op->kind == OP_CREATE;
    return for_singletons || !schema_is_singleton(schema, op->object) ||
           wrong(op, "cannot be done to a singleton; use update");
}

static bool take_id(struct op *op, const json_t *line, json_t *schema)
{
    const json_t *id = json_object_get(line, "id");
    const char *text = json_string_value(id);
    if (schema_is_singleton(schema, op->object)) {
        if (id != NULL && !json_is_null(id) && (text == NULL || strcmp(text, "singleton") != 0)) {
            return fail("singleton id must be 'singleton'");
        }
        text = "singleton";
    }
    if (text == NULL || *text == '\0') {
        return wrong(op, "has no `id`, which stands beside `value`, not in it");
    }
    op->id = need(strdup(text));
    return true;
}

static bool take_match_on(struct op *op, const json_t *line)
{
    json_t *match_on = json_object_get(line, "matchOn"), *item;
    const char *text = json_string_value(match_on);
    size_t i;
    if (match_on == NULL || json_is_null(match_on)) {
        return true;
    }
    op->by_value = text != NULL && strcmp(text, "*") == 0;
    if (op->by_value) {
        return true;
    }
    bool good = json_array_size(match_on) > 0;
    json_array_foreach(match_on, i, item)
    {
        good = good && json_is_string(item);
    }
    if (!good) {
        return wrong(op, "needs a list of properties or \"*\" as `matchOn`");
    }
    op->match_on = json_incref(match_on);
    return true;
}

/* Client ids without "#", each once, each with an object. */
static bool take_entries(struct op *op, const json_t *value)
{
    const char *key;
    json_t *entry;
    op->value = need(json_object());
    if (value != NULL && !json_is_object(value)) {
        return wrong(op, "needs an object of objects as `value`");
    }
    json_object_foreach((json_t *)(uintptr_t)value, key, entry)
    {
        const char *name = key + (key[0] == '#');
        if (json_object_get(op->value, name) != NULL) {
            return fail("%s operation #%zu has the id `%s` twice", op_names[op->kind],
                        op->index + 1, name);
        }
        if (!json_is_object(entry)) {
            return fail("%s operation #%zu: `%s` is not an object", op_names[op->kind],
                        op->index + 1, name);
        }
        json_object_set(op->value, name, entry);
    }
    return json_object_size(op->value) > 0 || op->kind == OP_RECONCILE ||
           wrong(op, "has no objects in its `value`");
}

static bool take_value(struct op *op, const json_t *line)
{
    json_t *value = json_object_get(line, "value");
    value = json_is_null(value) ? NULL : value;
    if (op->kind != OP_DESTROY && op->kind != OP_UPDATE) {
        return take_entries(op, value);
    }
    if (value != NULL ? !json_is_object(value) : op->kind == OP_UPDATE) {
        return wrong(op, "needs an object as `value`");
    }
    op->value = json_incref(value);
    return true;
}

static bool take_matching(struct op *op, const json_t *line, json_t *schema)
{
    if (!take_match_on(op, line)) {
        return false;
    }
    json_t *properties = op_match_properties(op, schema);
    bool keyed = properties != NULL || op->by_value || op->kind != OP_RECONCILE;
    json_decref(properties);
    if (!keyed) {
        return wrong(op, "has no key to match by; name properties in `matchOn`, or say \"*\" to "
                         "match by value, which replaces every object that differs");
    }
    return scope_take(op, json_object_get(line, "scope"), schema);
}

static bool op_take(struct op *op, const json_t *line, json_t *schema)
{
    return take_kind(op, member_text(line, "@type")) && members_check(op, line) &&
           take_object(op, line, schema) && (op->kind != OP_UPDATE || take_id(op, line, schema)) &&
           take_value(op, line) &&
           ((op->kind != OP_UPSERT && op->kind != OP_RECONCILE) || take_matching(op, line, schema));
}

/* With the number of the line before what is wrong with it. */
static bool wrong_line(const struct plan *plan, size_t index)
{
    return fail("plan, line %zu: %s", lines_number(&plan->lines, index), fail_text());
}

/* New reference, or NULL. */
static json_t *line_parse(struct plan *plan, size_t index)
{
    json_error_t error;
    struct slice text;
    if (!lines_read(&plan->lines, index, &text)) {
        return NULL;
    }
    json_t *line = json_loadb((const char *)text.ptr, text.len, JSON_REJECT_DUPLICATES, &error);
    bool good = line != NULL || fail("%s", error.text);
    if (good && !json_is_object(line)) {
        good = fail("the line is not a JSON object");
        json_decref(line);
    }
    if (!good) {
        wrong_line(plan, index);
    }
    return good ? line : NULL;
}

bool op_parse(struct op *out, struct plan *plan, size_t index, json_t *schema)
{
    json_t *line = line_parse(plan, index);
    *out = (struct op){.index = index};
    if (line == NULL) {
        return false;
    }
    bool good = op_take(out, line, schema);
    json_decref(line);
    if (!good) {
        op_free(out);
        wrong_line(plan, index);
    }
    return good;
}

/* --- the plan ----------------------------------------------------------------------------------
 */

static void add_ref(json_t *refs, const char *ref)
{
    if (ref != NULL) {
        json_object_set_new(refs, ref, json_true());
    }
}

/* The client ids that a value refers to: texts and names of members, "#id". */
static void collect_refs(json_t *refs, json_t *value)
{
    const char *name;
    json_t *item;
    size_t i;
    add_ref(refs, client_ref(value));
    json_array_foreach(value, i, item)
    {
        collect_refs(refs, item);
    }
    json_object_foreach(value, name, item)
    {
        add_ref(refs, name[0] == '#' && name[1] != '\0' ? name + 1 : NULL);
        collect_refs(refs, item);
    }
}

/* The names of the entries of a value are declarations, not references. */
static void line_refs(json_t *refs, json_t *line)
{
    const char *name;
    json_t *member, *entry;
    json_object_foreach(line, name, member)
    {
        if (strcmp(name, "value") != 0) {
            collect_refs(refs, member);
            continue;
        }
        const char *key;
        json_object_foreach(member, key, entry)
        {
            collect_refs(refs, entry);
        }
    }
}

static bool refs_find(struct plan *plan)
{
    plan->refs = need(json_object());
    for (size_t i = 0; i < plan->lines.count; i++) {
        json_t *line = line_parse(plan, i);
        if (line == NULL) {
            return false;
        }
        line_refs(plan->refs, line);
        json_decref(line);
    }
    return true;
}

bool plan_refers(const struct plan *plan, const char *name)
{
    return json_object_get(plan->refs, name) != NULL;
}

/* Client ids must have been declared by an earlier line where they must be known before the server
 * is asked: as the id of an update, in what is matched, in a scope. */
static bool references_check(const struct plan *plan, const struct op *op, json_t *schema,
                             json_t *declared)
{
    if (op->kind == OP_UPDATE && op->id[0] == '#' && op->id[1] != '\0' &&
        json_object_get(declared, op->id + 1) == NULL) {
        return fail("%s: no operation before this one makes `%s`", schema_display(op->object),
                    op->id);
    }
    if (op->kind != OP_CREATE && op->kind != OP_UPSERT && op->kind != OP_RECONCILE) {
        return true;
    }
    json_t *scope = scope_resolve(op, schema, declared);
    if (op->scope != NULL && scope == NULL) {
        return false;
    }
    json_decref(scope);
    const char *name;
    json_t *entry;
    json_object_foreach(op->value, name, entry)
    {
        if (plan_refers(plan, name)) {
            json_object_set_new(declared, name, json_string(name));
        }
    }
    return true;
}

static void note_compared(struct plan *plan, const struct op *op, json_t *schema)
{
    json_t *names = json_object_get(plan->compared, op->object);
    if (op->kind != OP_UPSERT && op->kind != OP_RECONCILE) {
        return;
    }
    if (names == NULL) {
        names = need(json_object());
        json_object_set_new(plan->compared, op->object, names);
    }
    match_compared(names, op, schema);
}

static bool check_one(struct plan *plan, size_t index, json_t *schema, json_t *declared)
{
    struct op op;
    if (!op_parse(&op, plan, index, schema)) {
        return false;
    }
    plan->ops[op.kind]++;
    plan->objects[op.kind] += op.kind >= OP_CREATE ? json_object_size(op.value) : 0;
    note_compared(plan, &op, schema);
    bool good = references_check(plan, &op, schema, declared) || wrong_line(plan, index);
    op_free(&op);
    return good;
}

bool plan_check(struct plan *plan, json_t *schema)
{
    json_t *declared = need(json_object());
    plan->compared = need(json_object());
    bool good = refs_find(plan);
    for (size_t i = 0; good && i < plan->lines.count; i++) {
        good = check_one(plan, i, schema, declared);
    }
    json_decref(declared);
    return good;
}
