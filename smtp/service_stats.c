#include "smtp/service_stats.h"

#include "core/check.h"
#include "io/clock.h"
#include "smtp/service.h"

/* The reason that a client would be given. */
static const char *why_not_ready(const struct service *service)
{
    if (service->stopping) {
        return "stopping";
    }
    if (!service->started) {
        return "starting";
    }
    if (!service_has_memory(service)) {
        return "out of memory for content";
    }
    switch (journal_room(service->spool.journal, 0, 0)) {
    case MX_OK:
        return shed_not_ready(&service->shed);
    case MX_ERR_NOSPACE:
        return "disk full";
    default:
        return "the journal cannot be written";
    }
}

/* The hops are looked through at every turn anyway. */
static void take_hops(const struct deliver *deliver, struct service_snapshot *out)
{
    struct list_node *node = list_first(&deliver->hops);
    out->hops = out->hops_down = out->hops_waiting = out->hops_connections = 0;
    for (; node != NULL; node = list_next(&deliver->hops, node)) {
        const struct hop *hop = mx_container_of(node, struct hop, all_node);
        out->hops++;
        out->hops_down += hop->down;
        out->hops_waiting += hop->waiting_count;
        out->hops_connections += hop->connections;
    }
}

static void add_row(struct service_snapshot *out, unsigned *count, const struct pool_row *row)
{
    MX_ASSERT(*count < STATS_POOLS_MAX);
    out->pools[(*count)++] = *row;
}

static void add_pool(struct service_snapshot *out, unsigned *count, const struct pool *pool)
{
    add_row(out, count,
            &(struct pool_row){.name = pool->name,
                               .used = pool->used * pool->slot_bytes,
                               .used_peak = pool->used_peak * pool->slot_bytes,
                               .taken = pool->slab_count * pool->slots_per_slab * pool->slot_bytes,
                               .limit = pool->slots_max * pool->slot_bytes});
}

/* What is not in pools. */
static void add_tables(const struct service *service, struct service_snapshot *out, unsigned *count)
{
    const struct deliver *deliver = &service->deliver;
    const struct dns_cache *names = &service->dns.cache;
    const uint64_t kept = verify_cache_bytes(&deliver->verify.cache);
    const uint64_t directory = out->directory.memory_bytes;
    struct key_table_stats keys;
    keys_stats(&service->keys, &keys);
    const struct answer_memory *answers = &service->keys.answers;
    /* More than all are free while some that are too many have not come back yet. */
    const struct ring_stats *ring = &out->ring;
    uint64_t lent = ring->recv_free < ring->recv_count ? ring->recv_count - ring->recv_free : 0;
    uint64_t buffers = ring->recv_count * RING_RECV_BYTES;
    const struct pool_row rows[] = {
        {.name = "receive-buffers",
         .used = lent * RING_RECV_BYTES,
         .used_peak = buffers,
         .taken = buffers,
         .limit = buffers},
        {.name = "tables", .used = directory, .used_peak = directory, .taken = directory},
        {.name = "expression-keys",
         .used = keys.bytes,
         .used_peak = keys.bytes,
         .taken = keys.bytes,
         .limit = KEY_TABLE_BYTES_MAX},
        {.name = "expression-answers",
         .used = answers->used,
         .used_peak = answers->peak,
         .taken = answers->used,
         .limit = ANSWER_MEMORY_MAX},
        {.name = "verification-answers", .used = kept, .used_peak = kept, .taken = kept},
        {.name = "dns-answers",
         .used = names->bytes,
         .used_peak = names->bytes_peak,
         .taken = names->bytes,
         .limit = names->bytes_max},
        {.name = "delivery-content",
         .used = deliver->active_bytes,
         .used_peak = deliver->active_bytes_peak,
         .taken = deliver->active_bytes,
         .limit = deliver->performance.delivery_bytes},
        {.name = "delivery-history",
         .used = deliver->history_bytes,
         .used_peak = deliver->history_peak,
         .taken = deliver->history_bytes,
         .limit = deliver->performance.delivery_bytes / DELIVER_HISTORY_SHARE},
    };
    for (size_t i = 0; i < mx_countof(rows); i++) {
        add_row(out, count, &rows[i]);
    }
}

static void take_memory(const struct service *service, struct service_snapshot *out)
{
    const struct shard *shard = service->shard;
    const struct spool *spool = &service->spool;
    const struct deliver *deliver = &service->deliver;
    const struct pool *pools[] = {
        &shard->blocks,         &shard->park_blocks,
        &shard->park_small,     &service->sessions_pool,
        &spool->messages,       &spool->extents,
        &spool->histories,      &spool->writes,
        &spool->txns,           &spool->incomings,
        &deliver->actives,      &deliver->clis,
        &deliver->conns,        &deliver->verify.questions,
        &deliver->verify.conns, &service->waits,
    };
    unsigned count = 0;
    memset(out->pools, 0, sizeof out->pools);
    for (size_t i = 0; i < mx_countof(pools); i++) {
        add_pool(out, &count, pools[i]);
    }
    add_tables(service, out, &count);
}

static uint64_t accept_shortages(const struct service *service)
{
    uint64_t count = 0;
    struct list_node *node = list_first(&service->listeners);
    for (; node != NULL; node = list_next(&service->listeners, node)) {
        count += mx_container_of(node, struct service_listener, node)->listener.out_of_files;
    }
    return count;
}

static uint64_t millionths(uint64_t part, uint64_t whole)
{
    return whole == 0 ? 0 : part * 1000000 / whole;
}

static void take_trace(const struct service *service, struct service_snapshot *out)
{
    const struct trace *trace = &service->trace;
    uint64_t oldest = trace_oldest(&trace->messages);
    out->trace_records = trace->messages.next + trace->sessions.next;
    out->trace_ns = 0;
    if (oldest < trace->messages.next) {
        int64_t age_ms = service->shard->wall_ms - trace_get(&trace->messages, oldest)->wall_ms;
        out->trace_ns = age_ms > 0 ? (uint64_t)age_ms * MX_NS_PER_MS : 0;
    }
}

static void take_keys(const struct service *service, struct service_snapshot *out)
{
    struct key_table_stats stats;
    keys_stats(&service->keys, &stats);
    out->keys = stats.keys;
    out->keys_forgotten = stats.forgotten;
}

void service_snapshot_take(const struct service *service, struct service_snapshot *out)
{
    const struct shard *shard = service->shard;
    const struct deliver *deliver = &service->deliver;
    out->not_ready = why_not_ready(service);
    out->ready = out->not_ready == NULL;
    out->paused = deliver->conf.pause.all;
    for (unsigned i = 0; i < OVERLOAD_RESOURCES; i++) {
        out->overload[i] = service->shed.levels[i];
    }
    out->generation = service->generation;
    out->sessions = service->sessions_pool.used - service->proxy_wait_count;
    out->proxy_waits = service->proxy_wait_count;
    out->queued = service->spool.count;
    out->queued_bytes = service->spool.bytes;
    out->active = deliver->actives.used;
    out->turns = shard->turns;
    out->longest_turn_ns = shard->longest_turn_ns;
    out->log_dropped = shard->log.dropped_total;
    out->log_repeats = shard->log.repeats_total;
    take_trace(service, out);
    out->accept_shortages = accept_shortages(service);
    out->loop = shard->stats;
    out->route = deliver->vm->stats;
    out->session = service->session_stats;
    out->mail = service->mail_stats;
    out->deliver = deliver->stats;
    out->verify = deliver->verify.stats;
    out->verify_connections = deliver->verify.conns.used;
    out->dns = service->dns.stats;
    out->dns_kept = service->dns.cache.hits;
    out->dns_running = service->dns.lookups.used;
    ring_stats(shard->ring, &out->ring);
    journal_stats(service->spool.journal, &out->journal);
    directory_stats(service->directory, &out->directory);
    out->directory_load_ppm =
        millionths(out->directory.domains + out->directory.addresses, out->directory.capacity);
    out->journal_live_ppm = millionths(out->journal.live_bytes, out->journal.capacity_bytes);
    take_keys(service, out);
    take_hops(deliver, out);
    take_memory(service, out);
}

void stats_request_receive(struct mbox_msg *msg, struct shard *at)
{
    struct stats_request *request = mx_container_of(msg, struct stats_request, msg);
    const struct service *service = at->service;
    uint64_t began_ns = clock_monotonic_ns();
    if (service != NULL) {
        service_snapshot_take(service, &request->snapshot);
    } else {
        request->snapshot = (struct service_snapshot){.not_ready = "starting"};
    }
    request->snapshot.read_ns = clock_monotonic_ns() - began_ns;
    mx_err err = mbox_send(at->hub, at->conf.id, request->reply_to, &request->reply);
    MX_ASSERT(err == MX_OK); /* one question at a time */
}
