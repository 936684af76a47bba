/* The configuration as a core reads it: immutable, with a generation number, made by admin/compile,
 * shared by all cores. Accounts and domains are not in here: every core has its own
 * route/directory. */
#pragma once

#include "core/netaddr.h"
#include "core/slice.h"
#include "route/expr.h"
#include "route/limits.h"
#include "route/netset.h"
#include "route/outbound.h"
#include "route/performance.h"
#include "route/schedule.h"
#include "route/throttle.h"

enum route_kind { ROUTE_LOCAL, ROUTE_MX, ROUTE_RELAY };

struct route_conf {
    struct slice name;
    enum route_kind kind;
    struct slice address; /* Relay: host name or literal address, NUL-terminated behind .ptr[len] */
    uint16_t port;
    bool lmtp;
    bool implicit_tls;
    bool allow_invalid_certs;
    /* Mx */
    uint8_t mx_hosts_max;     /* tried for a domain */
    uint8_t mx_addresses_max; /* tried for a host */
    uint8_t mx_families;      /* enum address_families of io/address_lookup.h */
    uint32_t index;           /* position in image->routes */
};

enum {
    IMAGE_LISTENERS_MAX = 256,
    IMAGE_QUEUES_MAX = 16,
    IMAGE_SCHEDULES_MAX = 256,
    QUEUE_NAME_MAX = 8,
};

/* A virtual queue: deliveries that share a number of workers. */
struct queue_conf {
    struct slice name; /* at most QUEUE_NAME_MAX bytes */
    uint32_t workers;  /* deliveries at a time, all cores together */
};

struct listener_conf {
    struct slice name;
    uint32_t slot; /* of its session counters: below IMAGE_LISTENERS_MAX, stays while it exists */
    const struct netaddr *binds;
    uint32_t bind_count;
    bool tls; /* STARTTLS (or implicit) available */
    bool tls_implicit;
    bool lmtp;
    uint32_t connections_max;
    uint32_t backlog;
    uint32_t greet_delay_ms; /* 0: the banner goes out at once */
    bool proxy_override;     /* proxy_networks replaces the global set */
    const struct netmask *proxy_networks;
    uint32_t proxy_network_count;
};

/* Limits of inbound sessions; units in the names. */
struct session_limits {
    uint64_t idle_ms;          /* 5 min */
    uint64_t data_block_ms;    /* 10 min */
    uint64_t data_rate;        /* of content, bytes a second: 500; 0 = any */
    uint64_t data_grace_ms;    /* how far a client may be behind it: 3 min */
    uint64_t session_ms;       /* 1 h */
    uint64_t proxy_header_ms;  /* 5 s */
    uint64_t tls_handshake_ms; /* 60 s */
    uint64_t size_bytes_max;   /* 100 MiB */
    uint32_t line_bytes_max;   /* 4096 */
    uint32_t rcpts_max;        /* 1000 */
    uint32_t received_max;     /* 50 */
    uint32_t errors_max;       /* 20 */
    uint32_t error_delay_ms; /* of replies to errors behind the first error_delay_after; 0: none */
    uint32_t error_delay_after;
    uint32_t rcpt_errors_max; /* of them, refused recipients; 0: no limit of their own */
    uint32_t rcpt_delay_ms;   /* of the replies to them; 0: none */
    uint32_t messages_max;    /* 1000 */
    uint32_t commands_max;    /* 10000 */
    bool refuse_pipelining;   /* of what may not be */
    bool normalize_newlines;
    bool binarymime;
    bool helo_optional;                      /* MAIL without EHLO or HELO before it */
    bool no_pipelining, no_chunking, no_dsn; /* not offered */
};

/* What may differ from session to session: worked out when one begins, and what is only announced
 * at EHLO, at that. What is announced does not change under a session. */
enum session_setting {
    SETTING_HOSTNAME,      /* in image->hostname */
    SETTING_HELO_OPTIONAL, /* from here on: in image->limits */
    SETTING_IDLE_MS,
    SETTING_SESSION_MS,
    SETTING_DATA_BLOCK_MS,
    SETTING_ERRORS,
    SETTING_COMMANDS,
    SETTING_LINE_BYTES,
    SETTING_RCPTS,
    SETTING_RCPT_ERRORS,
    SETTING_RCPT_DELAY_MS,
    SETTING_SIZE_BYTES,
    SETTING_MESSAGES,
    SETTING_RECEIVED,
    SETTING_NO_PIPELINING,
    SETTING_NO_CHUNKING,
    SETTING_NO_DSN,
    SETTING_DATA_RATE,
    SETTING_DATA_GRACE_MS,
    SESSION_SETTINGS
};

/* Decisions that are expressions: of sessions, and of reports to senders. */
enum stage_program {
    STAGE_GREETING,       /* CONN: text of the banner */
    STAGE_FQDN,           /* CONN: must the name at EHLO be fully qualified? */
    STAGE_SENDER,         /* MAIL: is the sender allowed? */
    STAGE_RELAYING,       /* RCPT: are recipients accepted whose domain is not served here? */
    STAGE_REWRITE_SENDER, /* MAIL: the address that takes its place; anything but a text: itself */
    STAGE_REWRITE_RCPT,   /* RCPT: the same */
    STAGE_REPORT_NAME,    /* QSENDER: whose name stands in the From field */
    STAGE_REPORT_ADDRESS, /* QSENDER: address there */
    STAGE_PROGRAMS
};

/* Name servers instead of the system's. */
struct resolver_conf {
    const struct netaddr *servers;
    uint32_t server_count; /* 0: the system's */
    uint32_t timeout_ms;   /* until the next one is asked */
    uint32_t attempts;     /* of each */
};

struct certificate_conf {
    struct slice cert_pem, key_pem;
};

struct image {
    uint64_t generation;
    struct slice hostname;               /* of this server: banner, EHLO, trace headers */
    struct slice domain;                 /* the default one, or empty */
    struct slice node_id, node_hostname; /* of the machine: digits, and its own name */
    struct slice postmaster;      /* address for postmaster mail that nobody else takes, or empty */
    struct session_limits limits; /* where no program says something else: */
    /* Context as in session_setting_row(). Results of numbers are integers in the setting's range;
     * those that say what is asked for and offered count by truth. NULL: as in limits; where there
     * is one, limits hold the most that it can yield. */
    const struct expr_program *session_programs[SESSION_SETTINGS];
    bool session_varies;                               /* there is one */
    const struct expr_program *stages[STAGE_PROGRAMS]; /* NULL: as by default */
    struct inbound_throttles throttles;
    struct performance performance;           /* zeros: defaults */
    uint32_t connections_max;                 /* all listeners, whole process */
    uint32_t client_connections_max;          /* of them, of one client */
    uint32_t network_connections_max;         /* of one network; 0: no limit */
    uint8_t network_bits_v4, network_bits_v6; /* that make a network */
    const struct listener_conf *listeners;
    uint32_t listener_count;
    const struct listener_conf *http_listeners; /* of management; slots count from 0 here too */
    uint32_t http_listener_count;
    const struct route_conf *routes;
    uint32_t route_count;
    const struct expr_program *route_program; /* context QRCPT; yields a route's name */
    const struct queue_conf *queues;          /* none: one without a bound */
    uint32_t queue_count;
    const struct schedule *schedules; /* none: as deliver_conf says */
    uint32_t schedule_count;
    const struct expr_program *schedule_program; /* context QRCPT; yields a schedule's name; with
                                                    schedules only */
    bool routing_asks;                           /* one of the two may wait for an answer */
    struct outbound_conf outbound;               /* all zero: the defaults */
    struct limits_conf traffic;                  /* all zero: no limits of it */
    const struct netmask *proxy_networks;
    uint32_t proxy_network_count;
    struct resolver_conf resolver;
    const struct netset *blocked, *allowed;     /* clients; NULL = none */
    const struct certificate_conf *certificate; /* NULL: a self-signed one is made */
};

/* NULL when there is none of that name. */
const struct route_conf *image_route(const struct image *image, struct slice name);
/* What system() answers to a name. There are no roles of nodes, so node_role is empty. */
struct slice image_system(const struct image *image, struct slice name);
/* NULL when there is none of that name. */
const struct schedule *image_schedule(const struct image *image, struct slice name);
/* Is this client not to be served? Loopback and what is allowed never is. */
static inline bool image_blocks(const struct image *image, const struct netaddr *client,
                                int64_t wall_ms)
{
    return netset_has(image->blocked, client, wall_ms) && !netaddr_is_loopback(client) &&
           !netset_has(image->allowed, client, wall_ms);
}
