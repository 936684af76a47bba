/* Everything of ringmx that runs on one core: listeners, sessions, spool, delivery, tables, and
 * their common start and end. */
#pragma once

#include "core/list.h"
#include "core/trace.h"
#include "io/dns.h"
#include "io/names.h"
#include "io/shard.h"
#include "route/directory.h"
#include "route/image.h"
#include "smtp/client_limit.h"
#include "smtp/deliver.h"
#include "smtp/keys.h"
#include "smtp/offence.h"
#include "smtp/queue_view.h"
#include "smtp/quota.h"
#include "smtp/service_listen.h"
#include "smtp/service_update.h"
#include "smtp/session_count.h"
#include "smtp/shed.h"
#include "smtp/spool.h"
#include "smtp/srv_engine.h"
#include "smtp/srv_wait.h"
#include "smtp/stats.h"
#include "smtp/takeover.h"
#include "smtp/throttle.h"

struct service;

enum {
    SERVICE_SESSIONS_MAX = 1024 * 1024, /* per core, whatever is configured */
    SERVICE_REFUSALS_MAX = 1024,  /* sessions that can be told so at a time, per core, beside those
                                     that are served */
    SERVICE_REFUSALS_LINGER = 64, /* of them, how many have time to hear it */
    SERVICE_PROXY_WAITS_MAX = 1024, /* connections that wait for a PROXY header, per core */
    SERVICE_STOP_MS = 10000,        /* sessions with content on its way get this long at shutdown */
    SERVICE_DRAIN_MS = 20000,       /* then deliveries in flight until here */
    SERVICE_TRACE_RCPTS = 100,      /* recipients of a message that its trace names at arrival */
    SERVICE_TRACE_TEXT = 200,       /* bytes of names in the record of an arrival */
};

/* What the starter of the cores provides. The image, the domains and the addresses stay until
 * updates have replaced them on all cores; the rest outlives the service. */
struct service_conf {
    const struct image *image;
    const struct dir_domain *domains;
    size_t domain_count;
    const struct dir_block *addresses;
    size_t address_count;
    uint64_t hash_seed;
    uint64_t keys_seed; /* the same on all cores */
    struct journal_store *store;
    struct takeover *takeover;      /* NULL: nobody waits to hear that the old queue was adopted */
    struct session_count *sessions; /* of all cores */
    struct rate_table *rates;       /* of all cores; NULL: no image has throttles */
    struct deliver_conf deliver;    /* dns and names are set by the service */
    const struct names *names;      /* of this system */
    const int *listen_fds; /* of this core, taken: one per listener and bound address, in the
                              image's order */
    struct slice cert_pem, key_pem;
    const struct tls_tickets *tickets; /* of all cores, read at the start; NULL: one of its own */
    struct offence_conf offences;      /* zeroed: nobody counts them */
    /* In the core's thread: the service has ended (exit reason), the shard may stop. */
    void (*stopped)(struct service *service);
    void *owner;
};

struct service {
    struct shard *shard;
    struct service_conf conf;
    const struct image *image;
    struct directory *directory;
    struct spool spool;
    struct deliver deliver;
    struct quotas quotas;
    struct keys keys;
    struct dns dns;
    struct resolv_conf resolv; /* what dns goes by */
    struct tls_ctx *tls_server;
    struct pool sessions_pool;
    struct list sessions;    /* struct srv_conn */
    struct list refused;     /* of them, those that end without a banner, the oldest first */
    size_t refused_count;    /* at most SERVICE_REFUSALS_LINGER */
    struct list proxy_waits; /* struct proxy_wait, the oldest first */
    size_t proxy_wait_count;
    struct pool waits;     /* struct srv_wait */
    struct list listeners; /* struct service_listener */
    struct listeners_next next_listeners;
    uint64_t generation;           /* of the configuration that this core runs */
    struct service_update *update; /* being applied */
    struct timer update_timer;
    struct tls_ctx *next_tls;
    bool started;
    bool stopping;
    bool ended;
    uint64_t stop_ns;
    struct shard_hook hook;
    struct timer stop_timer;
    struct performance performance; /* of the image, complete */
    struct trace trace, next_trace; /* the shard's log has it; made for another size */
    uint64_t last_session;          /* number of the newest; from 1 */
    struct session_stats session_stats;
    struct mail_stats mail_stats;
    struct offences offences;
    struct client_limit client_limit;
    struct throttling throttling;
    struct shed shed;
    struct queue_view queue_view;
};

/* In the core's thread, after shard_open. On failure *out_what (static text) says which part
 * failed; nothing is kept, and the shard may only be closed. */
MX_MUST_CHECK mx_err service_open(struct service *service, struct shard *shard,
                                  const struct service_conf *conf, const char **out_what);
/* Begins accepting and delivering. */
void service_start(struct service *service);
/* Begins the end: no new connections, 421 to idle sessions, time for content on its way; then
 * deliveries in flight; then the journal; then conf.stopped. */
void service_stop(struct service *service);
/* After conf.stopped, before shard_close. */
void service_close(struct service *service);

/* From smtp/takeover: this core's part of the old queue. */
void service_adopt(struct service *service, struct spool_part *part);

/* Another image: what it says of the core's own parts. Prepare takes the memory that switch needs.
 */
MX_MUST_CHECK mx_err service_tune_prepare(struct service *service, const struct image *image);
void service_tune(struct service *service, const struct image *image);
void service_tune_cancel(struct service *service);

/* After service->image has changed: the name servers that it names, or else the system's. */
void service_resolver_switch(struct service *service);
/* What a recipient that comes now is routed by. */
struct routing_context service_routing(const struct service *service);
/* For sessions: false = no new transactions now. */
bool service_has_memory(const struct service *service);
