#include "admin/audit.h"
#include "admin/backend_private.h"
#include "admin/ban.h"
#include "admin/bootstrap.h"
#include "core/check.h"
#include "io/clock.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* One request on its way through the worker. */
struct request_job {
    struct worker_job job;
    struct backend *backend;
    struct http_exchange *exchange;
    struct api_answer answer;
    struct auth_verdict verdict;
    struct auth_caller caller;
    uint64_t begun_ns;
    uint64_t held_until_ns; /* see admin/commit_pace.h */
    struct timer delay;     /* of the answer: to a failed sign-in, or to a large change */
    const char *permission; /* backend_permit: asked for; NULL: a request to the API */
    backend_then_fn then;
    void *then_arg;
    bool permitted;
};

/* --- hooks of the API --------------------------------------------------------------------------
 */

static bool may(void *arg, const char *permission)
{
    return auth_allows(arg, permission);
}

/* The verdict stays with the job: the loop logs it and delays the answer. */
static enum api_sign_in on_authenticate(void *arg, struct slice authorization,
                                        const struct netaddr *peer, struct api_caller *out)
{
    struct backend *b = arg;
    struct auth_time now = {.wall_ms = clock_wall_ms(),
                            .monotonic_ms = (int64_t)(clock_monotonic_ns() / MX_NS_PER_MS)};
    struct auth_verdict *verdict = &b->running->verdict;
    struct auth_caller *caller = &b->running->caller;
    if (auth_check(b->auth, authorization, peer, now, caller, verdict)) {
        return API_UNKNOWN;
    }
    switch (verdict->result) {
    case AUTH_OK:
        break;
    case AUTH_BANNED:
        return API_SLOW_DOWN;
    case AUTH_MISSING:
    case AUTH_REFUSED:
        return API_REFUSED;
    }
    *out = (struct api_caller){.peer = *peer, .arg = caller, .may = may};
    (void)snprintf(out->name, sizeof out->name, "%.*s", API_CALLER_NAME_MAX, caller->name);
    (void)snprintf(out->account_id, sizeof out->account_id, "%s", caller->account_id);
    return API_SIGNED_IN;
}

static bool is_named(const struct object_change *change, const struct config_problem *problem)
{
    const char *own = json_string_value(json_object_get(change->after, "name"));
    bool by_id =
        problem->ids[0] != 0 && (change->id == problem->ids[0] || change->id == problem->ids[1]);
    return change->after != NULL && (by_id || (problem->object[0] != '\0' && own != NULL &&
                                               strcmp(own, problem->object) == 0));
}

/* The object at fault: the one that is named, or the first of the type that does not compile. */
static size_t change_at_fault(const struct object_change *changes, size_t count,
                              const struct reg_type *type, const struct config_problem *problem)
{
    size_t first = API_ANY_CHANGE;
    for (size_t i = 0; i < count; i++) {
        if (is_named(&changes[i], problem)) {
            return i;
        }
        if (first == API_ANY_CHANGE && type != NULL && changes[i].type == type) {
            first = i;
        }
    }
    return first;
}

static mx_err on_prepare(void *arg, const struct object_change *changes, size_t count,
                         struct api_problem *problem)
{
    struct backend *b = arg;
    const struct reg_type *type;
    struct config_problem text = {0};
    mx_err err = publisher_prepare(b->conf.publisher, b->store, changes, count, &type, &text);
    if (!err) {
        return MX_OK;
    }
    backend_problem(problem, &text);
    problem->change = change_at_fault(changes, count, type, &text);
    return err == MX_ERR_AGAIN || err == MX_ERR_TIMEOUT || err == MX_ERR_NOMEM ? err
                                                                               : MX_ERR_INVALID;
}

static void on_discard(void *arg)
{
    publisher_cancel(((struct backend *)arg)->conf.publisher);
}

static mx_err on_publish(void *arg, const struct object_change *changes, size_t count,
                         struct api_problem *problem)
{
    struct backend *b = arg;
    struct config_problem text = {0};
    (void)changes;
    (void)count;
    mx_err err = publisher_apply(b->conf.publisher, store_generation(b->store), &text);
    backend_problem(problem, &text);
    return err;
}

static void on_changed(void *arg, const struct api_caller *caller,
                       const struct api_changed *changed)
{
    struct backend *b = arg;
    bool stored = changed->type->storage != REG_ELSEWHERE;
    audit_write(b->conf.log, caller, changed, stored ? store_generation(b->store) : 0);
}

/* --- jobs --------------------------------------------------------------------------------------
 */

static void answer_unusable(struct backend *b, struct api_answer *answer)
{
    char *body = malloc(HTTP_PROBLEM_MAX);
    struct writer w = writer_init(body, body == NULL ? 0 : HTTP_PROBLEM_MAX);
    char text[sizeof b->problem.text + 256];
    (void)snprintf(text, sizeof text, "%s; %s", b->problem.text, store_advice(b->unusable));
    http_problem_put(&w, 503, text);
    *answer = (struct api_answer){.status = 503,
                                  .content_type = "application/problem+json",
                                  .body = (uint8_t *)body,
                                  .len = w.len};
}

/* The next part of it: the worker's other jobs come in between. */
static void request_step(struct request_job *own)
{
    struct backend *b = own->backend;
    const struct http_request *http = &own->exchange->request;
    struct api_request request = {.method = http->method,
                                  .path = http->path,
                                  .host = http->host,
                                  .authorization = http->authorization,
                                  .content_type = http->content_type,
                                  .if_none_match = http->if_none_match,
                                  .body = http->body,
                                  .peer = http->peer,
                                  .tls = http->tls};
    if (own->answer.work != NULL) {
        api_continue(&own->answer, atomic_load_explicit(&b->stopping, memory_order_relaxed));
    } else if (own->permission != NULL) {
        own->permitted = api_permits(b->api, &request, own->permission, &own->answer);
    } else {
        api_begin(b->api, &request, &own->answer);
    }
}

/* Has a core written something for mail just now? */
static bool mail_comes_in(const struct backend *b, uint64_t now_ns)
{
    bool comes = false;
    for (unsigned i = 0; i < b->conf.cores; i++) {
        uint64_t synced_ns = pulse_synced_ns(b->conf.pulses[i]);
        comes = comes || (synced_ns > 0 && synced_ns + COMMIT_PACE_MAIL_MS * MX_NS_PER_MS > now_ns);
    }
    return comes;
}

static void hold_changes(struct backend *b, struct request_job *own)
{
    struct store_cost cost = store_take_cost(b->store);
    uint64_t now_ns = clock_monotonic_ns();
    if (cost.objects > 0 && mail_comes_in(b, now_ns)) {
        uint64_t hold_ns =
            commit_pace_hold_ns(&b->pace, cost.sync_ns, cost.objects, own->begun_ns, now_ns);
        own->held_until_ns = now_ns + hold_ns; /* of the last part, where there are several */
    }
}

static void request_run(struct worker_job *job)
{
    struct request_job *own = mx_container_of(job, struct request_job, job);
    const struct http_request *http = &own->exchange->request;
    struct backend *b = own->backend;
    if (b->api == NULL) {
        answer_unusable(b, &own->answer);
        return;
    }
    b->running = own;
    b->caller = &own->caller;
    b->peer = http->peer;
    (void)store_take_cost(b->store); /* of bans in between */
    request_step(own);
    hold_changes(b, own);
    b->running = NULL;
    job->again = own->answer.work != NULL;
    if (own->answer.status == 404) {
        ban_path(b->conf.ban, &http->peer, http->path);
    }
}

static void request_answer(struct request_job *own)
{
    const struct api_answer *a = &own->answer;
    struct http_answer answer = {.status = a->status,
                                 .content_type = a->content_type,
                                 .location = slice_of_text(a->location),
                                 .etag = slice_of_text(a->etag),
                                 .gzip = a->gzip,
                                 .len = a->len};
    char seconds[16];
    struct http_field retry_after = {.name = "Retry-After"};
    if (a->retry_after_s > 0) {
        int len = snprintf(seconds, sizeof seconds, "%" PRIu32, a->retry_after_s);
        retry_after.value = slice_of(seconds, (size_t)len);
        answer.fields = &retry_after;
        answer.field_count = 1;
    }
    answer.allow = a->allow;
    if (a->cache_control != NULL) {
        answer.cache_control = slice_of_text(a->cache_control);
    }
    if (a->status == 401) {
        answer.www_authenticate[0] = "Bearer realm=\"ringmx\", "
                                     "resource_metadata=\"/.well-known/oauth-protected-resource\"";
        answer.www_authenticate[1] = "Basic realm=\"ringmx\"";
    }
    if (a->is_static) {
        answer.body_static = slice_of(a->body, a->len);
    } else {
        answer.body = a->body;
    }
    own->backend->delayed -= own->delay.fire != NULL;
    http_answer(own->exchange, &answer);
    free(own);
}

static void delay_fire(struct timer *timer, uint64_t now_ns)
{
    (void)now_ns;
    request_answer(mx_container_of(timer, struct request_job, delay));
}

static void log_refused(struct backend *b, const struct request_job *own)
{
    struct log *log = &b->conf.shard->log;
    const struct auth_verdict *verdict = &own->verdict;
    struct log_line *line = log_begin_repeated(log, LOG_WARN, "sign-in-refused");
    char text[NETADDR_TEXT_MAX];
    struct writer w = writer_init(text, sizeof text);
    put_netaddr(&w, &own->exchange->request.peer);
    log_slice(line, "client", writer_slice(&w));
    log_text(line, "login", verdict->login);
    log_text(line, "reason", verdict->reason != NULL ? verdict->reason : "too many failures");
    if (verdict->result == AUTH_BANNED) {
        log_text(line, "effect", "this client is banned (Security.authBanRate)");
    }
    log_end(log, line);
}

static void request_done(struct worker_job *job)
{
    struct request_job *own = mx_container_of(job, struct request_job, job);
    struct backend *b = own->backend;
    enum auth_result result = own->verdict.result;
    if (result == AUTH_REFUSED || result == AUTH_BANNED) {
        log_refused(b, own);
    }
    if (own->permitted) {
        own->then(own->then_arg, own->exchange);
        free(own);
        return;
    }
    uint64_t now_ns = clock_monotonic_ns();
    uint64_t refusal_ns = own->verdict.delay_ms * MX_NS_PER_MS;
    uint64_t hold_ns = own->held_until_ns > now_ns ? own->held_until_ns - now_ns : 0;
    uint64_t delay_ns = refusal_ns > hold_ns ? refusal_ns : hold_ns;
    if (delay_ns > 0) {
        own->delay.fire = delay_fire;
        b->delayed++;
        shard_after(b->conf.shard, &own->delay, delay_ns);
        return;
    }
    request_answer(own);
}

static void submit(struct backend *b, struct http_exchange *exchange,
                   const struct request_job *request)
{
    struct request_job *own = malloc(sizeof *own);
    if (own != NULL) {
        *own = *request;
        own->backend = b;
        own->exchange = exchange;
        own->begun_ns = clock_monotonic_ns();
        own->job = (struct worker_job){.run = request_run, .done = request_done};
        if (worker_submit(b->conf.worker, &own->job) == MX_OK) {
            return;
        }
        free(own);
    }
    struct http_answer busy = http_problem(503, "management is busy; try again in a moment");
    http_answer(exchange, &busy);
}

void backend_request(struct backend *b, struct http_exchange *exchange)
{
    submit(b, exchange, &(struct request_job){0});
}

void backend_permit(struct backend *b, struct http_exchange *exchange, const char *permission,
                    backend_then_fn then, void *arg)
{
    submit(b, exchange,
           &(struct request_job){.permission = permission, .then = then, .then_arg = arg});
}

/* --- life --------------------------------------------------------------------------------------
 */

/* For administrators: what is unusual, and what has been in force since when. */
static json_t *on_health(void *arg)
{
    struct backend *b = arg;
    const struct environment *env = b->conf.env;
    bool recovery_admin = env->recovery_user[0] != '\0';
    int behind = publisher_behind(b->conf.publisher);
    return json_pack(
        "{s:s,s:s?,s:s?,s:I,s:o}", "mode", env->recovery_mode ? "recovery" : "normal",
        "recoveryAdministrator", recovery_admin ? env->recovery_user : NULL, "advice",
        recovery_admin
            ? "STALWART_RECOVERY_ADMIN may do everything, past all accounts; unset it when "
              "it is not needed any more"
            : NULL,
        "configGeneration", (json_int_t)publisher_generation(b->conf.publisher), "coreBehind",
        behind < 0 ? json_null() : json_integer(behind));
}

static mx_err api_open(struct backend *b)
{
    b->actions = (struct api_actions){.arg = b, .act = backend_action};
    b->foreign[0] = api_actions_type(&b->actions);
    b->queue = (struct api_queue){.queue = b->conf.queue};
    b->pause = b->conf.pause;
    b->foreign[1] = api_queue_type(&b->queue);
    struct api_conf conf = {.store = b->store,
                            .public_url = slice_of_text(b->conf.env->public_url),
                            .arg = b,
                            .authenticate = on_authenticate,
                            .guard = backend_guard,
                            .prepare = on_prepare,
                            .discard = on_discard,
                            .publish = on_publish,
                            .changed = on_changed,
                            .health = on_health,
                            .explain = backend_explain,
                            .dry_run = backend_dry_run,
                            .download = backend_download,
                            .shape = backend_shape,
                            .trace = backend_trace,
                            .foreign = b->foreign,
                            .foreign_count = mx_countof(b->foreign)};
    return api_new(&b->api, &conf);
}

static bool on_ban(void *arg, const struct netaddr *peer)
{
    struct backend *b = arg;
    return ban_add(b->conf.ban, OFFENCE_AUTH, peer);
}

static mx_err auth_open(struct backend *b)
{
    struct auth_conf conf = {.store = b->store,
                             .recovery_user = slice_of_text(b->conf.env->recovery_user),
                             .recovery_password = slice_of_text(b->conf.env->recovery_password),
                             .arg = b,
                             .ban = on_ban};
    return auth_new(&b->auth, &conf);
}

/* STALWART_RECOVERY_ADMIN takes the place of the one that is made. */
static mx_err first_administrator(struct backend *b)
{
    char password[BOOTSTRAP_PASSWORD_CHARS + 1];
    bool made = false;
    if (b->conf.env->recovery_user[0] != '\0') {
        return MX_OK;
    }
    mx_err err = bootstrap_make(b->store, &made, password);
    if (!err && made) {
        fprintf(stderr,
                "ringmx: the first administrator is '%s' with the password '%s'; it is not shown "
                "again\n",
                BOOTSTRAP_USER, password);
    }
    explicit_bzero(password, sizeof password);
    return err;
}

static bool run_between_jobs(void *arg)
{
    struct backend *b = arg;
    publisher_settle(b->conf.publisher);
    return ban_run(b->conf.ban);
}

mx_err backend_open(struct backend **out_backend, const struct backend_conf *conf)
{
    struct backend *b = calloc(1, sizeof *b);
    if (b == NULL) {
        return MX_ERR_NOMEM;
    }
    b->conf = *conf;
    b->unusable = store_open(&b->store, conf->data_dir, &b->problem);
    if (!b->unusable) {
        mx_err err = auth_open(b);
        err = err ? err : first_administrator(b);
        err = err ? err : api_open(b);
        if (err) {
            backend_close(b);
            return err;
        }
        ban_open(conf->ban, b->store, conf->publisher);
        b->idle = (struct worker_idle){.run = run_between_jobs, .arg = b};
        worker_set_idle(conf->worker, &b->idle);
    }
    *out_backend = b;
    return MX_OK;
}

void backend_stop(struct backend *b)
{
    atomic_store_explicit(&b->stopping, true, memory_order_relaxed);
}

bool backend_idle(const struct backend *b)
{
    return b == NULL || b->delayed == 0;
}

void backend_close(struct backend *b)
{
    if (b != NULL) {
        MX_ASSERT(b->delayed == 0);
        api_free(b->api);
        auth_free(b->auth);
        store_close(b->store);
        free(b);
    }
}
