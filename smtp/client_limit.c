#include "smtp/client_limit.h"

#include "smtp/service.h"
#include "smtp/srv_conn.h"
#include "smtp/srv_proxy.h"

static struct netmask network_of(const struct srv_conn *conn)
{
    const struct image *image = conn->service->image;
    return netmask_of(&conn->client,
                      conn->client.family == 4 ? image->network_bits_v4 : image->network_bits_v6);
}

static uint32_t limit_of(const struct srv_conn *conn, enum stats_refusal why)
{
    const struct image *image = conn->service->image;
    if (why == REFUSAL_SERVER_FULL) {
        return image->connections_max;
    }
    if (why == REFUSAL_LISTENER_FULL) {
        return conn->listener->conf->connections_max;
    }
    return shed_client_limit(&conn->service->shed, why == REFUSAL_CLIENT_FULL
                                                       ? image->client_connections_max
                                                       : image->network_connections_max);
}

static void log_refusal(struct srv_conn *conn, enum stats_refusal why)
{
    struct client_limit *limit = &conn->service->client_limit;
    struct shard *shard = conn->service->shard;
    limit->unsaid++;
    if (shard->now_ns < limit->log_ns) {
        return;
    }
    struct log_line *line = log_begin(&shard->log, LOG_WARN, "client-over-limit");
    log_client(line, &conn->client);
    if (why == REFUSAL_NETWORK_FULL) {
        log_u64(line, "network-bits", network_of(conn).bits);
    }
    log_u64(line, "limit", limit_of(conn, why));
    log_u64(line, "refused", limit->unsaid);
    log_end(&shard->log, line);
    limit->unsaid = 0;
    limit->log_ns = shard->now_ns + CLIENT_LIMIT_LOG_MS * MX_NS_PER_MS;
}

static enum stats_refusal enter(struct srv_conn *conn)
{
    struct session_count *sessions = conn->service->conf.sessions;
    const struct image *image = conn->service->image;
    if (!session_count_enter(sessions, &conn->client, limit_of(conn, REFUSAL_CLIENT_FULL),
                             &conn->client_place)) {
        return REFUSAL_CLIENT_FULL;
    }
    if (image->network_connections_max > 0) {
        struct netmask network = network_of(conn);
        if (!session_count_enter_network(sessions, &network, limit_of(conn, REFUSAL_NETWORK_FULL),
                                         &conn->network_place)) {
            client_limit_leave(conn);
            return REFUSAL_NETWORK_FULL;
        }
    }
    return STATS_REFUSALS;
}

enum stats_refusal client_limit_enter(struct srv_conn *conn)
{
    if (netaddr_is_loopback(&conn->client) || srv_proxy_trusted(conn)) {
        return STATS_REFUSALS;
    }
    enum stats_refusal why = enter(conn);
    if (why != STATS_REFUSALS) {
        log_refusal(conn, why);
    }
    return why;
}

void client_limit_leave(struct srv_conn *conn)
{
    session_count_leave(conn->service->conf.sessions, conn->client_place);
    session_count_leave(conn->service->conf.sessions, conn->network_place);
    conn->client_place = SESSION_COUNT_NOT;
    conn->network_place = SESSION_COUNT_NOT;
}

static void put_client(struct writer *w, const struct srv_conn *conn, bool of_network)
{
    struct netmask network = network_of(conn);
    put_char(w, '[');
    put_netaddr(w, of_network ? &network.addr : &conn->client);
    put_char(w, ']');
    if (of_network) {
        put_char(w, '/');
        put_decimal(w, network.bits);
    } else if (conn->client.family == 6) {
        put_text(w, "/64");
    }
}

struct slice client_limit_text(struct srv_conn *conn, enum stats_refusal why)
{
    struct client_limit *limit = &conn->service->client_limit;
    struct writer w = writer_init(limit->text, sizeof limit->text);
    if (why == REFUSAL_LISTENER_FULL) {
        put_text(&w, "to this listener");
    } else if (why == REFUSAL_SERVER_FULL) {
        put_text(&w, "in all");
    } else {
        put_client(&w, conn, why == REFUSAL_NETWORK_FULL);
    }
    put_text(&w, " (limit ");
    put_decimal(&w, limit_of(conn, why));
    put_char(&w, ')');
    return writer_slice(&w);
}
