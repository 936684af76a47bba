#include "smtp/shed.h"

#include "core/check.h"
#include "smtp/service.h"
#include "smtp/srv_conn.h"

/* Limits and timeouts are divided by it. */
static const uint32_t divisors[OVERLOAD_LEVELS] = {
    [OVERLOAD_NONE] = 1, [OVERLOAD_STRAINED] = 4, [OVERLOAD_REFUSING] = 10};

bool shed_refuses(const struct shed *shed)
{
    return shed->level == OVERLOAD_REFUSING;
}

bool shed_queue_full(const struct shed *shed)
{
    return shed->levels[OVERLOAD_QUEUE_MESSAGES] == OVERLOAD_REFUSING ||
           shed->levels[OVERLOAD_QUEUE_BYTES] == OVERLOAD_REFUSING;
}

uint64_t shed_wait_ms(const struct shed *shed, uint64_t wait_ms)
{
    uint64_t least_ms = wait_ms < SHED_WAIT_MIN_MS ? wait_ms : SHED_WAIT_MIN_MS;
    uint64_t part_ms = wait_ms / divisors[shed->level];
    return part_ms > least_ms ? part_ms : least_ms;
}

uint32_t shed_client_limit(const struct shed *shed, uint32_t limit)
{
    uint32_t part = limit / divisors[shed->level];
    return part > 0 ? part : 1;
}

const char *shed_not_ready(const struct shed *shed)
{
    for (unsigned i = 0; i < OVERLOAD_RESOURCES; i++) {
        if (shed->levels[i] == OVERLOAD_REFUSING) {
            return overload_text((enum overload_resource)i)->said;
        }
    }
    return NULL;
}

/* Timeouts are shorter now. */
static void hurry_sessions(struct service *service)
{
    struct list_node *node = list_first(&service->sessions);
    for (; node != NULL; node = list_next(&service->sessions, node)) {
        srv_conn_hurry(mx_container_of(node, struct srv_conn, node));
    }
}

void shed_take(struct service *service, const uint8_t levels[OVERLOAD_RESOURCES])
{
    struct shed *shed = &service->shed;
    uint8_t before = shed->level;
    shed->level = OVERLOAD_NONE;
    for (unsigned i = 0; i < OVERLOAD_RESOURCES; i++) {
        shed->levels[i] = levels[i];
        shed->level = levels[i] > shed->level ? levels[i] : shed->level;
    }
    if (shed->level > before) {
        hurry_sessions(service);
    }
}

void shed_notice_receive(struct mbox_msg *msg, struct shard *at)
{
    struct shed_notice *notice = mx_container_of(msg, struct shed_notice, msg);
    struct service *service = at->service;
    if (service != NULL) {
        const struct pool *blocks = &at->blocks;
        shed_take(service, notice->levels);
        notice->queue_messages = service->spool.count;
        notice->queue_bytes = service->spool.bytes;
        notice->memory_used = blocks->used;
        notice->memory_max = blocks->slots_max;
        metrics_take(service, notice->metrics);
    }
    mx_err err = mbox_send(at->hub, at->conf.id, notice->reply_to, &notice->reply);
    MX_ASSERT(err == MX_OK); /* one notice per core */
}
