#include "admin/server_private.h"

#include "admin/inherited.h"
#include "io/clock.h"

#include <unistd.h>

void server_write_logs(struct server *server)
{
    server->log.wall_ms = clock_wall_ms();
    struct log *logs[SERVER_CORES_MAX + 4] = {&server->log, &server->shard.log,
                                              &server->worker_log};
    unsigned count = 3;
    if (server->takeover != NULL) {
        logs[count++] = takeover_log(server->takeover);
    }
    for (unsigned i = 0; i < server->core_count; i++) {
        logs[count++] = &server->cores[i].shard.log;
    }
    log_output_write(&server->log_output, logs, count);
}

void server_reopen_log(struct server *server)
{
    mx_err err = log_output_reopen(&server->log_output);
    struct log_line *line = log_begin(&server->log, err ? LOG_ERROR : LOG_INFO,
                                      err ? "log-not-reopened" : "log-reopened");
    if (server->options->log_output.path != NULL) {
        log_text(line, "file", server->options->log_output.path);
    }
    if (err) {
        log_err(line, "reason", err);
        log_text(line, "effect", "lines still go to the file that was open");
    }
    log_end(&server->log, line);
}

bool server_failed(struct server *server, const char *what, mx_err err)
{
    struct log_line *line = log_begin(&server->log, LOG_ERROR, "cannot-start");
    log_text(line, "part", what);
    log_err(line, "reason", err);
    log_end(&server->log, line);
    return false;
}

void server_advise_on_ring(struct server *server)
{
    struct ring_probe probe;
    ring_probe(&probe);
    if (probe.err != MX_OK) {
        struct log_line *line = log_begin(&server->log, LOG_ERROR, "io_uring-unusable");
        log_text(line, "advice", probe.advice);
        log_end(&server->log, line);
    }
}

void server_log_cannot_listen(struct server *server, const struct config_problem *problem)
{
    struct log_line *line = log_begin(&server->log, LOG_ERROR, "cannot-listen");
    log_text(line, "reason", problem->text);
    log_end(&server->log, line);
}

static void log_unused(struct server *server)
{
    struct ring_addr addr;
    for (unsigned at = 0; inherited_unused(&at, &addr);) {
        char text[NETADDR_TEXT_MAX + 8];
        struct writer w = writer_init(text, sizeof text);
        struct netaddr where = ring_addr_netaddr(&addr);
        put_netaddr_port(&w, &where);
        struct log_line *line = log_begin(&server->log, LOG_WARN, "socket-unused");
        log_slice(line, "address", writer_slice(&w));
        log_text(line, "advice",
                 "LISTEN_FDS has it and no NetworkListener binds it: connections there wait");
        log_end(&server->log, line);
    }
}

static void log_listening(struct server *server, struct slice name, const struct netaddr *addr)
{
    char text[NETADDR_TEXT_MAX + 8];
    struct writer w = writer_init(text, sizeof text);
    put_netaddr_port(&w, addr);
    struct log_line *line = log_begin(&server->log, LOG_INFO, "listening");
    log_slice(line, "listener", name);
    log_slice(line, "address", writer_slice(&w));
    log_end(&server->log, line);
}

static void log_listeners(struct server *server, const struct listener_conf *listeners,
                          uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        for (uint32_t b = 0; b < listeners[i].bind_count; b++) {
            log_listening(server, listeners[i].name, &listeners[i].binds[b]);
        }
    }
}

/* Which mode runs is never a matter of guessing. */
static void log_mode(struct server *server)
{
    if (server->env.recovery_mode_unclear) {
        struct log_line *line = log_begin(&server->log, LOG_WARN, "recovery-mode-unclear");
        log_text(line, "effect", "a normal start: STALWART_RECOVERY_MODE is neither 1 nor true");
        log_end(&server->log, line);
    }
    if (server->env.recovery_mode) {
        struct log_line *line = log_begin(&server->log, LOG_WARN, "recovery-mode");
        log_text(line, "effect", "no mail is accepted or delivered; only management is served");
        log_text(line, "advice", "unset STALWART_RECOVERY_MODE and restart when done");
        log_end(&server->log, line);
    } else if (server->env.recovery_user[0] != '\0') {
        struct log_line *line = log_begin(&server->log, LOG_WARN, "recovery-administrator");
        log_text(line, "user", server->env.recovery_user);
        log_text(line, "effect", "STALWART_RECOVERY_ADMIN may do everything, past all accounts");
        log_text(line, "advice", "unset it when it is not needed any more");
        log_end(&server->log, line);
    }
}

void server_log_ready(struct server *server)
{
    const struct image *image = server->config != NULL ? &server->config->image : NULL;
    if (image != NULL && server->core_count > 0) {
        log_listeners(server, image->listeners, image->listener_count);
        log_listeners(server, image->http_listeners, image->http_listener_count);
    }
    if (server->http_addr.port != 0) {
        log_listening(server, SLICE_LITERAL("management"), &server->http_addr);
    }
    log_unused(server);
    log_mode(server);
    struct log_line *line = log_begin(&server->log, LOG_INFO, "ready");
    log_text(line, "version", RINGMX_VERSION);
    log_text(line, "mode", server->env.recovery_mode ? "recovery" : "normal");
    log_u64(line, "cores", server->core_count);
    if (image != NULL) {
        log_u64(line, "generation", image->generation);
        log_slice(line, "hostname", image->hostname);
    }
    log_u64(line, "pid", (uint64_t)getpid());
    log_end(&server->log, line);
}
