#include "smtp/srv_refused.h"

#include "smtp/client_limit.h"
#include "smtp/service.h"
#include "smtp/srv_conn.h"

void srv_uncount(struct srv_conn *conn)
{
    if (conn->counted) {
        client_limit_leave(conn);
        listener_session_ended(conn->listener);
        conn->counted = false;
    }
}

static void forget(struct srv_conn *conn)
{
    list_remove(&conn->refused_node);
    conn->service->refused_count--;
}

void srv_refused_close(struct srv_conn *conn)
{
    struct service *service = conn->service;
    srv_uncount(conn);
    if (service->refused_count == SERVICE_REFUSALS_LINGER) {
        struct list_node *oldest = list_first(&service->refused);
        struct srv_conn *other = mx_container_of(oldest, struct srv_conn, refused_node);
        forget(other);
        stream_close_soon(&other->stream);
    }
    list_push_back(&service->refused, &conn->refused_node);
    service->refused_count++;
    stream_close(&conn->stream);
}

void srv_refused_closed(struct srv_conn *conn)
{
    if (!conn->welcome && list_linked(&conn->refused_node)) {
        forget(conn);
    }
}

void srv_refused_before_tls(struct srv_conn *conn)
{
    struct log *log = &conn->service->shard->log;
    struct log_line *line = log_begin_repeated(log, LOG_INFO, "session-refused");
    log_session(line, conn->number);
    log_client(line, &conn->client);
    if (conn->listener->conf != NULL) { /* it may be retired */
        log_slice(line, "listener", conn->listener->conf->name);
    }
    log_text(line, "command", srv_verb_name(SRV_VERB_CONNECT));
    log_text(line, "reason", stats_refusal_name(conn->refusal));
    log_text(line, "effect", "closed before the TLS handshake");
    log_end(log, line);
    conn->closing = true;
    stream_abort(&conn->stream, MX_ERR_LIMIT);
}
