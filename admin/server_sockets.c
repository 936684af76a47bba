#include "admin/server_private.h"

#include "admin/inherited.h"
#include "admin/privileges.h"
#include "io/clock.h"

#include <string.h>
#include <unistd.h>

enum { HTTP_BACKLOG = 128, HTTP_RETRY_US = 20000 };

bool server_inherit(void)
{
    const char *problem;
    (void)inherited_open(&problem);
    if (problem != NULL) {
        fprintf(stderr, "ringmx: %s\n", problem);
    }
    return problem == NULL;
}

bool server_listeners_open(struct server *server)
{
    struct config_problem problem = {0};
    privileges_sockets(server->options->user);
    mx_err err = bindings_open(&server->bindings, &server->config->image, NULL, server->core_count,
                               SERVER_BIND_RETRY_MS, &problem);
    privileges_sockets(NULL);
    if (err) {
        server_log_cannot_listen(server, &problem);
        return false;
    }
    for (unsigned i = 0; i < server->core_count; i++) {
        server->cores[i].conf.listen_fds = bindings_of(&server->bindings, i);
    }
    return true;
}

/* A killed predecessor may have the port still. */
static mx_err listen_patiently(int *out_fd, const struct ring_listen_conf *conf)
{
    uint64_t until_ns = clock_monotonic_ns() + SERVER_BIND_RETRY_MS * MX_NS_PER_MS;
    mx_err err = ring_listen(out_fd, conf);
    while (err == MX_ERR_INUSE && clock_monotonic_ns() < until_ns) {
        usleep(HTTP_RETRY_US);
        err = ring_listen(out_fd, conf);
    }
    return err;
}

bool server_http_listen_open(struct server *server)
{
    const struct environment *env = &server->env;
    const char *text = server->options->http;
    struct netaddr addr;
    if (strcmp(text, "off") == 0) {
        if (!env->recovery_mode) {
            return true;
        }
        text = SERVER_HTTP_DEFAULT; /* recovery mode is nothing else */
    }
    mx_err err = netaddr_parse_port(&addr, slice_of_text(text));
    if (env->recovery_mode && env->recovery_port != 0) {
        addr.port = env->recovery_port;
    }
    if (!err) {
        struct ring_listen_conf conf = {
            .addr = ring_addr_of(&addr), .backlog = HTTP_BACKLOG, .no_delay = true};
        server->http_fd = inherited_take(&conf.addr);
        err = server->http_fd >= 0 ? MX_OK : listen_patiently(&server->http_fd, &conf);
        server->http_addr = addr;
    }
    if (err) {
        struct log_line *line = log_begin(&server->log, LOG_ERROR, "cannot-listen");
        log_text(line, "listener", "management (HTTP)");
        log_text(line, "address", text);
        log_text(line, "reason",
                 err == MX_ERR_INUSE ? "the port is in use by another program" : err_text(err));
        log_text(line, "advice", "choose another with --http ADDRESS:PORT, or --http off");
        log_end(&server->log, line);
    }
    return err == MX_OK;
}
