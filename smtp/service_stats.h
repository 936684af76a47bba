/* What one core has counted and holds, as a copy made by the core itself when it is asked by
 * message: counting stays plain additions, and nobody reads a core's memory. Making it is bounded
 * work: a copy of fixed size, and a look at every next hop. */
#pragma once

#include "core/overload.h"
#include "io/dns.h"
#include "io/journal.h"
#include "io/mbox.h"
#include "io/shard.h"
#include "route/directory.h"
#include "route/expr.h"
#include "smtp/stats.h"
#include "smtp/verify.h"

struct service;

enum { STATS_POOLS_MAX = 24 };

/* Memory of one kind. */
struct pool_row {
    const char *name;         /* static text; NULL: the row is not used */
    uint64_t used, used_peak; /* bytes that are given out: now, most since the start */
    uint64_t taken;           /* bytes taken from the system */
    uint64_t limit;           /* the most that it may be */
};

struct service_snapshot {
    bool ready;                                               /* would take a message now */
    const char *not_ready;                                    /* static text: why not, or NULL */
    uint64_t paused;                                          /* deliveries: 0 or 1 */
    uint64_t overload[OVERLOAD_RESOURCES];                    /* levels */
    uint64_t generation;                                      /* of the configuration */
    uint64_t sessions;                                        /* open now */
    uint64_t proxy_waits;                                     /* connections that are none yet */
    uint64_t queued;                                          /* messages now */
    uint64_t queued_bytes;                                    /* content of all of them */
    uint64_t active;                                          /* of them in memory */
    uint64_t hops, hops_down, hops_waiting, hops_connections; /* now */
    uint64_t turns, longest_turn_ns;
    uint64_t log_dropped;      /* lines */
    uint64_t log_repeats;      /* lines that were left out as repeats */
    uint64_t trace_records;    /* kept since the start, of messages and sessions */
    uint64_t trace_ns;         /* age of the oldest that is kept of messages */
    uint64_t accept_shortages; /* times accepting failed for lack of descriptors or memory */
    uint64_t read_ns;          /* what the last answer to stats_request took the core */
    uint64_t directory_load_ppm, journal_live_ppm;
    struct shard_stats loop;
    struct ring_stats ring;
    struct journal_stats journal;
    struct directory_stats directory;
    struct expr_stats route;
    uint64_t keys, keys_forgotten; /* of expressions, that this core has */
    struct session_stats session;
    struct mail_stats mail;
    struct deliver_stats deliver;
    struct verify_stats verify;
    uint64_t verify_connections; /* now */
    struct dns_stats dns;
    uint64_t dns_kept;    /* questions that were answered by what was kept */
    uint64_t dns_running; /* lookups now */
    struct pool_row pools[STATS_POOLS_MAX];
};

/* One question to one core. Belongs to the core from mbox_send of msg until the reply arrives. */
struct stats_request {
    struct mbox_msg msg; /* receive = stats_request_receive */
    unsigned reply_to;
    struct mbox_msg reply; /* receive is the asker's */
    struct service_snapshot snapshot;
};

void stats_request_receive(struct mbox_msg *msg, struct shard *at);
void service_snapshot_take(const struct service *service, struct service_snapshot *out);
