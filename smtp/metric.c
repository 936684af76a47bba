#include "smtp/metric.h"

#include "smtp/service.h"

static uint64_t connections(const struct deliver *deliver)
{
    uint64_t count = 0;
    struct list_node *node = list_first(&deliver->hops);
    for (; node != NULL; node = list_next(&deliver->hops, node)) {
        count += mx_container_of(node, struct hop, all_node)->connections;
    }
    return count;
}

static void take_deliveries(const struct deliver *deliver, uint64_t out[EXPR_METRICS])
{
    for (unsigned i = 0; i < STATS_CLASSES; i++) {
        const struct class_stats *class = &deliver->stats.classes[i];
        out[EXPR_METRIC_RESCHEDULED] += class->deferred;
        out[EXPR_METRIC_ATTEMPTS] += class->attempts;
        out[EXPR_METRIC_DELIVERED] += class->delivered;
    }
    out[EXPR_METRIC_CONNECTIONS] = connections(deliver);
}

static void take_sessions(const struct service *service, uint64_t out[EXPR_METRICS])
{
    const struct session_stats *stats = &service->session_stats;
    out[EXPR_METRIC_SESSIONS] = service->sessions_pool.used - service->proxy_wait_count;
    out[EXPR_METRIC_ACCEPTED] = stats->accepted;
    out[EXPR_METRIC_TIMEOUTS] = stats->timeouts;
    out[EXPR_METRIC_BLOCKED] = stats->refused[REFUSAL_BLOCKED];
    out[EXPR_METRIC_FULL] =
        stats->refused[REFUSAL_LISTENER_FULL] + stats->refused[REFUSAL_SERVER_FULL] +
        stats->refused[REFUSAL_CLIENT_FULL] + stats->refused[REFUSAL_NETWORK_FULL];
    for (unsigned i = 0; i < STATS_ROWS_MAX; i++) {
        out[EXPR_METRIC_OVER_RATE] += stats->throttles[i].over;
    }
}

void metrics_take(const struct service *service, uint64_t out[EXPR_METRICS])
{
    const struct mail_stats *mail = &service->mail_stats;
    memset(out, 0, EXPR_METRICS * sizeof out[0]);
    take_sessions(service, out);
    take_deliveries(&service->deliver, out);
    out[EXPR_METRIC_NO_MAILBOX] =
        mail->rcpts[VERDICT_UNKNOWN_USER] + mail->rcpts[VERDICT_REFUSED_THERE];
    out[EXPR_METRIC_NO_RELAY] = mail->rcpts[VERDICT_UNKNOWN_DOMAIN];
    out[EXPR_METRIC_DUPLICATES] = mail->rcpts[VERDICT_DUPLICATE];
    out[EXPR_METRIC_QUEUED] = service->spool.count;
    out[EXPR_METRIC_RECEIVED] = mail->messages;
}
