#include "admin/http_server.h"

#include "admin/http_conn.h"
#include "admin/http_engine.h"
#include "core/check.h"

#include <stdlib.h>

enum { BODY_FIRST_BYTES = 16 * 1024 };

struct http_limits http_limits_default(void)
{
    return (struct http_limits){.connections_max = 128,
                                .head_bytes_max = HTTP_HEAD_MAX,
                                .body_bytes_max = 10 * 1000 * 1000,
                                .bodies_bytes_max = 64 * 1024 * 1024,
                                .answers_bytes_max = 64 * 1024 * 1024,
                                .head_ms = 10 * 1000,
                                .idle_ms = 60 * 1000,
                                .yield_ms = 2 * 1000,
                                .transfer_ms = 60 * 1000,
                                .rate_bytes_s = 16 * 1024};
}

mx_err http_server_init(struct http_server *server, const struct http_server_conf *conf)
{
    const struct http_limits *limits = &conf->limits;
    MX_ASSERT(limits->connections_max > 0 && limits->rate_bytes_s > 0);
    MX_ASSERT(limits->head_bytes_max > 0 && limits->head_bytes_max <= HTTP_HEAD_MAX);
    struct http_server fresh = {.conf = *conf};
    mx_err err = pool_init(&fresh.conns_pool, "http connections", sizeof(struct http_conn),
                           limits->connections_max + HTTP_REFUSING_MAX);
    if (!err) {
        err = pool_init(&fresh.exchanges_pool, "http requests",
                        sizeof(struct http_exchange) + limits->head_bytes_max,
                        limits->connections_max);
    }
    if (err) {
        pool_fini(&fresh.conns_pool);
        return err;
    }
    fresh.exchanges_pool.wipe = true; /* the heads bring credentials */
    *server = fresh;
    list_init(&server->conns);
    list_init(&server->listeners);
    return MX_OK;
}

void http_server_fini(struct http_server *server)
{
    MX_ASSERT(server->conns_count == 0 && server->exchanges_count == 0);
    MX_ASSERT(server->bodies_bytes == 0 && server->answers_bytes == 0);
    pool_fini(&server->conns_pool);
    pool_fini(&server->exchanges_pool);
}

/* --- listeners --- */

static void listener_accepted(struct listener *listener, int fd)
{
    struct http_listener *l = mx_container_of(listener, struct http_listener, listener);
    http_conn_accept(l, fd);
}

static void listener_closed(struct listener *listener)
{
    struct http_listener *l = mx_container_of(listener, struct http_listener, listener);
    struct http_server *server = l->server;
    list_remove(&l->node);
    if (l->closed != NULL) {
        l->closed(l);
    }
    http_server_settle(server);
}

void http_listen(struct http_listener *listener, struct http_server *server, int fd,
                 struct tls_ctx *tls)
{
    MX_ASSERT(!server->stopping);
    *listener = (struct http_listener){.server = server, .tls = tls, .closed = listener->closed};
    listener_open(&listener->listener, server->conf.shard, fd, listener_accepted);
    listener->listener.closed = listener_closed;
    list_push_back(&server->listeners, &listener->node);
}

void http_unlisten(struct http_listener *listener)
{
    listener_close(&listener->listener);
}

/* --- end --- */

void http_server_settle(struct http_server *server)
{
    if (server->stopping && !server->stop_running && !server->stopped && server->conns_count == 0 &&
        server->exchanges_count == 0 && list_empty(&server->listeners)) {
        server->stopped = true;
        if (server->conf.stopped != NULL) {
            server->conf.stopped(server->conf.arg);
        }
    }
}

static void stop_listeners(struct http_server *server)
{
    struct list_node *node = list_first(&server->listeners);
    while (node != NULL) {
        struct list_node *next = list_next(&server->listeners, node);
        struct http_listener *l = mx_container_of(node, struct http_listener, node);
        if (!l->listener.closing) {
            listener_close(&l->listener);
        }
        node = next;
    }
}

void http_server_stop(struct http_server *server, bool force)
{
    server->stopping = true;
    server->stop_running = true;
    stop_listeners(server);
    for (struct list_node *node = list_first(&server->conns); node != NULL;
         node = list_next(&server->conns, node)) {
        http_conn_stop(mx_container_of(node, struct http_conn, node), force);
    }
    server->stop_running = false;
    http_server_settle(server);
}

/* --- exchanges --- */

struct http_exchange *http_exchange_new(struct http_conn *conn, struct http_server *server)
{
    struct http_exchange *exchange = pool_acquire(&server->exchanges_pool);
    if (exchange != NULL) {
        *exchange = (struct http_exchange){.server = server, .conn = conn};
        server->exchanges_count++;
    }
    return exchange;
}

/* Bodies bring passwords. */
static void body_free(struct http_exchange *exchange)
{
    if (exchange->body != NULL) {
        explicit_bzero(exchange->body, exchange->body_len);
        free(exchange->body);
    }
}

mx_err http_exchange_grow(struct http_exchange *exchange, size_t len, uint64_t body_max)
{
    struct http_server *server = exchange->server;
    size_t need = exchange->body_len + len;
    MX_ASSERT(need <= body_max);
    if (need <= exchange->body_cap) {
        return MX_OK;
    }
    size_t cap = mx_max_size(need, mx_max_size(BODY_FIRST_BYTES, 2 * exchange->body_cap));
    cap = body_max < cap ? (size_t)body_max : cap;
    size_t more = cap - exchange->body_cap;
    if (server->bodies_bytes + more > server->conf.limits.bodies_bytes_max) {
        return MX_ERR_NOMEM;
    }
    uint8_t *body = malloc(cap); /* not realloc, which may leave a copy behind */
    if (body == NULL) {
        return MX_ERR_NOMEM;
    }
    if (exchange->body_len > 0) {
        memcpy(body, exchange->body, exchange->body_len);
    }
    body_free(exchange);
    exchange->body = body;
    exchange->body_cap = cap;
    server->bodies_bytes += more;
    return MX_OK;
}

void http_exchange_free(struct http_exchange *exchange)
{
    if (exchange == NULL) {
        return;
    }
    struct http_server *server = exchange->server;
    MX_ASSERT(server->exchanges_count > 0 && server->bodies_bytes >= exchange->body_cap);
    server->exchanges_count--;
    server->bodies_bytes -= exchange->body_cap;
    body_free(exchange);
    pool_release(&server->exchanges_pool, exchange);
}

void http_answer(struct http_exchange *exchange, const struct http_answer *answer)
{
    struct http_conn *conn = exchange->conn;
    struct http_server *server = exchange->server;
    MX_ASSERT(answer->status >= 200 && answer->status <= 599);
    if (conn == NULL) {
        http_answer_drop(answer->body, answer->len);
        http_exchange_free(exchange);
        http_server_settle(server);
        return;
    }
    http_conn_answer(conn, answer);
}
