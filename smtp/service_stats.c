#include "smtp/service_stats.h"

#include "core/check.h"
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
    switch (journal_room(service->spool.journal, 0)) {
    case MX_OK:
        return NULL;
    case MX_ERR_NOSPACE:
        return "disk full";
    default:
        return "the journal cannot be written";
    }
}

static uint64_t hops_down(const struct deliver *deliver)
{
    uint64_t count = 0;
    struct list_node *node = list_first(&deliver->hops);
    for (; node != NULL; node = list_next(&deliver->hops, node)) {
        count += mx_container_of(node, struct hop, all_node)->down;
    }
    return count;
}

void service_snapshot_take(const struct service *service, struct service_snapshot *out)
{
    const struct shard *shard = service->shard;
    const struct deliver *deliver = &service->deliver;
    *out = (struct service_snapshot){
        .not_ready = why_not_ready(service),
        .generation = service->generation,
        .sessions = service->sessions_pool.used,
        .accepted = service->stats.accepted,
        .refused = service->stats.refused,
        .blocked = service->stats.blocked,
        .timeouts = service->stats.timeouts,
        .proxy_refused = service->stats.proxy_refused,
        .messages = service->stats.messages,
        .queued = service->spool.count,
        .active = deliver->actives.used,
        .delivered = deliver->delivered,
        .deferred = deliver->deferred,
        .bounced = deliver->bounced,
        .hops_down = hops_down(deliver),
        .turns = shard->turns,
        .longest_turn_ns = shard->longest_turn_ns,
        .blocks_used = shard->blocks.used,
        .blocks_max = shard->blocks.slots_max,
        .log_dropped = shard->log.dropped,
    };
    out->ready = out->not_ready == NULL;
    journal_stats(service->spool.journal, &out->journal);
    directory_stats(service->directory, &out->directory);
}

void stats_request_receive(struct mbox_msg *msg, struct shard *at)
{
    struct stats_request *request = mx_container_of(msg, struct stats_request, msg);
    const struct service *service = at->service;
    request->snapshot = (struct service_snapshot){.not_ready = "starting"};
    if (service != NULL) {
        service_snapshot_take(service, &request->snapshot);
    }
    mx_err err = mbox_send(at->hub, at->conf.id, request->reply_to, &request->reply);
    MX_ASSERT(err == MX_OK); /* one question at a time */
}
