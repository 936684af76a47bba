/* What the API does beside reading and changing the store: actions, the queue, explanations. */
#include "admin/access.h"
#include "admin/api_trace.h"
#include "admin/audit.h"
#include "admin/backend_private.h"
#include "admin/certificate.h"
#include "admin/explain_json.h"
#include "admin/pause_file.h"
#include "admin/plan.h"
#include "admin/secret_memo.h"

#include <stdio.h>
#include <stdlib.h>

void backend_problem(struct api_problem *out, const struct config_problem *problem)
{
    (void)snprintf(out->property, sizeof out->property, "%s", problem->property);
    (void)snprintf(out->text, sizeof out->text, "%.*s", (int)sizeof out->text - 1, problem->text);
}

/* Whoever asks for what is stronger than he is worth a line: he may be trying what he can get. */
static void log_forbidden(struct backend *b, const struct store_wish *wish, const char *reason)
{
    char id[OBJECT_ID_TEXT_MAX + 1] = "";
    struct writer w = writer_init(id, sizeof id - 1);
    struct api_caller caller = {.peer = b->peer};
    put_object_id(&w, wish->id);
    struct api_changed wanted = {.verb = wish->before == NULL  ? "create"
                                         : wish->after == NULL ? "destroy"
                                                               : "update",
                                 .type = wish->type,
                                 .id = wish->before == NULL ? NULL : id,
                                 .before = wish->before,
                                 .after = wish->after};
    (void)snprintf(caller.name, sizeof caller.name, "%.*s", API_CALLER_NAME_MAX, b->caller->name);
    (void)snprintf(caller.account_id, sizeof caller.account_id, "%s", b->caller->account_id);
    audit_forbidden(b->conf.log, &caller, &wanted, reason);
}

mx_err backend_guard(void *arg, const struct store_wish *wish, struct set_errors *errors)
{
    struct backend *b = arg;
    const struct access_caller caller = {.permissions = b->caller->permissions,
                                         .account = b->caller->account,
                                         .key = b->caller->key};
    uint32_t refused = errors->count;
    mx_err err = access_check_change(b->store, &caller, wish, errors);
    if (errors->count > refused && refused < SET_ERRORS_MAX) {
        log_forbidden(b, wish, errors->items[refused].text);
    }
    return err;
}

static mx_err reload(struct backend *b, struct api_problem *problem)
{
    struct config_problem text = {0};
    mx_err err = publisher_reload(b->conf.publisher, b->store, &text);
    backend_problem(problem, &text);
    const char *skipped = publisher_skipped_certificate(b->conf.publisher);
    if (!err && skipped[0] != '\0') {
        certificate_log_skipped(b->conf.log, skipped);
    }
    return err;
}

/* First where it survives, then where it has its effect. */
static mx_err pause_set(struct backend *b, const struct deliver_pause *pause, const char *by)
{
    mx_err err = !b->conf.delivers ? MX_ERR_UNSUPPORTED : pause_file_write(pause, b->conf.data_dir);
    if (!err) {
        b->pause = *pause;
        err = queue_cores_pause(b->conf.queue, pause, by);
    }
    return err;
}

/* An object of the type with that name; null is fine. MX_ERR_NOTFOUND. */
static mx_err exists(struct backend *b, const char *type_name, const json_t *name)
{
    const struct reg_type *type = reg_type_find(slice_of_text(type_name));
    uint64_t id;
    struct store_condition named = {
        .field = reg_field_find(&type->shape.variants[0], SLICE_LITERAL("name")), .value = name};
    struct store_query query = {
        .type = type, .conditions = &named, .condition_count = 1, .limit = 1};
    struct store_page page = {.ids = &id};
    if (!json_is_string(name)) {
        return MX_OK;
    }
    mx_err err = store_select(b->store, &page, &query);
    return err ? err : page.count == 1 ? MX_OK : MX_ERR_NOTFOUND;
}

static mx_err pause_queue(struct backend *b, const struct api_caller *caller, bool yes,
                          const json_t *body, struct api_problem *problem)
{
    struct deliver_pause pause = b->pause;
    const json_t *route = json_object_get(body, "route"), *queue = json_object_get(body, "queue");
    struct pause_of of = {.route = api_queue_string(route), .queue = api_queue_string(queue)};
    mx_err err = MX_OK;
    if (yes) {
        err = exists(b, "MtaRoute", route);
        err = err ? err : exists(b, "MtaVirtualQueue", queue);
        err = err ? err : pause_add(&pause, &of);
    } else {
        pause_remove(&pause, &of);
    }
    err = err ? err : pause_set(b, &pause, caller->name);
    if (err == MX_ERR_UNSUPPORTED) {
        (void)snprintf(problem->text, sizeof problem->text,
                       "nothing is delivered in recovery mode");
    } else if (err == MX_ERR_NOTFOUND) {
        (void)snprintf(problem->text, sizeof problem->text, "there is no such %s",
                       of.queue.len == 0   ? "route"
                       : of.route.len == 0 ? "virtual queue"
                                           : "route or virtual queue");
    } else if (err == MX_ERR_LIMIT) {
        (void)snprintf(problem->text, sizeof problem->text, "more than %d routes are paused",
                       PAUSED_ROUTES_MAX);
    } else if (err == MX_ERR_TIMEOUT || err == MX_ERR_AGAIN) {
        (void)snprintf(problem->text, sizeof problem->text,
                       "not all cores have answered; try again");
    } else if (err) {
        (void)snprintf(problem->text, sizeof problem->text, "it cannot be written down: %s",
                       err_text(err));
    }
    return err;
}

static mx_err forget_names(struct backend *b, const struct api_caller *caller, enum queue_op op,
                           struct api_problem *problem)
{
    mx_err err = queue_cores_tell(b->conf.queue, op, caller->name);
    if (err) {
        (void)snprintf(problem->text, sizeof problem->text, "%s",
                       err == MX_ERR_UNSUPPORTED ? "nothing is looked up in recovery mode"
                                                 : "not all cores have answered; try again");
    }
    return err;
}

mx_err backend_action(void *arg, const struct api_caller *caller, enum api_action action,
                      const json_t *body, json_t **out_shown, struct set_errors *errors,
                      struct api_problem *problem)
{
    struct backend *b = arg;
    switch (action) {
    case ACTION_RELOAD_SETTINGS:
    case ACTION_RELOAD_CERTIFICATES:
        return reload(b, problem);
    case ACTION_RELOAD_BLOCKED:
    case ACTION_RELOAD_LOOKUPS:
        return MX_OK; /* in force since they were made */
    case ACTION_PAUSE_QUEUE:
    case ACTION_RESUME_QUEUE:
        return pause_queue(b, caller, action == ACTION_PAUSE_QUEUE, body, problem);
    case ACTION_CHANGE_QUEUE:
        return api_queue_change(&b->queue, caller, body, out_shown, errors);
    case ACTION_INVALIDATE_CACHES:
        return forget_names(b, caller, QUEUE_FORGET_NAMES, problem);
    case ACTION_INVALIDATE_NEGATIVE:
        return forget_names(b, caller, QUEUE_FORGET_ABSENT, problem);
    }
    return MX_ERR_BUG;
}

mx_err backend_download(void *arg, uint64_t id, bool headers, uint8_t **out_text, size_t *out_len)
{
    struct backend *b = arg;
    return api_queue_download(&b->queue, id, headers, out_text, out_len);
}

mx_err backend_shape(void *arg, json_t **out_shape)
{
    struct backend *b = arg;
    mx_err err = api_queue_shape(&b->queue, out_shape);
    if (!err) {
        json_t *routes = json_array();
        for (unsigned i = 0; i < b->pause.route_count; i++) {
            json_array_append_new(routes, json_string(b->pause.routes[i]));
        }
        json_t *queues = json_array();
        for (unsigned i = 0; i < b->pause.queues.count; i++) {
            json_array_append_new(queues, json_string(b->pause.queues.names[i]));
        }
        json_object_set_new(*out_shape, "paused",
                            json_pack("{s:b,s:o,s:o}", "everything", b->pause.all, "routes", routes,
                                      "queues", queues));
    }
    return err;
}

mx_err backend_trace(void *arg, const struct trace_query *query, json_t **out_trace)
{
    struct backend *b = arg;
    return api_trace_read(b->queue.queue, query, out_trace);
}

mx_err backend_explain(void *arg, const struct explain_query *query, json_t **out_explanation,
                       struct api_problem *problem)
{
    struct backend *b = arg;
    const struct explanation *explanation;
    mx_err err = explain_cores_ask(b->conf.explain, query, NULL, &explanation);
    if (err == MX_ERR_UNSUPPORTED) {
        (void)snprintf(problem->text, sizeof problem->text, "no mail is routed in recovery mode");
    } else if (err == MX_ERR_RANGE) {
        (void)snprintf(problem->text, sizeof problem->text, "listener or helo is too long");
        err = MX_ERR_INVALID;
    } else if (err) {
        (void)snprintf(problem->text, sizeof problem->text, "the core has not answered; try again");
    } else if (query->listener.len > 0 && explanation->listener == NULL) {
        (void)snprintf(problem->text, sizeof problem->text, "listener: there is no such listener");
        err = MX_ERR_INVALID;
    } else {
        *out_explanation = explain_json(explanation, query);
    }
    return err;
}

/* Of a plan that is only tried: what it may change is what the caller may. */
static mx_err guard_try(void *arg, const struct store_wish *wish, struct set_errors *errors)
{
    struct backend *b = arg;
    enum permission_verb verb = wish->type->singleton || (wish->before && wish->after)
                                    ? PERMISSION_UPDATE
                                : wish->after ? PERMISSION_CREATE
                                              : PERMISSION_DESTROY;
    int permission = permission_of(wish->type, verb);
    if (!permission_has(&b->caller->permissions, permission)) {
        char name[PERMISSION_NAME_MAX + 1];
        struct writer w = writer_init(name, sizeof name - 1);
        put_permission(&w, permission);
        set_error_add(errors, SET_FORBIDDEN, NULL, "needs the permission %.*s", (int)w.len, name);
        return MX_OK;
    }
    return backend_guard(arg, wish, errors);
}

mx_err backend_dry_run(void *arg, struct slice plan_text, struct slice recipients,
                       char **out_report)
{
    struct backend *b = arg;
    char *report = NULL, *errors = NULL;
    size_t report_len = 0, errors_len = 0;
    struct plan_options options = {.dry_run = true,
                                   .cores = b->conf.explain,
                                   .out = open_memstream(&report, &report_len),
                                   .err = open_memstream(&errors, &errors_len)};
    /* Where mail goes has to do with no password; one that is set counts as a change. */
    struct secret_memo *memo = secret_memo_new(true);
    store_guard(b->store, guard_try, b);
    store_seal_by(b->store, memo);
    int code = options.out == NULL || options.err == NULL || memo == NULL
                   ? -1
                   : plan_dry_run(&options, b->store, plan_text, recipients);
    store_seal_by(b->store, NULL);
    store_guard(b->store, NULL, NULL);
    secret_memo_free(memo);
    bool whole = (options.out == NULL || fclose(options.out) == 0) &
                 (options.err == NULL || fclose(options.err) == 0);
    *out_report = code == PLAN_EXIT_OK ? report : errors;
    free(code == PLAN_EXIT_OK ? errors : report);
    if (code < 0 || !whole) {
        return MX_ERR_NOMEM;
    }
    return code == PLAN_EXIT_OK ? MX_OK : MX_ERR_INVALID;
}
