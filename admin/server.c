#include "admin/server.h"

#include "admin/backend.h"
#include "admin/ban.h"
#include "admin/bindings.h"
#include "admin/config.h"
#include "admin/data_dir.h"
#include "admin/environment.h"
#include "admin/inherited.h"
#include "admin/management.h"
#include "admin/pause_file.h"
#include "admin/privileges.h"
#include "admin/publish.h"
#include "admin/sandbox.h"
#include "admin/store.h"
#include "admin/tls_files.h"
#include "admin/web.h"
#include "admin/worker.h"
#include "core/check.h"
#include "io/clock.h"
#include "io/mbox.h"
#include "io/random.h"
#include "io/sys.h"
#include "io/thread.h"
#include "smtp/service.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <unistd.h>

enum {
    LOG_POLL_MS = 50,
    HTTP_BACKLOG = 128,
    /* Between a core's 3 ms and the worker's 100. */
    LOOP_SLICE_NS = 10000000,
};

/* One core as the management thread sees it. */
struct core_thread {
    struct server *server;
    pthread_t thread;
    bool started;
    struct shard shard;
    struct service service;
    struct service_conf conf;
    mx_err err;       /* why it could not open */
    const char *what; /* which part */
    struct mbox_msg start_msg, stop_msg, gone_msg;
};

struct server {
    const struct server_options *options;
    struct environment env;
    struct data_dir dir;
    struct deliver_pause pause; /* of the start */
    struct config *config;      /* of the start; later ones belong to the publisher */
    struct tls_files tls;
    struct bindings bindings; /* of the start */
    struct journal_store *store;
    struct takeover *takeover;
    struct mbox_hub *hub;
    struct session_count *sessions;
    struct rate_table *rates;
    struct names names; /* of this system, as they were at the start */
    struct shard shard; /* of the management loop */
    bool shard_is_open;
    struct worker *worker;
    struct publisher *publisher;
    struct web *web; /* NULL in recovery mode */
    struct queue_cores *queue;
    struct ban *ban;
    struct worker_job ban_stop_job;
    bool ban_stop_asked, ban_stopped;
    struct explain_cores *explain;
    struct backend *backend;
    struct management *management; /* NULL: switched off */
    int http_fd;
    struct netaddr http_addr; /* family 0: switched off */
    struct log_output log_output;
    struct log log;        /* of the start and the end */
    struct log worker_log; /* written by the worker's thread */
    struct core_thread *cores;
    unsigned core_count;
    const struct pulse *pulses[SERVER_CORES_MAX];
    unsigned cores_gone;
    sem_t opened;
    sem_t may_close; /* all cores have stopped: nobody wakes another's ring any more */
    int signal_fd;
    bool stopping;
    bool cores_told; /* to stop */
    bool broken;     /* ends by itself, with an error */
    uint64_t stop_ns;
};

/* --- log lines ---------------------------------------------------------------------------------
 */

static void logs_write(struct server *server)
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

/* What waits goes to the file that has the name now. */
static void log_reopen(struct server *server)
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

static bool failed(struct server *server, const char *what, mx_err err)
{
    struct log_line *line = log_begin(&server->log, LOG_ERROR, "cannot-start");
    log_text(line, "part", what);
    log_err(line, "reason", err);
    log_end(&server->log, line);
    return false;
}

/* What to do when the reason is that io_uring cannot be had. */
static void advise_on_ring(struct server *server)
{
    struct ring_probe probe;
    ring_probe(&probe);
    if (probe.err != MX_OK) {
        struct log_line *line = log_begin(&server->log, LOG_ERROR, "io_uring-unusable");
        log_text(line, "advice", probe.advice);
        log_end(&server->log, line);
    }
}

/* --- the cores' threads ------------------------------------------------------------------------
 */

static void service_stopped(struct service *service)
{
    shard_stop(service->shard);
}

static void on_start(struct mbox_msg *msg, struct shard *at)
{
    (void)msg;
    service_start(at->service);
}

static void on_stop(struct mbox_msg *msg, struct shard *at)
{
    (void)msg;
    service_stop(at->service);
}

static void on_gone(struct mbox_msg *msg, struct shard *at)
{
    (void)at;
    mx_container_of(msg, struct core_thread, gone_msg)->server->cores_gone++;
}

static void *core_main(void *arg)
{
    struct core_thread *core = arg;
    core->what = "io_uring";
    core->err = shard_open(&core->shard);
    bool shard_is_open = core->err == MX_OK;
    if (shard_is_open) {
        core->err = service_open(&core->service, &core->shard, &core->conf, &core->what);
    }
    bool opened = core->err == MX_OK;
    sem_post(&core->server->opened);
    if (opened) {
        shard_run(&core->shard);
        service_close(&core->service);
    }
    core->gone_msg.receive = on_gone;
    mx_err err = mbox_send(core->server->hub, core->shard.conf.id, core->server->core_count,
                           &core->gone_msg);
    MX_ASSERT(err == MX_OK); /* the only message that a core sends there */
    while (sem_wait(&core->server->may_close) != 0 && errno == EINTR) {
    }
    if (shard_is_open) {
        shard_close(&core->shard);
    }
    return NULL;
}

static int cpu_of(unsigned index, unsigned cores)
{
    cpu_set_t set;
    if (sched_getaffinity(0, sizeof set, &set) != 0 || cores > (unsigned)CPU_COUNT(&set)) {
        return -1;
    }
    for (int cpu = 0; cpu < CPU_SETSIZE; cpu++) {
        if (CPU_ISSET(cpu, &set) && index-- == 0) {
            return cpu;
        }
    }
    return -1;
}

static unsigned cpu_count(void)
{
    cpu_set_t set;
    return sched_getaffinity(0, sizeof set, &set) == 0 ? (unsigned)CPU_COUNT(&set) : 1;
}

/* Told by the thread `from`, counted by the management worker. */
static struct offence_conf offences_from(struct server *server, unsigned from)
{
    return (struct offence_conf){.hub = server->hub,
                                 .from = from,
                                 .to = server->core_count + 1,
                                 .receive = ban_receive,
                                 .owner = server->ban};
}

static mx_err core_prepare(struct server *server, unsigned index)
{
    struct core_thread *core = &server->cores[index];
    const struct server_options *options = server->options;
    uint64_t memory = options->memory_bytes ? options->memory_bytes : SERVER_MEMORY_BYTES;
    core->server = server;
    struct shard_conf conf = {.id = index,
                              .count = server->core_count,
                              .cpu = options->no_pin ? -1 : cpu_of(index, server->core_count),
                              .blocks_max = memory / BLOCK_BYTES,
                              .workers = DELIVER_LANES,
                              .log_level = options->log_level,
                              .hub = server->hub};
    const struct config *config = server->config;
    core->conf.image = &config->image;
    core->conf.domains = config->domains;
    core->conf.domain_count = config->domain_count;
    core->conf.addresses = config->addresses;
    core->conf.address_count = config->address_count;
    core->conf.hash_seed = random_u64();
    core->conf.store = server->store;
    core->conf.sessions = server->sessions;
    core->conf.rates = server->rates;
    core->conf.takeover = server->takeover;
    core->conf.names = &server->names;
    core->conf.cert_pem = server->tls.cert_pem;
    core->conf.key_pem = server->tls.key_pem;
    core->conf.stopped = service_stopped;
    core->conf.offences = offences_from(server, index);
    core->conf.deliver = (struct deliver_conf){
        .retry_ms = options->retry_ms, .mail_root = server->dir.mail, .pause = server->pause};
    schedule_default(&core->conf.deliver.schedule);
    return shard_init(&core->shard, &conf);
}

/* Every core's memory is made before the first thread starts, since the management loop reads their
 * logs. They open at the same time: each makes the first segments of its journal. */
static bool cores_start(struct server *server)
{
    for (unsigned i = 0; i < server->core_count; i++) {
        mx_err err = core_prepare(server, i);
        if (err) {
            return failed(server, "memory of a core", err);
        }
    }
    unsigned started = 0;
    while (started < server->core_count) {
        struct core_thread *core = &server->cores[started];
        core->started = pthread_create(&core->thread, NULL, core_main, core) == 0;
        if (!core->started) {
            break;
        }
        started++;
    }
    for (unsigned i = 0; i < started; i++) {
        while (sem_wait(&server->opened) != 0 && errno == EINTR) {
        }
    }
    bool good = started == server->core_count || failed(server, "a core's thread", MX_ERR_NOMEM);
    for (unsigned i = 0; good && i < started; i++) {
        const struct core_thread *core = &server->cores[i];
        good = core->err == MX_OK || failed(server, core->what, core->err);
    }
    if (!good) {
        advise_on_ring(server);
    }
    return good;
}

static void cores_tell(struct server *server, bool stop)
{
    for (unsigned i = 0; i < server->core_count; i++) {
        struct core_thread *core = &server->cores[i];
        struct mbox_msg *msg = stop ? &core->stop_msg : &core->start_msg;
        msg->receive = stop ? on_stop : on_start;
        if (core->started && core->err == MX_OK) {
            mx_err err = mbox_send(server->hub, server->core_count, i, msg);
            MX_ASSERT(err == MX_OK); /* at most two are ever sent */
        }
    }
}

/* --- listening sockets -------------------------------------------------------------------------
 */

static void log_cannot_listen(struct server *server, const struct config_problem *problem)
{
    struct log_line *line = log_begin(&server->log, LOG_ERROR, "cannot-listen");
    log_text(line, "reason", problem->text);
    log_end(&server->log, line);
}

/* In the environment before anything else opens descriptors. */
static bool inherit(void)
{
    const char *problem;
    (void)inherited_open(&problem);
    if (problem != NULL) {
        fprintf(stderr, "ringmx: %s\n", problem);
    }
    return problem == NULL;
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

static bool listeners_open(struct server *server)
{
    struct config_problem problem = {0};
    privileges_sockets(server->options->user);
    mx_err err = bindings_open(&server->bindings, &server->config->image, NULL, server->core_count,
                               SERVER_BIND_RETRY_MS, &problem);
    privileges_sockets(NULL);
    if (err) {
        log_cannot_listen(server, &problem);
        return false;
    }
    for (unsigned i = 0; i < server->core_count; i++) {
        server->cores[i].conf.listen_fds = bindings_of(&server->bindings, i);
    }
    return true;
}

/* Bound before privileges are dropped, like the others. */
static bool http_listen_open(struct server *server)
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
        err = server->http_fd >= 0 ? MX_OK : ring_listen(&server->http_fd, &conf);
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

/* --- start -------------------------------------------------------------------------------------
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
        return failed(server, "signals", MX_ERR_INVALID);
    }
    server->signal_fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
    return server->signal_fd >= 0 || failed(server, "signals", MX_ERR_NOFILES);
}

/* Lock and registry belong to the user that the process becomes: they are made, and tried, as it.
 */
static bool lend(struct server *server)
{
    return server->options->user == NULL || privileges_lend(server->options->user, stderr);
}

static bool take_back(struct server *server)
{
    return server->options->user == NULL || privileges_return(stderr);
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
    return lend(server) &&
           data_dir_open(&server->dir, server->options->data_dir, stderr) == MX_OK &&
           pause_open(server) &&
           log_output_open(&server->log_output, &server->options->log_output, stderr) &&
           take_back(server);
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
    if (!lend(server)) {
        return false;
    }
    mx_err err = config_load(&server->config, server->dir.root, &problem);
    if (!take_back(server)) {
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
        (void)failed(server, "queue recovery", result->err);
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
        return failed(server, "journal", err);
    }
    struct takeover_conf takeover = {.store = server->store,
                                     .hub = server->hub,
                                     .cores = server->core_count,
                                     .log_level = server->options->log_level,
                                     .ended = queue_taken,
                                     .owner = server};
    err = takeover_new(&server->takeover, &takeover);
    return err == MX_OK || failed(server, "queue recovery", err);
}

static bool hub_open(struct server *server)
{
    mx_err err =
        session_count_new(&server->sessions, server->core_count, IMAGE_LISTENERS_MAX, random_u64());
    err = err ? err : rate_table_new(&server->rates, RATE_TABLE_BUCKETS, random_u64());
    err = err ? err : log_init(&server->worker_log, -1, server->options->log_level);
    err = err ? err : ban_new(&server->ban, &server->worker_log);
    if (!err) {
        err = mbox_hub_new(&server->hub, server->core_count);
    }
    return err == MX_OK || failed(server, "mailboxes", err);
}

/* --- management --------------------------------------------------------------------------------
 */

/* The loop is a shard of its own, so that HTTP and all else on it use the same streams and timers
 * as the cores. */
static bool loop_open(struct server *server)
{
    struct shard_conf conf = {.id = server->core_count,
                              .count = server->core_count,
                              .cpu = -1,
                              .blocks_max = SERVER_MANAGEMENT_BLOCKS,
                              .wipe = true,
                              .log_level = server->options->log_level,
                              .ring = {.recv_bufs = SERVER_MANAGEMENT_RECV_BUFS},
                              .hub = server->hub};
    mx_err err = shard_init(&server->shard, &conf);
    server->shard.log.core = -1;
    err = err ? err : shard_open(&server->shard);
    server->shard_is_open = err == MX_OK;
    if (err) {
        advise_on_ring(server);
        return failed(server, "management loop", err);
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
    return err ? err : explain_cores_new(&server->explain, &conf);
}

/* The HTTP listeners of the configuration; recovery mode has only that of the command line. */
static bool web_open(struct server *server)
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
        return failed(server, "management", err);
    }
    struct bindings_change change = {.image = &server->config->image,
                                     .patience_ms = SERVER_BIND_RETRY_MS};
    err = web_prepare(server->web, &change, server->tls.cert_pem, server->tls.key_pem, &problem);
    if (err) {
        log_cannot_listen(server, &problem);
    }
    return err == MX_OK;
}

static bool management_start(struct server *server)
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
    if (!err) {
        struct backend_conf backend = {.data_dir = server->dir.root,
                                       .env = &server->env,
                                       .publisher = server->publisher,
                                       .queue = server->queue,
                                       .delivers = server->core_count > 0,
                                       .pause = server->pause,
                                       .explain = server->explain,
                                       .worker = server->worker,
                                       .ban = server->ban,
                                       .shard = &server->shard,
                                       .log = &server->worker_log};
        err = backend_open(&server->backend, &backend);
    }
    for (unsigned i = 0; i < server->core_count; i++) {
        server->pulses[i] = &server->cores[i].shard.pulse;
    }
    if (!err && (server->http_fd >= 0 || server->web != NULL)) {
        struct management_conf http = {.shard = &server->shard,
                                       .cores = server->core_count,
                                       .pulses = server->pulses,
                                       .worker = server->worker,
                                       .publisher = server->publisher,
                                       .backend = server->backend,
                                       .offences = offences_from(server, server->core_count),
                                       .image = watched ? &server->config->image : NULL,
                                       .public_url = server->env.public_url,
                                       .listen_fd = server->http_fd,
                                       .web = server->web};
        server->http_fd = -1;
        err = management_open(&server->management, &http);
    }
    return err == MX_OK || failed(server, "management", err);
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
    return err == MX_OK;
}

static bool become_user(struct server *server)
{
    bool good = server->options->user == NULL || privileges_drop(server->options->user, stderr);
    privileges_core_dumps(server->options->core_dumps);
    return good;
}

static bool mail_root_make(struct server *server)
{
    mx_err err = sys_mkdirs(server->dir.mail);
    return err == MX_OK || err == MX_ERR_EXISTS || failed(server, "mail folder", err);
}

/* A server that cannot be confined runs all the same: older kernels and containers cannot. */
static bool confine(struct server *server)
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

static bool names_open(struct server *server)
{
    mx_err err = names_read(&server->names);
    return err == MX_OK || failed(server, "/etc/resolv.conf or /etc/hosts", err);
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

static void log_ready(struct server *server)
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

/* Their logs want more alignment than malloc gives. */
static struct core_thread *cores_new(unsigned count)
{
    size_t bytes = (count + 1) * sizeof(struct core_thread);
    struct core_thread *cores = aligned_alloc(_Alignof(struct core_thread), bytes);
    if (cores != NULL) {
        memset(cores, 0, bytes);
    }
    return cores;
}

/* Management, from here on, leaves the cores' CPUs to them where there is another, and where there
 * is none it can wait longer than they can. */
static bool step_aside(struct server *server)
{
    if (!server->options->no_pin && cpu_count() > server->core_count) {
        thread_avoid(server->core_count);
    }
    thread_slice(LOOP_SLICE_NS);
    return true;
}

static bool start(struct server *server)
{
    server->cores = cores_new(server->core_count);
    if (server->cores == NULL || sem_init(&server->opened, 0, 0) != 0 ||
        sem_init(&server->may_close, 0, 0) != 0) {
        return failed(server, "memory", MX_ERR_NOMEM);
    }
    if (server->env.recovery_mode) {
        return signals_open(server) && config_open(server) && http_listen_open(server) &&
               become_user(server) && confine(server) && hub_open(server) && loop_open(server) &&
               management_start(server);
    }
    return signals_open(server) && config_open(server) && listeners_open(server) &&
           http_listen_open(server) && become_user(server) && mail_root_make(server) &&
           confine(server) && names_open(server) && tls_ready(server) && hub_open(server) &&
           loop_open(server) && journal_store_ready(server) && web_open(server) &&
           cores_start(server) && step_aside(server) && management_start(server);
}

/* --- running and the end -----------------------------------------------------------------------
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
            log_reopen(server);
            continue;
        }
        if (server->stopping) {
            logs_write(server);
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
        cores_tell(server, true);
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
        logs_write(server);
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
    logs_write(server);
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
    logs_write(server);
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
    if (!environment_read(&server.env, stderr) || !inherit()) {
        return 1;
    }
    if (!data_open(&server)) {
        return 1;
    }
    server.core_count = options->cores > 0 ? options->cores : cpu_count();
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
        cores_tell(&server, false);
        if (server.takeover != NULL) { /* in recovery mode the queue is left alone */
            takeover_begin(server.takeover, &server.shard);
        }
        log_ready(&server);
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
