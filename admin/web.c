#include "admin/web.h"

#include "core/check.h"
#include "io/ring.h"
#include "io/tls.h"

#include <stdlib.h>

enum { WAIT_MS = 1000 };

/* One address to listen on; of the loop from the moment that it listens. */
struct web_socket {
    struct list_node node;
    struct netaddr addr;
    bool tls;
    uint16_t slot;
    uint32_t connections_max;
    int fd; /* of a prepared one; -1: the address is listened on already */
    bool closing;
    struct web *web;
    struct http_listener listener;
};

struct web {
    struct web_conf conf;
    struct http_server *server; /* NULL: not started */
    struct list sockets;        /* of the loop */
    struct tls_ctx *tls;        /* of the loop, as the next two */
    unsigned closing;           /* sockets on their way out */
    bool replying;
    /* Addresses that are listened on, as the worker knows them. */
    struct netaddr *known;
    size_t known_count;
    /* the change under way */
    bool prepared;
    struct list next; /* struct web_socket */
    struct tls_ctx *next_tls;
    struct netaddr *next_known;
    size_t next_count;
    struct mbox_msg apply_msg, applied_msg;
    bool waiting;
};

static bool same(const struct netaddr *a, const struct netaddr *b)
{
    return netaddr_equal(a, b) && a->port == b->port;
}

/* --- preparing ---------------------------------------------------------------------------------
 */

static bool is_known(const struct web *web, const struct netaddr *addr)
{
    for (size_t i = 0; i < web->known_count; i++) {
        if (same(&web->known[i], addr)) {
            return true;
        }
    }
    return false;
}

static mx_err prepare_one(struct web *web, const struct listener_conf *conf,
                          const struct netaddr *addr, const struct bindings_change *change,
                          struct config_problem *problem)
{
    struct web_socket *socket = calloc(1, sizeof *socket);
    if (socket == NULL) {
        config_problem_set(problem, "%s", err_text(MX_ERR_NOMEM));
        return MX_ERR_NOMEM;
    }
    *socket = (struct web_socket){.addr = *addr,
                                  .tls = conf->tls_implicit,
                                  .slot = (uint16_t)(conf->slot + 1), /* 0: the command line's */
                                  .connections_max = conf->connections_max,
                                  .fd = -1,
                                  .web = web};
    mx_err err = is_known(web, addr)
                     ? MX_OK
                     : bindings_listen(&socket->fd, 1, 1, conf, addr, change, problem);
    if (err) {
        free(socket);
        return err;
    }
    list_push_back(&web->next, &socket->node);
    web->next_known[web->next_count++] = *addr;
    return MX_OK;
}

static mx_err prepare_all(struct web *web, const struct bindings_change *change,
                          struct config_problem *problem)
{
    const struct image *image = change->image;
    mx_err err = MX_OK;
    for (uint32_t i = 0; i < image->http_listener_count; i++) {
        const struct listener_conf *conf = &image->http_listeners[i];
        for (uint32_t b = 0; !err && b < conf->bind_count; b++) {
            err = prepare_one(web, conf, &conf->binds[b], change, problem);
        }
    }
    return err;
}

static bool wants_tls(const struct image *image)
{
    for (uint32_t i = 0; i < image->http_listener_count; i++) {
        if (image->http_listeners[i].tls_implicit) {
            return true;
        }
    }
    return false;
}

mx_err web_prepare(struct web *web, const struct bindings_change *change, struct slice cert_pem,
                   struct slice key_pem, struct config_problem *problem)
{
    const struct image *image = change->image;
    if (web == NULL) {
        return MX_OK;
    }
    MX_ASSERT(!web->prepared);
    size_t count = 0;
    for (uint32_t i = 0; i < image->http_listener_count; i++) {
        count += image->http_listeners[i].bind_count;
    }
    web->prepared = true;
    web->next_known = calloc(count + 1, sizeof *web->next_known);
    mx_err err = web->next_known == NULL ? MX_ERR_NOMEM : MX_OK;
    if (!err && wants_tls(image)) {
        struct tls_server_conf conf = {.cert_pem = cert_pem, .key_pem = key_pem};
        err = tls_server_ctx_new(&web->next_tls, &conf);
    }
    if (err) {
        config_problem_set(problem, "%s", err_text(err));
    }
    err = err ? err : prepare_all(web, change, problem);
    if (err) {
        web_cancel(web);
    }
    return err;
}

/* What the change has brought is what is known now; nothing is left of the change. */
static void prepared_end(struct web *web)
{
    free(web->known);
    web->known = web->next_known;
    web->known_count = web->next_count;
    web->next_known = NULL;
    web->next_count = 0;
    web->prepared = false;
}

static void sockets_free(struct web *web)
{
    struct list_node *node;
    while ((node = list_pop_front(&web->next)) != NULL) {
        struct web_socket *socket = mx_container_of(node, struct web_socket, node);
        if (socket->fd >= 0) {
            ring_close_fd(socket->fd);
        }
        free(socket);
    }
}

void web_cancel(struct web *web)
{
    if (web == NULL || !web->prepared) {
        return;
    }
    sockets_free(web);
    tls_ctx_free(web->next_tls);
    free(web->next_known);
    web->next_tls = NULL;
    web->next_known = NULL;
    web->next_count = 0;
    web->prepared = false;
}

/* --- on the loop -------------------------------------------------------------------------------
 */

static struct web_socket *find(const struct list *sockets, const struct netaddr *addr)
{
    for (struct list_node *node = list_first(sockets); node != NULL;
         node = list_next(sockets, node)) {
        struct web_socket *socket = mx_container_of(node, struct web_socket, node);
        if (same(&socket->addr, addr)) {
            return socket;
        }
    }
    return NULL;
}

/* The worker goes on when all that was to close has closed, so that the ports are free again. */
static void reply_when_closed(struct web *web)
{
    if (web->replying && web->closing == 0) {
        web->replying = false;
        mx_err err = mbox_send(web->conf.hub, web->conf.loop, web->conf.worker, &web->applied_msg);
        MX_ASSERT(err == MX_OK); /* one change at a time */
    }
}

static void on_closed(struct http_listener *listener)
{
    struct web_socket *socket = mx_container_of(listener, struct web_socket, listener);
    struct web *web = socket->web;
    if (socket->closing) {
        web->closing--;
    } else { /* the server stops */
        list_remove(&socket->node);
    }
    free(socket);
    reply_when_closed(web);
}

static void close_unwanted(struct web *web)
{
    struct list_node *node = list_first(&web->sockets);
    while (node != NULL) {
        struct web_socket *socket = mx_container_of(node, struct web_socket, node);
        node = list_next(&web->sockets, node);
        if (find(&web->next, &socket->addr) == NULL) {
            list_remove(&socket->node);
            socket->closing = true;
            web->closing++;
            http_unlisten(&socket->listener);
        }
    }
}

/* What is new begins to listen; what was there takes over how it is wanted now. */
static void listen_wanted(struct web *web)
{
    struct list_node *node;
    while ((node = list_pop_front(&web->next)) != NULL) {
        struct web_socket *wanted = mx_container_of(node, struct web_socket, node);
        struct web_socket *socket = find(&web->sockets, &wanted->addr);
        if (socket == NULL) {
            socket = wanted;
            socket->listener.closed = on_closed;
            http_listen(&socket->listener, web->server, socket->fd, NULL);
            list_push_back(&web->sockets, &socket->node);
        }
        socket->listener.tls = wanted->tls ? web->next_tls : NULL;
        socket->listener.slot = wanted->slot;
        socket->listener.connections_max = wanted->connections_max;
        if (socket != wanted) {
            free(wanted);
        }
    }
    tls_ctx_free(web->tls);
    web->tls = web->next_tls;
    web->next_tls = NULL;
}

static void on_apply(struct mbox_msg *msg, struct shard *at)
{
    struct web *web = mx_container_of(msg, struct web, apply_msg);
    (void)at;
    if (!web->server->stopping) {
        close_unwanted(web);
        listen_wanted(web);
    }
    web->replying = true;
    reply_when_closed(web);
}

void web_start(struct web *web, struct http_server *server)
{
    if (web == NULL) {
        return;
    }
    web->server = server;
    if (web->prepared) {
        listen_wanted(web);
        prepared_end(web);
    }
}

/* --- on the worker -----------------------------------------------------------------------------
 */

static void on_applied(struct mbox_msg *msg, struct shard *at)
{
    (void)at;
    mx_container_of(msg, struct web, applied_msg)->waiting = false;
}

void web_apply(struct web *web)
{
    if (web == NULL || !web->prepared) {
        return;
    }
    web->waiting = true;
    web->apply_msg.receive = on_apply;
    web->applied_msg.receive = on_applied;
    mx_err err = mbox_send(web->conf.hub, web->conf.worker, web->conf.loop, &web->apply_msg);
    MX_ASSERT(err == MX_OK); /* one change at a time */
    while (web->waiting) {   /* the loop never blocks, and ends after the worker */
        web->conf.wait(web->conf.wait_arg, WAIT_MS);
    }
    sockets_free(web); /* of a server that stops */
    tls_ctx_free(web->next_tls);
    web->next_tls = NULL;
    prepared_end(web);
}

/* --- life --------------------------------------------------------------------------------------
 */

mx_err web_new(struct web **out_web, const struct web_conf *conf)
{
    struct web *web = calloc(1, sizeof *web);
    if (web == NULL) {
        return MX_ERR_NOMEM;
    }
    web->conf = *conf;
    list_init(&web->sockets);
    list_init(&web->next);
    *out_web = web;
    return MX_OK;
}

void web_free(struct web *web)
{
    if (web != NULL) {
        web_cancel(web);
        MX_ASSERT(list_empty(&web->sockets) && web->closing == 0);
        tls_ctx_free(web->tls);
        free(web->known);
        free(web);
    }
}
