#include "admin/server.h"

#include "admin/certificate.h"
#include "admin/pause_file.h"
#include "admin/server_private.h"
#include "core/check.h"
#include "core/rate_table.h"
#include "io/clock.h"
#include "io/random.h"
#include "io/sys.h"
#include "io/thread.h"

#include <signal.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <unistd.h>

enum {
    LOG_POLL_MS = 50,
    /* Between a core's 3 ms and the worker's 100. */
    LOOP_SLICE_NS = 10000000,
};

/* --- start ---------------------------------------------------------------------------------------
 */

static void raise_file_limit(void)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur < limit.rlim_max) {
        limit.rlim_cur = limit.rlim_max;
        (void)setrlimit(RLIMIT_NOFILE, &limit);
    }
}

static bool signals_open(struct server *server)
{
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGHUP);
    /* Blocked before the first thread, so that all threads inherit it. */
    if (pthread_sigmask(SIG_BLOCK, &set, NULL) != 0 || signal(SIGPIPE, SIG_IGN) == SIG_ERR) {
        return server_failed(server, "signals", MX_ERR_INVALID);
    }
    server->signal_fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
    return server->signal_fd >= 0 || server_failed(server, "signals", MX_ERR_NOFILES);
}

static bool pause_open(struct server *server)
{
    mx_err err = pause_file_read(&server->pause, server->dir.root);
    server->pause.all = server->pause.all || server->options->delivery_off;
    if (err) {
        fprintf(stderr, "ringmx: '%s/paused', which says what is not delivered: %s\n",
                server->dir.root, err_text(err));
    }
    return err == MX_OK;
}

static bool data_open(struct server *server)
{
    return server_lend(server) &&
           data_dir_open(&server->dir, server->options->data_dir, stderr) == MX_OK &&
           pause_open(server) &&
           log_output_open(&server->log_output, &server->options->log_output, stderr) &&
           server_take_back(server);
}

static const char *config_advice(const struct server *server, mx_err err)
{
    bool unreadable = err == MX_ERR_DAMAGED || err == MX_ERR_VERSION || err == MX_ERR_PERMISSION;
    if (!server->env.recovery_mode) {
        return "start with STALWART_RECOVERY_MODE=1 to mend it, or restore registry.db";
    }
    return unreadable ? store_advice(err) : "mend it over the management endpoint";
}

/* In recovery mode what does not compile can be mended, so it is no reason not to start. */
static bool config_open(struct server *server)
{
    struct config_problem problem = {0};
    if (!server_lend(server)) {
        return false;
    }
    mx_err err = config_load(&server->config, server->dir.root, &problem);
    if (!server_take_back(server)) {
        return false;
    }
    if (err) {
        struct log_line *line = log_begin(&server->log, LOG_ERROR, "configuration-unusable");
        log_text(line, "reason", problem.text[0] != '\0' ? problem.text : err_text(err));
        log_text(line, "advice", config_advice(server, err));
        log_end(&server->log, line);
    }
    return err == MX_OK || server->env.recovery_mode;
}

static void stop(struct server *server);

/* In this thread, when the cores have the old queue, or it cannot be read. */
static void queue_taken(void *owner, const struct takeover_result *result)
{
    struct server *server = owner;
    if (result->err) {
        /* What was accepted meanwhile is safe; a queue that nobody delivers must be seen. */
        (void)server_failed(server, "queue recovery", result->err);
        server->broken = true;
        stop(server);
        return;
    }
    const struct spool_recovered *found = &result->found;
    struct log_line *line = log_begin(&server->log, LOG_INFO, "queue-recovered");
    log_u64(line, "messages", found->messages);
    log_u64(line, "finished", found->finished);
    log_u64(line, "incomplete", found->incomplete);
    log_u64(line, "segments", found->scan.segments);
    log_u64(line, "records", found->scan.records);
    log_u64(line, "torn-groups", found->scan.torn_groups);
    log_u64(line, "damaged-records", found->scan.damaged_records);
    log_u64(line, "ms", result->took_ms);
    log_end(&server->log, line);
}

static bool journal_store_ready(struct server *server)
{
    struct journal_conf conf = {.node = 1};
    mx_err err = journal_store_open(&server->store, server->dir.journal, &conf, &server->log);
    if (err) {
        return server_failed(server, "journal", err);
    }
    struct takeover_conf takeover = {.store = server->store,
                                     .hub = server->hub,
                                     .cores = server->core_count,
                                     .log_level = server->options->log_level,
                                     .ended = queue_taken,
                                     .owner = server};
    err = takeover_new(&server->takeover, &takeover);
    return err == MX_OK || server_failed(server, "queue recovery", err);
}

static bool hub_open(struct server *server)
{
    mx_err err =
        session_count_new(&server->sessions, server->core_count, IMAGE_LISTENERS_MAX, random_u64());
    err = err ? err : rate_table_new(&server->rates, RATE_TABLE_BUCKETS, random_u64());
    server->keys_seed = random_u64();
    random_fill(server->tickets.state, sizeof server->tickets.state);
    server->tickets.period = (uint64_t)clock_wall_ms() / TLS_TICKETS_PERIOD_MS;
    err = err ? err : log_init(&server->worker_log, -1, server->options->log_level);
    err = err ? err : ban_new(&server->ban, &server->worker_log);
    if (!err) {
        err = mbox_hub_new(&server->hub, server->core_count);
    }
    return err == MX_OK || server_failed(server, "mailboxes", err);
}

static bool tls_ready(struct server *server)
{
    const char *problem = "";
    mx_err err = tls_files_load(&server->tls, &server->config->image, server->dir.tls,
                                clock_wall_ms(), &problem);
    if (err) {
        struct log_line *line = log_begin(&server->log, LOG_ERROR, "certificate-unusable");
        log_text(line, "reason", problem);
        log_end(&server->log, line);
    }
    if (!err && server->config->skipped_certificate[0] != '\0') {
        certificate_log_skipped(&server->log, server->config->skipped_certificate);
    }
    return err == MX_OK;
}

static bool mail_root_make(struct server *server)
{
    mx_err err = sys_mkdirs(server->dir.mail);
    return err == MX_OK || err == MX_ERR_EXISTS || server_failed(server, "mail folder", err);
}

static bool names_open(struct server *server)
{
    mx_err err = names_read(&server->names);
    return err == MX_OK || server_failed(server, "/etc/resolv.conf or /etc/hosts", err);
}

/* Management, from here on, leaves the cores' CPUs to them where there is another, and where there
 * is none it can wait longer than they can. */
static bool step_aside(struct server *server)
{
    if (!server->options->no_pin && server_cpu_count() > server->core_count) {
        thread_avoid(server->core_count);
    }
    thread_slice(LOOP_SLICE_NS);
    return true;
}

static bool start(struct server *server)
{
    server->cores = server_cores_new(server->core_count);
    if (server->cores == NULL || sem_init(&server->opened, 0, 0) != 0 ||
        sem_init(&server->may_close, 0, 0) != 0) {
        return server_failed(server, "memory", MX_ERR_NOMEM);
    }
    if (server->env.recovery_mode) {
        return signals_open(server) && config_open(server) && server_http_listen_open(server) &&
               server_become_user(server) && server_confine(server) && hub_open(server) &&
               server_loop_open(server) && server_management_start(server) &&
               server_confine_rings(server);
    }
    return signals_open(server) && config_open(server) && server_listeners_open(server) &&
           server_http_listen_open(server) && server_become_user(server) &&
           mail_root_make(server) && server_confine(server) && names_open(server) &&
           tls_ready(server) && hub_open(server) && server_loop_open(server) &&
           journal_store_ready(server) && server_web_open(server) && server_cores_start(server) &&
           step_aside(server) && server_management_start(server) && server_confine_rings(server);
}

/* --- running and the end -------------------------------------------------------------------------
 */

static void stop(struct server *server)
{
    if (!server->stopping) {
        server->stopping = true;
        server->stop_ns = server->shard.now_ns;
        takeover_stop(server->takeover);
    }
}

/* SIGHUP: the log's file anew. First of the others: an orderly end. Second: at once. */
static void signals_read(struct server *server)
{
    struct signalfd_siginfo info;
    while (read(server->signal_fd, &info, sizeof info) == (ssize_t)sizeof info) {
        if (info.ssi_signo == SIGHUP) {
            server_reopen_log(server);
            continue;
        }
        if (server->stopping) {
            server_write_logs(server);
            _exit(1);
        }
        struct log_line *line = log_begin(&server->log, LOG_INFO, "stopping");
        log_u64(line, "signal", info.ssi_signo);
        log_end(&server->log, line);
        stop(server);
    }
}

static void ban_stop_run(struct worker_job *job)
{
    ban_stop(mx_container_of(job, struct server, ban_stop_job)->ban);
}

static void ban_stop_done(struct worker_job *job)
{
    mx_container_of(job, struct server, ban_stop_job)->ban_stopped = true;
}

/* The worker makes no change of its own any more. */
static bool bans_stopped(struct server *server)
{
    if (server->worker == NULL) {
        return true;
    }
    if (!server->ban_stop_asked) {
        server->ban_stop_job = (struct worker_job){.run = ban_stop_run, .done = ban_stop_done};
        server->ban_stop_asked = worker_submit(server->worker, &server->ban_stop_job) == MX_OK;
    }
    return server->ban_stopped;
}

/* Management ends first, since its jobs need the cores; then the cores. */
static void step_stop(struct server *server)
{
    struct management *management = server->management;
    uint64_t passed_ms = (server->shard.now_ns - server->stop_ns) / MX_NS_PER_MS;
    bool late = passed_ms > SERVER_HTTP_STOP_MS ||
                (passed_ms > SERVER_HTTP_LINGER_MS && management_idle(management));
    if (management != NULL && !management_stopped(management)) {
        management_stop(management, late);
        return;
    }
    if (!bans_stopped(server)) {
        return;
    }
    if (!server->cores_told) {
        server->cores_told = true;
        server_cores_tell(server, true);
    }
}

static void loop(struct server *server)
{
    unsigned alive = 0;
    for (unsigned i = 0; i < server->core_count; i++) {
        alive += server->cores[i].started;
    }
    while (!server->cores_told || server->cores_gone < alive || !takeover_quiet(server->takeover)) {
        shard_turn(&server->shard, LOG_POLL_MS * MX_NS_PER_MS);
        server->log.wall_ms = server->shard.wall_ms;
        signals_read(server);
        if (server->stopping) {
            step_stop(server);
        }
        server_write_logs(server);
    }
}

static void end(struct server *server)
{
    for (unsigned i = 0; server->cores != NULL && i < server->core_count; i++) {
        struct core_thread *core = &server->cores[i];
        if (core->started) {
            sem_post(&server->may_close);
        }
    }
    for (unsigned i = 0; server->cores != NULL && i < server->core_count; i++) {
        struct core_thread *core = &server->cores[i];
        if (core->started) {
            pthread_join(core->thread, NULL);
        }
    }
    takeover_end(server->takeover);
    server_write_logs(server);
    management_close(server->management);
    worker_close(server->worker);
    backend_close(server->backend);
    queue_cores_free(server->queue);
    explain_cores_free(server->explain);
    publisher_free(server->publisher);
    web_free(server->web);
    ban_free(server->ban);
    if (server->shard_is_open) {
        shard_close(&server->shard);
    }
    server_write_logs(server);
    log_fini(&server->worker_log);
    shard_fini(&server->shard);
    for (unsigned i = 0; server->cores != NULL && i < server->core_count; i++) {
        if (server->cores[i].server != NULL) {
            shard_fini(&server->cores[i].shard);
        }
    }
    free(server->cores);
    takeover_free(server->takeover);
    if (server->store != NULL) {
        journal_store_close(server->store);
    }
    mbox_hub_free(server->hub);
    session_count_free(server->sessions);
    rate_table_free(server->rates);
    names_free(&server->names);
    tls_files_free(&server->tls);
    config_free(server->config);
    bindings_free(&server->bindings);
    if (server->signal_fd >= 0) {
        close(server->signal_fd);
    }
    log_output_close(&server->log_output);
    data_dir_close(&server->dir);
}

int server_run(const struct server_options *options)
{
    struct server server = {
        .options = options, .signal_fd = -1, .http_fd = -1, .log_output.fd = -1};
    if (!environment_read(&server.env, stderr) || !server_inherit()) {
        return 1;
    }
    if (!data_open(&server)) {
        return 1;
    }
    server.core_count = options->cores > 0 ? options->cores : server_cpu_count();
    if (server.env.recovery_mode) {
        server.core_count = 0; /* neither listeners nor delivery */
    }
    if (server.core_count > SERVER_CORES_MAX) {
        fprintf(stderr, "ringmx: --cores: at most %d\n", SERVER_CORES_MAX);
        return 1;
    }
    if (log_init(&server.log, -1, options->log_level) != MX_OK) {
        fprintf(stderr, "ringmx: out of memory\n");
        return 1;
    }
    server.log.wall_ms = clock_wall_ms();
    raise_file_limit();
    bool good = start(&server);
    environment_forget(&server.env);
    if (good) {
        server_cores_tell(&server, false);
        if (server.takeover != NULL) { /* in recovery mode the queue is left alone */
            takeover_begin(server.takeover, &server.shard);
        }
        server_log_ready(&server);
    } else {
        server.stopping = true;
        if (options->log_output.path != NULL) {
            fprintf(stderr, "ringmx: cannot start: %s says why\n", options->log_output.path);
        }
    }
    if (server.shard_is_open) {
        loop(&server);
    }
    if (good) {
        struct log_line *line = log_begin(&server.log, LOG_INFO, "stopped");
        log_end(&server.log, line);
    }
    end(&server);
    log_fini(&server.log);
    return good && !server.broken ? 0 : 1;
}
