#include "smtp/srv_proxy.h"

#include "smtp/service.h"
#include "smtp/srv_conn.h"

#include <stdlib.h>

static bool in_networks(const struct netmask *networks, uint32_t count, const struct netaddr *addr)
{
    for (uint32_t i = 0; i < count; i++) {
        if (netmask_contains(&networks[i], addr)) {
            return true;
        }
    }
    return false;
}

bool srv_proxy_trusts(const struct image *image, const struct listener_conf *listener,
                      const struct netaddr *client)
{
    return listener->proxy_override
               ? in_networks(listener->proxy_networks, listener->proxy_network_count, client)
               : in_networks(image->proxy_networks, image->proxy_network_count, client);
}

bool srv_proxy_trusted(const struct srv_conn *conn)
{
    const struct listener_conf *conf = conn->listener->conf;
    if (conf == NULL) {
        return false; /* the listener is gone: whoever waited in its queue is told so at once */
    }
    return srv_proxy_trusts(conn->service->image, conf, &conn->client);
}

static void forget(struct srv_conn *conn)
{
    list_remove(&conn->proxy->node);
    conn->service->proxy_wait_count--;
    free(conn->proxy);
    conn->proxy = NULL;
}

bool srv_proxy_begin(struct srv_conn *conn)
{
    struct service *service = conn->service;
    struct proxy_wait *wait = malloc(sizeof *wait);
    if (wait == NULL) {
        return false;
    }
    if (service->proxy_wait_count >= SERVICE_PROXY_WAITS_MAX) {
        struct list_node *oldest = list_first(&service->proxy_waits);
        srv_proxy_refuse(mx_container_of(oldest, struct proxy_wait, node)->conn,
                         REFUSAL_PROXY_WAITS, "too many connections wait for their header");
    }
    wait->node = (struct list_node){0};
    wait->conn = conn;
    proxy_parse_init(&wait->parse);
    list_push_back(&service->proxy_waits, &wait->node);
    service->proxy_wait_count++;
    conn->proxy = wait;
    return true;
}

static void count_and_log(struct srv_conn *conn, enum stats_refusal why, const char *reason)
{
    struct log *log = &conn->service->shard->log;
    struct log_line *line = log_begin_repeated(log, LOG_WARN, "proxy-header-refused");
    char text[NETADDR_TEXT_MAX];
    struct writer w = writer_init(text, sizeof text);
    put_netaddr(&w, &conn->client);
    log_slice(line, "peer", writer_slice(&w));
    log_text(line, "reason", reason);
    log_end(log, line);
    listener_count_refusal(conn->listener, why);
}

void srv_proxy_refuse(struct srv_conn *conn, enum stats_refusal why, const char *reason)
{
    count_and_log(conn, why, reason);
    forget(conn);
    conn->closing = true;
    stream_abort(&conn->stream, MX_ERR_SYNTAX);
}

enum proxy_status srv_proxy_input(struct srv_conn *conn, struct slice *in)
{
    struct proxy_parse *parse = &conn->proxy->parse;
    size_t used = 0;
    enum proxy_status status = proxy_parse_feed(parse, *in, &used);
    *in = slice_from(*in, used);
    if (status == PROXY_MALFORMED) {
        srv_proxy_refuse(conn, REFUSAL_PROXY_HEADER, proxy_parse_problem(parse));
    } else if (status == PROXY_DONE) {
        if (!proxy_parse_is_local(parse)) {
            conn->client = *proxy_parse_source(parse);
            conn->server = *proxy_parse_destination(parse);
        }
        forget(conn);
    }
    return status;
}

void srv_proxy_closed(struct srv_conn *conn)
{
    if (conn->proxy == NULL) {
        return;
    }
    if (!conn->closing && conn->proxy->parse.len > 0) {
        count_and_log(conn, REFUSAL_PROXY_HEADER, "closed within the header");
    }
    forget(conn);
}
