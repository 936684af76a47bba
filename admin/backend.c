#include "admin/backend.h"

#include "admin/api.h"
#include "core/check.h"

#include <stdio.h>
#include <stdlib.h>

struct backend {
    struct backend_conf conf;
    struct store *store; /* NULL: unusable, see problem */
    struct api *api;
    struct config_problem problem;
};

/* One request on its way through the worker. */
struct request_job {
    struct worker_job job;
    struct backend *backend;
    struct http_exchange *exchange;
    struct api_answer answer;
};

/* --- hooks of the API --------------------------------------------------------------------------
 */

static bool temp_may(void *arg, const char *permission)
{
    (void)arg;
    (void)permission;
    return true;
}

static enum api_sign_in on_authenticate(void *arg, struct slice authorization,
                                        const struct netaddr *peer, struct api_caller *out)
{
    static const char d[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    struct backend *b = arg;
    char plain[600], text[1000] = "Basic ";
    (void)peer;
    int len = snprintf(plain, sizeof plain, "%s:%s", b->conf.env->recovery_user,
                       b->conf.env->recovery_password);
    size_t at = 6;
    for (int i = 0; i < len; i += 3) {
        unsigned v = (unsigned char)plain[i] << 16 |
                     (i + 1 < len ? (unsigned char)plain[i + 1] << 8 : 0) |
                     (i + 2 < len ? (unsigned char)plain[i + 2] : 0);
        text[at++] = d[v >> 18];
        text[at++] = d[v >> 12 & 63];
        text[at++] = i + 1 < len ? d[v >> 6 & 63] : '=';
        text[at++] = i + 2 < len ? d[v & 63] : '=';
    }
    *out = (struct api_caller){.may = temp_may};
    (void)snprintf(out->name, sizeof out->name, "%s", b->conf.env->recovery_user);
    (void)snprintf(out->account_id, sizeof out->account_id, "d333333");
    return b->conf.env->recovery_user[0] != '\0' && slice_equal(authorization, slice_of(text, at))
               ? API_SIGNED_IN
               : API_REFUSED;
}

/* The object at fault: the first of the type that does not compile. */
static size_t change_at_fault(const struct object_change *changes, size_t count,
                              const struct reg_type *type)
{
    for (size_t i = 0; type != NULL && i < count; i++) {
        if (changes[i].type == type) {
            return i;
        }
    }
    return API_ANY_CHANGE;
}

static void problem_set(struct api_problem *out, const struct config_problem *problem)
{
    (void)snprintf(out->text, sizeof out->text, "%.*s", (int)sizeof out->text - 1, problem->text);
}

static mx_err on_prepare(void *arg, const struct object_change *changes, size_t count,
                         struct api_problem *problem)
{
    struct backend *b = arg;
    const struct reg_type *type;
    struct config_problem text = {{0}};
    mx_err err = publisher_prepare(b->conf.publisher, b->store, changes, count, &type, &text);
    if (!err) {
        return MX_OK;
    }
    problem_set(problem, &text);
    problem->change = change_at_fault(changes, count, type);
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
    struct config_problem text = {{0}};
    (void)changes;
    (void)count;
    mx_err err = publisher_apply(b->conf.publisher, store_generation(b->store), &text);
    problem_set(problem, &text);
    return err;
}

/* --- jobs --------------------------------------------------------------------------------------
 */

static void answer_unusable(struct backend *b, struct api_answer *answer)
{
    char *body = malloc(HTTP_PROBLEM_MAX);
    struct writer w = writer_init(body, body == NULL ? 0 : HTTP_PROBLEM_MAX);
    http_problem_put(&w, 503, b->problem.text);
    *answer = (struct api_answer){.status = 503,
                                  .content_type = "application/problem+json",
                                  .body = (uint8_t *)body,
                                  .len = w.len};
}

static void request_run(struct worker_job *job)
{
    struct request_job *own = mx_container_of(job, struct request_job, job);
    const struct http_request *http = &own->exchange->request;
    struct api_request request = {.method = http->method,
                                  .path = http->path,
                                  .host = http->host,
                                  .authorization = http->authorization,
                                  .content_type = http->content_type,
                                  .body = http->body,
                                  .peer = http->peer,
                                  .tls = http->tls};
    if (own->backend->api == NULL) {
        answer_unusable(own->backend, &own->answer);
    } else {
        api_run(own->backend->api, &request, &own->answer);
    }
}

static void request_done(struct worker_job *job)
{
    struct request_job *own = mx_container_of(job, struct request_job, job);
    const struct api_answer *a = &own->answer;
    struct http_answer answer = {.status = a->status,
                                 .content_type = a->content_type,
                                 .location = slice_of_text(a->location),
                                 .gzip = a->gzip,
                                 .len = a->len};
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
    http_answer(own->exchange, &answer);
    free(own);
}

void backend_request(struct backend *b, struct http_exchange *exchange)
{
    struct request_job *own = calloc(1, sizeof *own);
    if (own != NULL) {
        own->backend = b;
        own->exchange = exchange;
        own->job = (struct worker_job){.run = request_run, .done = request_done};
        if (worker_submit(b->conf.worker, &own->job) == MX_OK) {
            return;
        }
        free(own);
    }
    struct http_answer busy = http_problem(503, "management is busy; try again in a moment");
    http_answer(exchange, &busy);
}

/* --- life --------------------------------------------------------------------------------------
 */

static mx_err api_open(struct backend *b)
{
    struct api_conf conf = {.store = b->store,
                            .public_url = slice_of_text(b->conf.env->public_url),
                            .arg = b,
                            .authenticate = on_authenticate,
                            .prepare = on_prepare,
                            .discard = on_discard,
                            .publish = on_publish};
    return api_new(&b->api, &conf);
}

mx_err backend_open(struct backend **out_backend, const struct backend_conf *conf)
{
    struct backend *b = calloc(1, sizeof *b);
    if (b == NULL) {
        return MX_ERR_NOMEM;
    }
    b->conf = *conf;
    mx_err err = store_open(&b->store, conf->data_dir, &b->problem);
    if (!err && api_open(b) != MX_OK) {
        backend_close(b);
        return MX_ERR_NOMEM;
    }
    *out_backend = b;
    return MX_OK;
}

void backend_close(struct backend *b)
{
    if (b != NULL) {
        api_free(b->api);
        store_close(b->store);
        free(b);
    }
}
