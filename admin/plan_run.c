/* The operations of a plan, in the order of the contract. An operation that is refused does not
 * stop the others, so that all errors are found; the transaction is rolled back at the end. */
#include "admin/plan_private.h"

#include "admin/object_id.h"
#include "core/check.h"

#include <stdlib.h>

static const char *client_name(const char *key)
{
    return key[0] == '#' ? key + 1 : key;
}

/* References ------------------------------------------------------------------------------- */

static bool resolve(void *arg, struct slice name, uint64_t *out_id, const char **out_reason)
{
    struct plan *plan = arg;
    char key[512];
    if (name.len >= sizeof(key)) {
        *out_reason = "the name is too long";
        return false;
    }
    snprintf(key, sizeof(key), "%.*s", SLICE_ARGS(name));
    const json_t *made = json_object_get(plan->made, key);
    if (json_is_integer(made)) {
        *out_id = (uint64_t)json_integer_value(made);
        return true;
    }
    if (json_is_null(made)) {
        *out_reason = NULL;
        return false;
    }
    const json_t *line = json_object_get(plan->declared, key);
    if (line) {
        snprintf(plan->reason, sizeof(plan->reason), "it is made only later, by line %lld",
                 (long long)json_integer_value(line));
    } else {
        snprintf(plan->reason, sizeof(plan->reason), "no operation of this plan makes it");
    }
    *out_reason = plan->reason;
    return false;
}

struct reference_resolver plan_resolver(struct plan *plan)
{
    return (struct reference_resolver){plan, resolve, .labels_later = true};
}

static void remember(struct plan *plan, const char *client, uint64_t id)
{
    json_object_set_new(plan->made, client, id ? json_integer((json_int_t)id) : json_null());
}

/* Of a line that is not run: what it would have made was refused. */
static void refuse_line(struct plan *plan, const struct plan_line *line)
{
    json_t *operation = plan_line_json(line);
    const char *key;
    json_t *body;
    json_object_foreach(json_object_get(operation, "value"), key, body)
    {
        if (json_is_object(body) && !json_object_get(plan->made, client_name(key))) {
            remember(plan, client_name(key), 0);
        }
    }
    json_decref(operation);
}

static void touch_key(char key[REG_NAME_MAX + 32], const struct reg_type *type, uint64_t id)
{
    snprintf(key, REG_NAME_MAX + 32, "%s/%llx", type->shape.name, (unsigned long long)id);
}

void plan_touch(struct plan *plan, const struct reg_type *type, uint64_t id)
{
    plan->last_line[type - reg_types] = plan->line->number;
    if (plan->has_reconcile) {
        char key[REG_NAME_MAX + 32];
        touch_key(key, type, id);
        json_object_set_new(plan->touched, key, json_true());
    }
}

bool plan_is_touched(const struct plan *plan, const struct reg_type *type, uint64_t id)
{
    char key[REG_NAME_MAX + 32];
    touch_key(key, type, id);
    return json_object_get(plan->touched, key) != NULL;
}

void plan_step(struct plan *plan, const char *verb, const struct reg_type *type, uint64_t id,
               const char *client, const char *more)
{
    if (!plan->options->dry_run) {
        return;
    }
    char title[OBJECT_TITLE_MAX];
    object_title(plan->store, title, type, id);
    fprintf(plan->options->out, "line %u: %s %s%s%s%s%s%s%s\n", plan->line->number, verb,
            type->shape.name, type->singleton ? "" : " ", type->singleton ? "" : title,
            client && client[0] ? " as #" : "", client ? client : "", more[0] ? ": " : "", more);
}

/* One object ------------------------------------------------------------------------------- */

static void create_one(struct plan *plan, const char *client, const json_t *body)
{
    const struct reg_type *type = plan->line->type;
    struct reference_resolver resolver = plan_resolver(plan);
    struct set_errors errors;
    uint64_t id = 0;
    errors.count = 0;
    mx_err err = object_create(plan->store, &id, type, body, &resolver, &errors);
    if (err) {
        plan->failure = err;
    } else if (errors.count) {
        plan_set_errors(plan, plan->line, client, &errors);
        remember(plan, client, 0);
    } else {
        remember(plan, client, id);
        plan_touch(plan, type, id);
        plan->created++;
        plan_step(plan, "create", type, id, client, "");
    }
}

/* Names of the properties that differ, for the steps of a dry run. */
static void list_changes(char out[512], const json_t *before, const json_t *after)
{
    struct writer w = writer_init(out, 511);
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)(uintptr_t)after, key, value)
    {
        if (!json_equal(value, json_object_get(before, key))) {
            if (w.len) {
                put_text(&w, ", ");
            }
            put_text(&w, key);
        }
    }
    out[w.len] = 0;
}

static void update_one(struct plan *plan, const char *client, uint64_t id, const json_t *patch)
{
    const struct reg_type *type = plan->line->type;
    struct reference_resolver resolver = plan_resolver(plan);
    struct set_errors errors;
    json_t *before = NULL;
    json_t *after = NULL;
    errors.count = 0;
    mx_err err = object_update(plan->store, type, id, patch, &resolver, &before, &after, &errors);
    if (err) {
        plan->failure = err;
    } else if (errors.count) {
        plan_set_errors(plan, plan->line, client, &errors);
    } else if (json_equal(before, after)) {
        plan->unchanged++;
    } else {
        char changes[512];
        list_changes(changes, before, after);
        plan->updated++;
        plan_step(plan, "update", type, id, client, changes);
    }
    plan_touch(plan, type, id);
    json_decref(before);
    json_decref(after);
}

void plan_destroy_one(struct plan *plan, const struct reg_type *type, uint64_t id)
{
    struct reference_resolver resolver = plan_resolver(plan);
    struct set_errors errors;
    char title[OBJECT_TITLE_MAX];
    errors.count = 0;
    object_title(plan->store, title, type, id);
    plan_step(plan, "destroy", type, id, NULL, "");
    mx_err err = object_destroy(plan->store, type, id, &resolver, &errors);
    if (err) {
        plan->failure = err;
    } else if (errors.count) {
        plan_set_errors(plan, plan->line, title, &errors);
    } else {
        plan->destroyed++;
        plan->last_line[type - reg_types] = plan->line->number;
    }
}

/* Operations ------------------------------------------------------------------------------- */

static void run_create(struct plan *plan, const json_t *operation)
{
    const char *key;
    json_t *body;
    json_object_foreach(json_object_get(operation, "value"), key, body)
    {
        const char *client = client_name(key);
        if (plan->line->type->singleton) {
            update_one(plan, client, OBJECT_ID_SINGLETON, body);
            remember(plan, client, OBJECT_ID_SINGLETON);
        } else {
            create_one(plan, client, body);
        }
        if (plan->failure) {
            return;
        }
    }
}

static void run_update(struct plan *plan, const json_t *operation)
{
    const json_t *value = json_object_get(operation, "value");
    if (plan->line->type->singleton) {
        update_one(plan, NULL, OBJECT_ID_SINGLETON, value);
        return;
    }
    const char *text = json_string_value(json_object_get(operation, "id"));
    uint64_t id = 0;
    if (text[0] == '#') {
        const char *reason;
        if (!resolve(plan, slice_of_text(text + 1), &id, &reason)) {
            if (reason) {
                plan_error(plan, plan->line, text, "id", "%s", reason);
            }
            return;
        }
    } else if (object_id_parse(&id, slice_of_text(text))) {
        plan_error(plan, plan->line, text, "id", "is not an id");
        return;
    }
    update_one(plan, text, id, value);
}

/* What a match may change: not what is fixed since its creation. */
static json_t *changeable(const struct reg_type *type, const json_t *body)
{
    const struct reg_variant *variant = object_variant(&type->shape, body);
    json_t *patch = json_copy((json_t *)(uintptr_t)body);
    json_object_del(patch, "@type");
    for (uint32_t i = 0; variant && i < variant->field_count; i++) {
        if (variant->fields[i].mode != REG_MUTABLE) {
            json_object_del(patch, variant->fields[i].name);
        }
    }
    return patch;
}

static json_t *creatable(const struct reg_type *type, const json_t *body)
{
    const struct reg_variant *variant = object_variant(&type->shape, body);
    json_t *copy = json_copy((json_t *)(uintptr_t)body);
    for (uint32_t i = 0; variant && i < variant->field_count; i++) {
        if (reg_is_server_mode(variant->fields[i].mode)) {
            json_object_del(copy, variant->fields[i].name);
        }
    }
    return copy;
}

static void upsert_one(struct plan *plan, struct plan_matcher *matcher, const char *client,
                       const json_t *given)
{
    const struct reg_type *type = plan->line->type;
    uint64_t id = 0;
    json_t *body = plan_matcher_body(matcher, client, given);
    if (!body || !plan_matcher_find(matcher, &id, client, body)) {
        remember(plan, client, 0);
        json_decref(body);
        return;
    }
    if (id) {
        json_t *patch = changeable(type, body);
        remember(plan, client, id);
        update_one(plan, client, id, patch);
        json_decref(patch);
    } else {
        json_t *copy = creatable(type, body);
        create_one(plan, client, copy);
        json_decref(copy);
    }
    json_decref(body);
}

static void run_upsert(struct plan *plan, const json_t *operation)
{
    struct plan_matcher *matcher;
    mx_err err = plan_matcher_new(&matcher, plan, plan->line, operation);
    if (err == MX_ERR_INVALID) {
        refuse_line(plan, plan->line);
        return;
    }
    if (err) {
        plan->failure = err;
        return;
    }
    const char *key;
    json_t *body;
    json_object_foreach(json_object_get(operation, "value"), key, body)
    {
        upsert_one(plan, matcher, client_name(key), body);
        if (plan->failure) {
            break;
        }
    }
    plan_matcher_free(matcher);
}

struct selection {
    struct plan *plan;
    const json_t *filter;
    const struct plan_matcher *matcher; /* clean-up of a reconcile */
    struct id_list ids;
};

static mx_err select_object(void *arg, uint64_t id, json_t *object)
{
    struct selection *selection = arg;
    const struct reg_type *type = selection->plan->line->type;
    bool chosen = selection->matcher ? plan_matcher_in_scope(selection->matcher, object) &&
                                           !plan_is_touched(selection->plan, type, id)
                                     : plan_filter_matches(type, selection->filter, object);
    return chosen ? id_list_add(&selection->ids, id) : MX_OK;
}

static void destroy_selected(struct plan *plan, struct selection *selection)
{
    mx_err err = store_each(plan->store, plan->line->type, select_object, selection);
    if (err) {
        plan->failure = err;
    }
    for (size_t i = 0; i < selection->ids.count && !plan->failure; i++) {
        plan_destroy_one(plan, plan->line->type, selection->ids.ids[i]);
    }
    id_list_free(&selection->ids);
}

static void run_destroy(struct plan *plan, const json_t *operation)
{
    const json_t *given = json_object_get(operation, "value");
    json_t *filter = plan_filter(plan, plan->line, given, "value");
    if (filter) {
        struct selection selection = {.plan = plan, .filter = filter};
        destroy_selected(plan, &selection);
        json_decref(filter);
    }
}

static void run_clean_up(struct plan *plan, const json_t *operation)
{
    struct plan_matcher *matcher;
    mx_err err = plan_matcher_new(&matcher, plan, plan->line, operation);
    if (err) {
        plan->failure = err == MX_ERR_INVALID ? MX_OK : err; /* reported when it ran */
        return;
    }
    struct selection selection = {.plan = plan, .matcher = matcher};
    destroy_selected(plan, &selection);
    plan_matcher_free(matcher);
}

static void run_line(struct plan *plan, const struct plan_line *line,
                     void (*run)(struct plan *plan, const json_t *operation))
{
    json_t *operation = plan_line_json(line);
    if (!operation) {
        plan->failure = MX_ERR_NOMEM;
        return;
    }
    plan->line = line;
    run(plan, operation);
    json_decref(operation);
}

static void run_making_line(struct plan *plan, const struct plan_line *line)
{
    switch (line->op) {
    case PLAN_CREATE:
        run_line(plan, line, run_create);
        break;
    case PLAN_UPDATE:
        run_line(plan, line, run_update);
        break;
    case PLAN_UPSERT:
    case PLAN_RECONCILE:
        run_line(plan, line, run_upsert);
        break;
    case PLAN_DESTROY:
        break;
    }
}

void plan_run(struct plan *plan)
{
    for (size_t i = plan->line_count; i-- > 0 && !plan->failure;) {
        if (plan->lines[i].good && plan->lines[i].op == PLAN_DESTROY) {
            run_line(plan, &plan->lines[i], run_destroy);
        }
    }
    for (size_t i = 0; i < plan->line_count && !plan->failure; i++) {
        if (plan->lines[i].good) {
            run_making_line(plan, &plan->lines[i]);
        } else {
            refuse_line(plan, &plan->lines[i]);
        }
    }
    /* After an error some objects would look left over only because what names them was refused. */
    for (size_t i = plan->line_count; i-- > 0 && !plan->failure && plan->error_count == 0;) {
        if (plan->lines[i].op == PLAN_RECONCILE) {
            run_line(plan, &plan->lines[i], run_clean_up);
        }
    }
}
