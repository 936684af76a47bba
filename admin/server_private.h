/* Shared by the files of `ringmx serve`: server.c (start, running, end), server_cores.c (the cores'
 * threads), server_sockets.c (listening sockets), server_confine.c (whom the process runs as and
 * what it may), server_management.c (loop, worker, endpoint), server_log.c (log lines).
 */
#pragma once

#include "admin/backend.h"
#include "admin/ban.h"
#include "admin/bindings.h"
#include "admin/config.h"
#include "admin/data_dir.h"
#include "admin/environment.h"
#include "admin/management.h"
#include "admin/publish.h"
#include "admin/server.h"
#include "admin/tls_files.h"
#include "admin/web.h"
#include "admin/worker.h"
#include "io/mbox.h"
#include "smtp/service.h"

#include <pthread.h>
#include <semaphore.h>

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
    uint64_t keys_seed;
    struct expr_metrics metrics; /* of all cores, for expressions */
    struct names names;          /* of this system, as they were at the start */
    struct shard shard;          /* of the management loop */
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
    bool cores_told;    /* to stop */
    bool filters_calls; /* the filter of system calls is in force */
    bool broken;        /* ends by itself, with an error */
    uint64_t stop_ns;
};

/* --- server_log.c ---------------------------------------------------------------------------- */

void server_write_logs(struct server *server);
/* What waits goes to the file that has the name now. */
void server_reopen_log(struct server *server);
/* Logs that `what` cannot be had; false, always. */
bool server_failed(struct server *server, const char *what, mx_err err);
/* What to do when the reason is that io_uring cannot be had. */
void server_advise_on_ring(struct server *server);
void server_log_cannot_listen(struct server *server, const struct config_problem *problem);
void server_log_ready(struct server *server);

/* --- server_cores.c -------------------------------------------------------------------------- */

unsigned server_cpu_count(void);
/* Their logs want more alignment than malloc gives. NULL: no memory. */
struct core_thread *server_cores_new(unsigned count);
/* Offences told by the thread `from`, counted by the management worker. */
struct offence_conf server_offences_from(struct server *server, unsigned from);
bool server_cores_start(struct server *server);
/* To begin or to stop. */
void server_cores_tell(struct server *server, bool stop);

/* --- server_sockets.c ------------------------------------------------------------------------ */

/* In the environment before anything else opens descriptors. */
bool server_inherit(void);
bool server_listeners_open(struct server *server);
/* Bound before privileges are dropped, like the others. */
bool server_http_listen_open(struct server *server);

/* --- server_confine.c ------------------------------------------------------------------------ */

/* Lock and registry belong to the user that the process becomes: they are made, and tried, as it.
 */
bool server_lend(struct server *server);
bool server_take_back(struct server *server);
bool server_become_user(struct server *server);
/* A server that cannot be confined runs all the same: older kernels and containers cannot. */
bool server_confine(struct server *server);
/* When all rings exist. */
bool server_confine_rings(struct server *server);

/* --- server_management.c --------------------------------------------------------------------- */

bool server_loop_open(struct server *server);
bool server_web_open(struct server *server);
bool server_management_start(struct server *server);
