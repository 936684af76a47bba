#include "smtp/service.h"

#include "core/check.h"
#include "io/tls.h"
#include "smtp/spool_adopt.h"
#include "smtp/srv_conn.h"

#include <stdlib.h>

static void turn(struct shard_hook *hook);

struct routing_context service_routing(const struct service *service)
{
    return (struct routing_context){.image = service->image,
                                    .directory = service->directory,
                                    .vm = service->deliver.vm,
                                    .now_ms = service->shard->wall_ms,
                                    .schedule = &service->deliver.conf.schedule};
}

bool service_has_memory(const struct service *service)
{
    const struct pool *blocks = &service->shard->blocks;
    return blocks->used * 100 <= blocks->slots_max * service->performance.overload_memory;
}

/* --- tuning ------------------------------------------------------------------------------------
 */

static size_t blocks_wanted(const struct service *service, const struct performance *performance)
{
    size_t blocks = (size_t)(performance->content_bytes / BLOCK_BYTES);
    return blocks > 0 ? blocks : service->shard->conf.blocks_max;
}

mx_err service_tune_prepare(struct service *service, const struct image *image)
{
    struct performance performance = performance_complete(&image->performance);
    mx_err err = performance.trace_bytes == service->performance.trace_bytes
                     ? MX_OK
                     : trace_prepare(&service->next_trace, performance.trace_bytes);
    return err ? err
               : pool_limit_prepare(&service->shard->blocks, blocks_wanted(service, &performance));
}

void service_tune_cancel(struct service *service)
{
    trace_fini(&service->next_trace);
}

void service_tune(struct service *service, const struct image *image)
{
    struct performance performance = performance_complete(&image->performance);
    struct shard *shard = service->shard;
    struct journal_tuning journal = {.commit_delay_ns = performance.commit_delay_us * 1000,
                                     .lazy_ns = performance.outcome_delay_ms * MX_NS_PER_MS,
                                     .group_records = (uint32_t)performance.commit_records};
    if (performance.receive_buffers != service->performance.receive_buffers) {
        ring_recv_resize(shard->ring, (unsigned)performance.receive_buffers);
    }
    shard->reap_max = (unsigned)performance.turn_completions;
    pool_limit(&shard->blocks, blocks_wanted(service, &performance));
    journal_tune(service->spool.journal, &journal);
    if (performance.trace_bytes != service->performance.trace_bytes) {
        trace_switch(&service->trace, &service->next_trace);
    }
    service->performance = performance;
}

/* --- opening -----------------------------------------------------------------------------------
 */

/* Here and not by the session, which may have ended before the message was durable. */
static void log_received(struct service *service, const struct message *msg, const struct txn *txn)
{
    const struct envelope *env = &txn->env;
    struct log *log = &service->shard->log;
    struct log_line *line = log_begin(log, LOG_INFO, "received");
    if (line == NULL) {
        return;
    }
    log_qid(line, "id", msg->id);
    log_session(line, txn->session);
    log_client(line, &env->client);
    log_slice(line, "helo", env->helo);
    log_text(line, "tls", txn->tls);
    log_slice(line, "from", env->sender);
    log_slice(line, "to", env->rcpts[0].address);
    log_u64(line, "recipients", env->rcpt_count);
    log_u64(line, "bytes", msg->body_bytes);
    log_u64(line, "session-ms", (service->shard->now_ns - txn->connected_ns) / MX_NS_PER_MS);
    log_end(log, line);
}

/* Recipients are found by their addresses before anything has been tried for them. The first is in
 * the record of the arrival, unless long names before it leave no room. */
static void trace_rcpts(struct service *service, const struct message *msg,
                        const struct envelope *env)
{
    struct log *log = &service->shard->log;
    uint32_t count = env->rcpt_count < SERVICE_TRACE_RCPTS ? env->rcpt_count : SERVICE_TRACE_RCPTS;
    size_t names = env->helo.len + env->sender.len + env->rcpts[0].address.len;
    for (uint32_t i = names > SERVICE_TRACE_TEXT ? 0 : 1; i < count; i++) {
        struct log_line *line = log_begin_trace(log, "recipient");
        log_qid(line, "id", msg->id);
        log_slice(line, "to", env->rcpts[i].address);
        log_end(log, line);
    }
}

static void recovered(void *arg, struct message *msg)
{
    struct service *service = arg;
    if (msg->hold != NULL) {
        quotas_restore(&service->quotas, msg->hold);
    }
    deliver_recovered(&service->deliver, msg);
}

static void adopted(void *arg)
{
    struct service *service = arg;
    if (service->conf.takeover != NULL) {
        takeover_taken(service->conf.takeover, service->shard);
    }
}

void service_adopt(struct service *service, struct spool_part *part)
{
    if (!service->stopping) { /* what is not taken over stays on the disk */
        spool_adopt(&service->spool, part);
    }
}

static void queued(void *arg, struct message *msg, struct txn *txn, struct chain *content)
{
    struct service *service = arg;
    if (txn->env.source == SOURCE_SMTP) {
        count_one(&service->mail_stats.messages);
        hdr_add(&service->mail_stats.message_bytes, msg->body_bytes);
        log_received(service, msg, txn);
        trace_rcpts(service, msg, &txn->env);
    }
    deliver_queued(&service->deliver, msg, txn, content);
}

static void ended(void *arg, struct message *msg)
{
    struct service *service = arg;
    deliver_ended(&service->deliver, msg);
}

static void released(void *arg, struct quota_hold *hold)
{
    struct service *service = arg;
    quotas_release(&service->quotas, hold);
}

static const struct spool_ops spool_callbacks = {.recovered = recovered,
                                                 .adopted = adopted,
                                                 .queued = queued,
                                                 .ended = ended,
                                                 .released = released};

static mx_err directory_fill(struct service *service)
{
    const struct service_conf *conf = &service->conf;
    mx_err err = directory_new(&service->directory, conf->hash_seed);
    if (!err) {
        err = directory_reserve(service->directory, conf->domain_count, conf->address_count);
    }
    for (size_t i = 0; !err && i < conf->domain_count; i++) {
        err = directory_put_domain(service->directory, &conf->domains[i]);
    }
    for (const struct dir_block *block = conf->addresses; !err && block != NULL;
         block = block->next) {
        err = directory_put_block(service->directory, block);
    }
    return err;
}

static mx_err listeners_open(struct service *service)
{
    mx_err err = listeners_prepare(service, service->image, service->conf.listen_fds);
    if (!err) {
        listeners_switch(service, service->image);
    }
    return err;
}

static mx_err tls_open(struct service *service)
{
    struct tls_server_conf conf = {.cert_pem = service->conf.cert_pem,
                                   .key_pem = service->conf.key_pem,
                                   .tickets = service->conf.tickets};
    return tls_server_ctx_new(&service->tls_server, &conf);
}

static mx_err queue_open(struct service *service)
{
    return spool_open(&service->spool, service->shard, service->conf.store, &spool_callbacks,
                      service);
}

/* False: as before. */
static bool resolver_choose(struct service *service)
{
    const struct resolver_conf *conf = &service->image->resolver;
    struct resolv_conf chosen = service->conf.names->resolv;
    if (conf->server_count > 0) {
        unsigned count =
            conf->server_count < RESOLV_SERVERS_MAX ? conf->server_count : RESOLV_SERVERS_MAX;
        resolv_custom(&chosen, conf->servers, count);
        chosen.timeout_ms = conf->timeout_ms;
        chosen.attempts = conf->attempts;
    }
    if (resolv_equal(&chosen, &service->resolv)) {
        return false;
    }
    service->resolv = chosen;
    return true;
}

void service_resolver_switch(struct service *service)
{
    if (resolver_choose(service)) {
        dns_configure(&service->dns, &service->resolv);
    }
}

static mx_err lookups_open(struct service *service)
{
    (void)resolver_choose(service);
    return dns_open(&service->dns, service->shard, &service->resolv);
}

static mx_err delivery_open(struct service *service)
{
    service->conf.deliver.keys = &service->keys;
    service->conf.deliver.dns = &service->dns;
    service->conf.deliver.names = service->conf.names;
    service->conf.deliver.rates = service->conf.rates;
    return deliver_open(&service->deliver, service->shard, &service->spool, service->image,
                        service->directory, &service->conf.deliver);
}

/* After the journal. */
static mx_err tuning_open(struct service *service)
{
    mx_err err = service_tune_prepare(service, service->image);
    if (!err) {
        service_tune(service, service->image);
    }
    return err;
}

static mx_err sessions_open(struct service *service)
{
    /* The kernel may give one core all of them. Memory is taken when it is needed. */
    mx_err err = pool_init(&service->sessions_pool, "sessions", sizeof(struct srv_conn),
                           SERVICE_SESSIONS_MAX);
    return err ? err
               : pool_init(&service->waits, "waiting-commands", sizeof(struct srv_wait),
                           SRV_WAITS_MAX);
}

static mx_err counters_open(struct service *service)
{
    return quotas_open(&service->quotas, service->shard);
}

static mx_err store_open(struct service *service)
{
    return keys_open(&service->keys, service->shard, service->conf.keys_seed);
}

static const struct {
    const char *what;
    mx_err (*open)(struct service *service);
} parts[] = {
    {"session memory", sessions_open},
    {"address tables", directory_fill},
    {"TLS certificate", tls_open},
    {"counters of quotas", counters_open},
    {"keys of expressions", store_open},
    {"spool and journal", queue_open},
    {"tuning", tuning_open},
    {"name lookups", lookups_open},
    {"delivery", delivery_open},
    {"listeners", listeners_open},
};

mx_err service_open(struct service *service, struct shard *shard, const struct service_conf *conf,
                    const char **out_what)
{
    *service = (struct service){.shard = shard, .conf = *conf, .image = conf->image};
    service->generation = conf->image->generation;
    list_init(&service->sessions);
    list_init(&service->proxy_waits);
    list_init(&service->refused);
    list_init(&service->listeners);
    offences_init(&service->offences, &conf->offences, shard);
    for (size_t i = 0; i < mx_countof(parts); i++) {
        mx_err err = parts[i].open(service);
        if (err) {
            *out_what = parts[i].what;
            service_close(service);
            return err;
        }
    }
    service->hook.turn = turn;
    shard_add_hook(shard, &service->hook);
    queue_view_open(&service->queue_view, shard);
    shard->service = service;
    shard->log.trace = &service->trace;
    return MX_OK;
}

void service_start(struct service *service)
{
    service->started = true;
    listeners_start(service);
}

/* --- the end -----------------------------------------------------------------------------------
 */

static void sessions_stop(struct service *service, bool force)
{
    struct list_node *node = list_first(&service->sessions);
    while (node != NULL) {
        struct list_node *next = list_next(&service->sessions, node);
        srv_conn_stop(mx_container_of(node, struct srv_conn, node), force);
        node = next;
    }
}

static void stop_tick(struct timer *timer, uint64_t now_ns)
{
    struct service *service = mx_container_of(timer, struct service, stop_timer);
    uint64_t passed_ms = (now_ns - service->stop_ns) / MX_NS_PER_MS;
    sessions_stop(service, passed_ms >= SERVICE_STOP_MS);
    if (passed_ms >= SERVICE_DRAIN_MS) {
        deliver_abort(&service->deliver);
    }
    if (!service->ended) {
        shard_after(service->shard, &service->stop_timer, 200 * MX_NS_PER_MS);
    }
}

void service_stop(struct service *service)
{
    if (service->stopping) {
        return;
    }
    service->stopping = true;
    service->stop_ns = service->shard->now_ns;
    listeners_stop(service);
    quotas_stop(&service->quotas);
    deliver_stop(&service->deliver);
    keys_stop(&service->keys);
    dns_stop(&service->dns);
    sessions_stop(service, false);
    service->stop_timer.fire = stop_tick;
    shard_after(service->shard, &service->stop_timer, 200 * MX_NS_PER_MS);
}

/* Once per turn while stopping: is everything done? */
static void turn(struct shard_hook *hook)
{
    struct service *service = mx_container_of(hook, struct service, hook);
    if (!service->stopping || service->ended) {
        return;
    }
    if (!listeners_closed(service) || !list_empty(&service->sessions) ||
        service->spool.incomings.used > 0 || !deliver_quiet(&service->deliver) ||
        !dns_quiet(&service->dns)) {
        return;
    }
    journal_flush(service->spool.journal);
    if (!spool_quiet(&service->spool)) {
        return;
    }
    service->ended = true;
    wheel_cancel(&service->shard->wheel, &service->stop_timer);
    service->conf.stopped(service);
}

void service_close(struct service *service)
{
    service->shard->log.trace = NULL;
    offences_close(&service->offences);
    trace_fini(&service->trace);
    trace_fini(&service->next_trace);
    service_update_close(service);
    listeners_free(service);
    deliver_close(&service->deliver);     /* its hops have texts of the spool */
    if (service->spool.journal != NULL) { /* else opening had failed before it */
        spool_close(&service->spool);
    }
    quotas_close(&service->quotas);
    keys_close(&service->keys);
    dns_close(&service->dns);
    tls_ctx_free(service->tls_server);
    directory_free(service->directory);
    pool_fini(&service->sessions_pool);
    pool_fini(&service->waits);
    service->shard->service = NULL;
}
