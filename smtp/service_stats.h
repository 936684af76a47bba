/* What one core has counted and holds, as a copy made by the core itself when it is asked by
 * message: counting stays plain additions, and nobody reads a core's memory. */
#pragma once

#include "io/journal.h"
#include "io/mbox.h"
#include "route/directory.h"

struct service;

struct service_snapshot {
    bool ready;            /* would take a message now */
    const char *not_ready; /* static text: why not, or NULL */
    uint64_t generation;   /* of the configuration */
    uint64_t sessions;     /* open now */
    uint64_t accepted, refused, blocked, timeouts, proxy_refused; /* sessions, since start */
    uint64_t messages;                                            /* received, since start */
    uint64_t queued;                                              /* messages now */
    uint64_t active;                                              /* of them in memory */
    uint64_t delivered, deferred, bounced;                        /* recipients, since start */
    uint64_t hops_down; /* next hops that do not answer now */
    uint64_t turns, longest_turn_ns;
    uint64_t blocks_used, blocks_max; /* memory for content and output, of BLOCK_BYTES each */
    uint64_t log_dropped;             /* lines */
    struct journal_stats journal;
    struct directory_stats directory;
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
