#include "admin/server_private.h"

#include "admin/privileges.h"
#include "admin/sandbox.h"

#include <unistd.h>

bool server_lend(struct server *server)
{
    return server->options->user == NULL || privileges_lend(server->options->user, stderr);
}

bool server_take_back(struct server *server)
{
    return server->options->user == NULL || privileges_return(stderr);
}

static void warn_of_root(struct server *server)
{
    struct log_line *line = log_begin(&server->log, LOG_WARN, "runs-as-root");
    log_text(line, "effect", "whoever finds a hole in it has this machine");
    log_text(line, "advice", "give --user NAME, or start it as that user (tools/systemd)");
    log_end(&server->log, line);
}

bool server_become_user(struct server *server)
{
    bool good = server->options->user == NULL || privileges_drop(server->options->user, stderr);
    if (good && geteuid() == 0) {
        warn_of_root(server);
    }
    privileges_core_dumps(server->options->core_dumps);
    return good;
}

bool server_confine(struct server *server)
{
    /* Each may be a link to another place. */
    const char *folders[5 + SERVER_WRITABLE_MAX] = {server->dir.root, server->dir.journal,
                                                    server->dir.mail, server->dir.tls};
    const struct server_options *options = server->options;
    unsigned count = 4;
    if (options->log_output.path != NULL) {
        folders[count++] = server->log_output.folder;
    }
    for (unsigned i = 0; i < options->writable_count; i++) {
        folders[count++] = options->writable[i];
    }
    struct sandbox sandbox = {0};
    bool whole = false;
    if (!options->no_sandbox) {
        whole = sandbox_folders(&sandbox, folders, count);
        whole = sandbox_system_calls(&sandbox) && whole;
        server->filters_calls = sandbox.filters > 0;
    }
    struct log_line *line = log_begin(&server->log, whole ? LOG_INFO : LOG_WARN, "sandbox");
    log_u64(line, "landlock", (uint64_t)sandbox.landlock);
    log_u64(line, "system-calls", sandbox.filters);
    if (options->writable_count > 0) {
        char text[LOG_LINE_BYTES];
        struct writer w = writer_init(text, sizeof text);
        for (unsigned i = 0; i < options->writable_count; i++) {
            put_text(&w, i > 0 ? ":" : "");
            put_text(&w, options->writable[i]);
        }
        log_slice(line, "writable", writer_slice(&w));
    }
    if (!whole) {
        log_text(line, "advice",
                 options->no_sandbox
                     ? "--no-sandbox is for debugging"
                     : "0 is not in force: a kernel from 5.19 with Landlock and seccomp has both");
    }
    log_end(&server->log, line);
    return true;
}

bool server_confine_rings(struct server *server)
{
    if (server->filters_calls && !sandbox_last_ring()) {
        struct log_line *line = log_begin(&server->log, LOG_WARN, "rings-not-limited");
        log_text(line, "effect", "a ring that is made later would have no restrictions");
        log_end(&server->log, line);
    }
    return true;
}
