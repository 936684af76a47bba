#include "smtp/client_limit.h"

#include "smtp/service.h"
#include "smtp/srv_conn.h"
#include "smtp/srv_proxy.h"

/* Of now. */
static uint32_t limit_now(const struct service *service)
{
    return shed_client_limit(&service->shed, service->image->client_connections_max);
}

static void log_refusal(struct srv_conn *conn)
{
    struct client_limit *limit = &conn->service->client_limit;
    struct shard *shard = conn->service->shard;
    limit->unsaid++;
    if (shard->now_ns < limit->log_ns) {
        return;
    }
    struct log_line *line = log_begin(&shard->log, LOG_WARN, "client-over-limit");
    log_client(line, &conn->client);
    log_u64(line, "limit", limit_now(conn->service));
    log_u64(line, "refused", limit->unsaid);
    log_end(&shard->log, line);
    limit->unsaid = 0;
    limit->log_ns = shard->now_ns + CLIENT_LIMIT_LOG_MS * MX_NS_PER_MS;
}

bool client_limit_enter(struct srv_conn *conn)
{
    struct service *service = conn->service;
    if (netaddr_is_loopback(&conn->client) || srv_proxy_trusted(conn) ||
        session_count_enter(service->conf.sessions, &conn->client, limit_now(service),
                            &conn->client_place)) {
        return true;
    }
    log_refusal(conn);
    return false;
}

void client_limit_leave(struct srv_conn *conn)
{
    session_count_leave(conn->service->conf.sessions, conn->client_place);
    conn->client_place = SESSION_COUNT_NOT;
}

struct slice client_limit_text(struct srv_conn *conn)
{
    struct client_limit *limit = &conn->service->client_limit;
    struct writer w = writer_init(limit->text, sizeof limit->text);
    put_char(&w, '[');
    put_netaddr(&w, &conn->client);
    put_text(&w, conn->client.family == 4 ? "] (limit " : "]/64 (limit ");
    put_decimal(&w, limit_now(conn->service));
    put_char(&w, ')');
    return writer_slice(&w);
}
