#include "admin/management.h"

#include "admin/backend.h"
#include "admin/discovery.h"
#include "admin/metrics.h"
#include "admin/publish.h"
#include "admin/web.h"
#include "core/check.h"
#include "smtp/service_update.h"

#include <stdlib.h>

struct management {
    struct management_conf conf;
    struct http_server http;
    struct http_listener listener;
    struct sampler *sampler;
    struct offences offences;
    unsigned requests; /* not answered yet */
    bool http_stopped;
    bool watch_stopped;
};

/* A request that waits for samples. */
struct sampled {
    struct sampler_wait wait;
    struct management *management;
    struct http_exchange *exchange;
    void (*render)(struct sampled *sampled, const struct sample *samples, unsigned cores);
};

static void answer_problem(struct http_exchange *exchange, unsigned status, const char *detail)
{
    struct http_answer answer = http_problem(status, detail);
    http_answer(exchange, &answer);
}

/* --- health and statistics ---------------------------------------------------------------------
 */

static void on_samples(struct sampler_wait *wait, const struct sample *samples, unsigned cores)
{
    struct sampled *sampled = mx_container_of(wait, struct sampled, wait);
    sampled->render(sampled, samples, cores);
    sampled->management->requests--;
    free(sampled);
}

static void ask_cores(struct management *m, struct http_exchange *exchange,
                      void (*render)(struct sampled *, const struct sample *, unsigned))
{
    struct sampled *sampled = calloc(1, sizeof *sampled);
    if (sampled == NULL) {
        answer_problem(exchange, 503, "out of memory");
        return;
    }
    sampled->wait.done = on_samples;
    sampled->management = m;
    sampled->exchange = exchange;
    sampled->render = render;
    m->requests++;
    sampler_ask(m->sampler, &sampled->wait);
}

static void render_text(struct sampled *sampled, const struct sample *samples, unsigned cores,
                        void (*put)(struct writer *, const struct sample *, unsigned),
                        const char *content_type)
{
    size_t cap = METRICS_BYTES_BASE + (size_t)cores * METRICS_BYTES_PER_CORE;
    struct writer w = {.overflow = true};
    uint8_t *body = NULL;
    for (; w.overflow && cap <= METRICS_BYTES_MAX; cap *= 2) {
        free(body);
        body = malloc(cap);
        if (body == NULL) {
            break;
        }
        w = writer_init(body, cap);
        put(&w, samples, cores);
    }
    if (w.overflow) {
        free(body);
        answer_problem(sampled->exchange, 503, "out of memory");
        return;
    }
    struct http_answer answer = {
        .status = 200, .content_type = content_type, .body = body, .len = w.len};
    http_answer(sampled->exchange, &answer);
}

static void render_metrics(struct sampled *sampled, const struct sample *samples, unsigned cores)
{
    render_text(sampled, samples, cores, metrics_prometheus, "text/plain; version=0.0.4");
}

static void render_stats(struct sampled *sampled, const struct sample *samples, unsigned cores)
{
    render_text(sampled, samples, cores, metrics_json, "application/json");
}

/* Every core would take a message, and runs the committed configuration. */
static void render_ready(struct sampled *sampled, const struct sample *samples, unsigned cores)
{
    int behind = publisher_behind(sampled->management->conf.publisher);
    char detail[HTTP_PROBLEM_MAX / 2];
    struct writer w = writer_init(detail, sizeof detail - 1);
    for (unsigned i = 0; i < cores && w.len == 0; i++) {
        if (!samples[i].fresh || !samples[i].snapshot.ready) {
            put_text(&w, "core ");
            put_decimal(&w, i);
            put_text(&w, ": ");
            put_text(&w, samples[i].fresh ? samples[i].snapshot.not_ready : "does not answer");
        }
    }
    if (w.len == 0 && behind >= 0) {
        put_text(&w, "core ");
        put_decimal(&w, (uint64_t)behind);
        put_text(&w, ": is behind the committed configuration");
    }
    if (w.len == 0 && cores == 0) {
        put_text(&w, "recovery mode: no mail is accepted");
    }
    detail[w.len] = '\0';
    answer_problem(sampled->exchange, w.len == 0 ? 200 : 503, w.len == 0 ? "ready" : detail);
}

static void get_live(struct management *m, struct http_exchange *exchange)
{
    (void)m;
    answer_problem(exchange, 200, "alive");
}

static void get_ready(struct management *m, struct http_exchange *exchange)
{
    ask_cores(m, exchange, render_ready);
}

static void get_metrics(struct management *m, struct http_exchange *exchange)
{
    ask_cores(m, exchange, render_metrics);
}

static void get_stats(struct management *m, struct http_exchange *exchange)
{
    ask_cores(m, exchange, render_stats);
}

/* --- requests ----------------------------------------------------------------------------------
 */

static const struct page {
    const char *path;
    void (*get)(struct management *m, struct http_exchange *exchange);
    bool guarded; /* for everybody on this machine, and elsewhere for who has STATS_PERMISSION */
} pages[] = {
    {"/healthz/live", get_live, false}, {"/healthz/ready", get_ready, false},
    {"/metrics", get_metrics, true},    {"/metrics/prometheus", get_metrics, true},
    {"/stats", get_stats, true},
};

#define STATS_PERMISSION "sysSystemSettingsGet"

static const struct page *find_page(struct slice path)
{
    for (size_t i = 0; i < mx_countof(pages); i++) {
        if (slice_equal(path, slice_of_text(pages[i].path))) {
            return &pages[i];
        }
    }
    return NULL;
}

static void on_permitted(void *arg, struct http_exchange *exchange)
{
    find_page(exchange->request.path)->get(arg, exchange);
}

static void get_page(struct management *m, struct http_exchange *exchange, const struct page *page)
{
    const struct http_request *request = &exchange->request;
    if (request->verb != HTTP_VERB_GET && request->verb != HTTP_VERB_HEAD) {
        struct http_answer answer = http_problem(405, "only GET and HEAD");
        answer.allow = "GET, HEAD";
        http_answer(exchange, &answer);
    } else if (page->guarded && !netaddr_is_loopback(&request->peer)) {
        backend_permit(m->conf.backend, exchange, STATS_PERMISSION, on_permitted, m);
    } else {
        page->get(m, exchange);
    }
}

/* The documents of OAuth, for this server as the client calls it. */
static bool get_discovery(struct management *m, struct http_exchange *exchange)
{
    const struct http_field anybody[] = {{"Access-Control-Allow-Origin", SLICE_LITERAL("*")}};
    const struct http_request *request = &exchange->request;
    int document = discovery_find(request->path);
    if (document < 0) {
        return false;
    }
    char base[DISCOVERY_BASE_MAX];
    struct writer url = writer_init(base, sizeof base);
    if (m->conf.public_url[0] != '\0') {
        put_text(&url, m->conf.public_url);
    } else {
        put_text(&url, request->tls ? "https://" : "http://");
        put_slice(&url, request->host);
    }
    uint8_t *body = malloc(DISCOVERY_BYTES_MAX);
    if (body == NULL || url.overflow) {
        free(body);
        answer_problem(exchange, 503, "out of memory");
        return true;
    }
    struct writer w = writer_init(body, DISCOVERY_BYTES_MAX);
    put_discovery(&w, (enum discovery_document)document, writer_slice(&url));
    struct http_answer answer = {.status = 200,
                                 .content_type = "application/json",
                                 .fields = anybody,
                                 .field_count = 1,
                                 .body = body,
                                 .len = w.len};
    http_answer(exchange, &answer);
    return true;
}

/* --- who is served -----------------------------------------------------------------------------
 */

static bool in_proxy_networks(const struct image *image, const struct netaddr *peer)
{
    for (uint32_t i = 0; i < image->proxy_network_count; i++) {
        if (netmask_contains(&image->proxy_networks[i], peer)) {
            return true;
        }
    }
    return false;
}

/* As for mail: loopback, allowed clients and proxies never are. Recovery mode serves everybody. */
static bool is_blocked(const struct management *m, const struct netaddr *peer)
{
    const struct image *image = m->conf.image;
    int64_t wall_ms = m->conf.shard->wall_ms;
    return image != NULL && netset_has(image->blocked, peer, wall_ms) &&
           !netaddr_is_loopback(peer) && !netset_has(image->allowed, peer, wall_ms) &&
           !in_proxy_networks(image, peer);
}

void management_watch(struct mbox_msg *msg, struct shard *at)
{
    struct service_update *update = mx_container_of(msg, struct service_update, msg);
    struct management *m = at->service;
    if (m != NULL) {
        m->conf.image = update->change->image;
        overload_watch_image(m->conf.overload, m->conf.image);
    }
    mx_err err = mbox_send(at->hub, at->conf.id, update->reply_to, &update->reply);
    MX_ASSERT(err == MX_OK); /* one change at a time */
}

static void on_malformed(void *arg, const struct netaddr *peer)
{
    offences_note(&((struct management *)arg)->offences, OFFENCE_SCAN, peer, 1);
}

static void on_request(void *arg, struct http_exchange *exchange)
{
    struct management *m = arg;
    const struct http_request *request = &exchange->request;
    if (is_blocked(m, &request->peer)) {
        struct http_answer answer = http_problem(403, "Forbidden");
        answer.close = true;
        http_answer(exchange, &answer);
        return;
    }
    const struct page *page = find_page(request->path);
    if (page != NULL) {
        get_page(m, exchange, page);
        return;
    }
    if (!get_discovery(m, exchange)) {
        backend_request(m->conf.backend, exchange);
    }
}

/* --- life --------------------------------------------------------------------------------------
 */

static void on_http_stopped(void *arg)
{
    ((struct management *)arg)->http_stopped = true;
}

mx_err management_open(struct management **out_management, const struct management_conf *conf)
{
    struct management *m = calloc(1, sizeof *m);
    if (m == NULL) {
        return MX_ERR_NOMEM;
    }
    m->conf = *conf;
    offences_init(&m->offences, &conf->offences, conf->shard);
    struct http_server_conf http = {.shard = conf->shard,
                                    .limits = http_limits_default(),
                                    .arg = m,
                                    .request = on_request,
                                    .malformed = on_malformed,
                                    .stopped = on_http_stopped};
    mx_err err = sampler_new(&m->sampler, conf->shard, conf->cores, conf->pulses);
    err = err ? err : http_server_init(&m->http, &http);
    if (err) {
        sampler_free(m->sampler);
        free(m);
        return err;
    }
    conf->shard->service = m;
    if (conf->listen_fd >= 0) {
        http_listen(&m->listener, &m->http, conf->listen_fd, NULL);
    }
    web_start(conf->web, &m->http);
    *out_management = m;
    return MX_OK;
}

void management_stop(struct management *m, bool force)
{
    m->watch_stopped = overload_watch_stop(m->conf.overload);
    backend_stop(m->conf.backend);
    http_server_stop(&m->http, force);
}

bool management_idle(const struct management *m)
{
    return m == NULL || (m->http.exchanges_count == 0 && worker_pending(m->conf.worker) == 0);
}

bool management_stopped(const struct management *m)
{
    return m->http_stopped && m->watch_stopped && m->requests == 0 &&
           worker_pending(m->conf.worker) == 0 && backend_idle(m->conf.backend);
}

void management_close(struct management *m)
{
    if (m != NULL) {
        MX_ASSERT(management_stopped(m));
        m->conf.shard->service = NULL;
        offences_close(&m->offences);
        http_server_fini(&m->http);
        sampler_free(m->sampler);
        overload_watch_free(m->conf.overload);
        free(m);
    }
}
