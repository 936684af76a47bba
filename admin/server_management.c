#include "admin/server_private.h"

/* The loop is a shard of its own, so that HTTP and all else on it use the same streams and timers
 * as the cores. */
bool server_loop_open(struct server *server)
{
    struct shard_conf conf = {.id = server->core_count,
                              .count = server->core_count,
                              .cpu = -1,
                              .blocks_max = SERVER_MANAGEMENT_BLOCKS,
                              .workers = 1, /* for admin/overload_watch */
                              .wipe = true,
                              .log_level = server->options->log_level,
                              .ring = {.recv_bufs = SERVER_MANAGEMENT_RECV_BUFS},
                              .hub = server->hub};
    mx_err err = shard_init(&server->shard, &conf);
    server->shard.log.core = -1;
    err = err ? err : shard_open(&server->shard);
    server->shard_is_open = err == MX_OK;
    if (err) {
        server_advise_on_ring(server);
        return server_failed(server, "management loop", err);
    }
    return true;
}

static void take_messages(void *arg, unsigned timeout_ms)
{
    struct server *server = arg;
    worker_wait(server->worker, timeout_ms);
}

static mx_err queue_open(struct server *server)
{
    struct queue_cores_conf conf = {.hub = server->hub,
                                    .cores = server->core_count,
                                    .index = server->core_count + 1,
                                    .wait = take_messages,
                                    .wait_arg = server};
    mx_err err = queue_cores_new(&server->queue, &conf);
    return err ? err : explain_cores_new(&server->explain, &conf, &server->metrics);
}

/* The HTTP listeners of the configuration; recovery mode has only that of the command line. */
bool server_web_open(struct server *server)
{
    struct web_conf conf = {.hub = server->hub,
                            .loop = server->core_count,
                            .worker = server->core_count + 1,
                            .wait = take_messages,
                            .wait_arg = server};
    struct config_problem problem = {0};
    if (server->core_count == 0) {
        return true;
    }
    mx_err err = web_new(&server->web, &conf);
    if (err) {
        return server_failed(server, "management", err);
    }
    struct bindings_change change = {.image = &server->config->image,
                                     .patience_ms = SERVER_BIND_RETRY_MS};
    err = web_prepare(server->web, &change, server->tls.cert_pem, server->tls.key_pem, &problem);
    if (err) {
        server_log_cannot_listen(server, &problem);
    }
    return err == MX_OK;
}

/* What changes and shows the configuration: publisher, queue, the worker and its requests. */
static mx_err open_backend(struct server *server)
{
    bool watched = server->web != NULL;
    struct publisher_conf conf = {.hub = server->hub,
                                  .cores = server->core_count,
                                  .index = server->core_count + 1,
                                  .wait = take_messages,
                                  .wait_arg = server,
                                  .web = server->web,
                                  .watch = watched ? management_watch : NULL,
                                  .watcher = server->core_count,
                                  .tls_dir = server->dir.tls,
                                  .config = server->config,
                                  .tls = &server->tls};
    mx_err err = publisher_new(&server->publisher, &conf);
    err = err ? err : queue_open(server);
    err =
        err ? err
            : worker_open(&server->worker, server->hub, server->core_count + 1, server->core_count);
    if (err) {
        return err;
    }
    for (unsigned i = 0; i < server->core_count; i++) {
        server->pulses[i] = &server->cores[i].shard.pulse;
    }
    struct backend_conf backend = {.data_dir = server->dir.root,
                                   .env = &server->env,
                                   .publisher = server->publisher,
                                   .queue = server->queue,
                                   .delivers = server->core_count > 0,
                                   .pause = server->pause,
                                   .explain = server->explain,
                                   .worker = server->worker,
                                   .ban = server->ban,
                                   .pulses = server->pulses,
                                   .cores = server->core_count,
                                   .shard = &server->shard,
                                   .log = &server->worker_log};
    return backend_open(&server->backend, &backend);
}

/* The loop's side: the endpoint, and in it what watches for overload. */
static mx_err open_endpoint(struct server *server)
{
    bool watched = server->web != NULL;
    struct overload_watch *overload = NULL;
    if (watched) {
        struct overload_watch_conf watch = {
            .shard = &server->shard,
            .cores = server->core_count,
            .image = &server->config->image,
            .folders = {server->dir.root, server->dir.journal, server->dir.mail},
            .folder_count = 3,
            .metrics = &server->metrics};
        mx_err err = overload_watch_new(&overload, &watch);
        if (err) {
            return err;
        }
    }
    if (server->http_fd < 0 && !watched) {
        return MX_OK;
    }
    struct management_conf http = {.shard = &server->shard,
                                   .cores = server->core_count,
                                   .pulses = server->pulses,
                                   .worker = server->worker,
                                   .publisher = server->publisher,
                                   .backend = server->backend,
                                   .offences = server_offences_from(server, server->core_count),
                                   .image = watched ? &server->config->image : NULL,
                                   .public_url = server->env.public_url,
                                   .overload = overload,
                                   .listen_fd = server->http_fd,
                                   .web = server->web};
    server->http_fd = -1;
    mx_err err = management_open(&server->management, &http);
    if (err) {
        (void)overload_watch_stop(overload);
        overload_watch_free(overload);
    }
    return err;
}

bool server_management_start(struct server *server)
{
    mx_err err = open_backend(server);
    err = err ? err : open_endpoint(server);
    return err == MX_OK || server_failed(server, "management", err);
}
