/* What one core counts of its mail, beside what io/shard, io/ring and io/journal count of their
 * own. Plain numbers of one thread (core/count.h), bounded: what is counted by name (listeners,
 * routes) has STATS_ROWS_MAX rows, and all further names share the first. */
#pragma once

#include "core/hdr.h"
#include "core/slice.h"
#include "smtp/reply.h"
#include "smtp/srv_counts.h"

enum {
    STATS_ROWS_MAX = 32,
    STATS_NAME_MAX = 128, /* with the NUL; longer ones are abridged */
    STATS_OTHERS = 0,     /* the row that is shared */
};

/* Why a connection was not served. The order is that of stats_refusal_name. */
enum stats_refusal {
    REFUSAL_LISTENER_FULL, /* NetworkListener.maxConnections */
    REFUSAL_SERVER_FULL,   /* SystemSettings.maxConnections */
    REFUSAL_CLIENT_FULL,   /* SystemSettings.maxConnectionsPerClient */
    REFUSAL_NETWORK_FULL,  /* SystemSettings.maxConnectionsPerNetwork */
    REFUSAL_MEMORY,        /* of the core, for content and output */
    REFUSAL_NO_SESSION,    /* no memory for the session itself */
    REFUSAL_STOPPING,
    REFUSAL_OVERLOAD, /* smtp/shed */
    REFUSAL_BLOCKED,
    REFUSAL_PROXY_HEADER,  /* malformed or cut off */
    REFUSAL_PROXY_TIMEOUT, /* not complete in time */
    REFUSAL_PROXY_WAITS,   /* too many waited for theirs: the oldest one goes */
    STATS_REFUSALS
};

/* What RCPT was answered. */
enum stats_verdict {
    VERDICT_LOCAL,
    VERDICT_RELAY,
    VERDICT_MX,
    VERDICT_DUPLICATE, /* named twice in one message: accepted, delivered once */
    VERDICT_UNKNOWN_USER,
    VERDICT_UNKNOWN_DOMAIN,
    VERDICT_REFUSED_THERE, /* the next hop has no such recipient */
    VERDICT_NOT_VERIFIED,  /* it could not say, and the domain wants to know */
    VERDICT_NO_ROUTE,      /* the route expression failed */
    VERDICT_NO_MEMORY,
    VERDICT_THROTTLED, /* over a rate, or its condition failed */
    STATS_VERDICTS
};

/* Kinds of next hops. */
enum stats_class { CLASS_LOCAL, CLASS_SMTP, CLASS_LMTP, CLASS_MX, STATS_CLASSES };

struct class_stats {
    uint64_t attempts;                    /* transactions; of mailboxes: files */
    uint64_t delivered, deferred, failed; /* recipients */
    uint64_t connections;                 /* that were opened */
    uint64_t connections_failed;          /* before the first transaction */
    uint64_t reused;                      /* transactions that were not a connection's first */
    struct hdr attempt_ns;                /* from the beginning of an attempt to its end */
    struct hdr age_ns; /* of the message when a recipient was delivered, since its arrival */
};

struct listener_row {
    char name[STATS_NAME_MAX];
    uint64_t accepted, refused;
};

struct route_row {
    char name[STATS_NAME_MAX];
    uint64_t delivered, deferred, failed; /* recipients */
};

struct throttle_row {
    char name[STATS_NAME_MAX];
    uint64_t passed, over;
};

struct quota_row {
    char name[STATS_NAME_MAX];
    uint64_t refused; /* messages */
};

/* Of received messages. */
struct mail_stats {
    uint64_t messages; /* acknowledged */
    uint64_t not_stored;
    uint64_t rcpts[STATS_VERDICTS];
    struct hdr message_bytes;
    struct hdr ack_ns; /* from the end of the content to its 250 */
    struct quota_row quotas[STATS_ROWS_MAX];
};

struct session_stats {
    uint64_t accepted, timeouts;
    uint64_t slow_data, slow_readers; /* of them: content below the rate, replies not read */
    uint64_t refused[STATS_REFUSALS];
    struct listener_row listeners[STATS_ROWS_MAX];
    struct throttle_row throttles[STATS_ROWS_MAX];
    uint64_t replies_delayed;     /* to errors */
    uint64_t throttles_forgotten; /* counters that gave way in a full table */
    struct srv_counts srv;
};

struct deliver_stats {
    struct class_stats classes[STATS_CLASSES];
    struct route_row routes[STATS_ROWS_MAX];
    struct throttle_row throttles[STATS_ROWS_MAX]; /* transactions; recipients that wait */
    uint64_t reports, expansions;                  /* messages that were made here */
};

/* Label values, lower case, static. */
const char *stats_refusal_name(unsigned refusal);
const char *stats_verdict_name(unsigned verdict);
const char *stats_class_name(unsigned hop_class);

/* The row of a name (UTF-8) in a table of STATS_ROWS_MAX rows, which begin with their name and are
 * `stride` bytes apart; a new one when there is room, else STATS_OTHERS. Different names have
 * different rows: a long one is there as its beginning, '~' and the hash of all of it. */
unsigned stats_row(void *rows, size_t stride, struct slice name);
