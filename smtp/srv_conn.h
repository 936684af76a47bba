/* The pump of the SMTP server: owns one accepted connection, drives PROXY header, TLS and
 * smtp/srv_engine, and answers the engine's questions from the core's tables and spool.
 *
 * Memory of an idle session is this struct and the HELO name (at most 1 KiB): transaction, content,
 * parked input and output exist only while needed. */
#pragma once

#include "io/listen.h"
#include "io/stream.h"
#include "smtp/spool.h"
#include "smtp/srv_engine.h"
#include "smtp/srv_pace.h"
#include "smtp/srv_proxy.h"
#include "smtp/srv_wait.h"
#include "smtp/tarpit.h"
#include "smtp/throttle.h"

struct service;
struct service_listener;

enum {
    SRV_CONN_BYTES_MAX = 1024,
    SRV_OUT_BYTES = 8 * 1024,   /* replies collected before they go to the stream */
    SRV_UNSENT_MAX = 16 * 1024, /* replies that are not sent: over it no more input is taken */
    SRV_UNREAD_MS = 60000,      /* how long that may last */
};

struct srv_conn {
    struct stream stream;
    struct srv srv;
    struct service *service;
    struct service_listener *listener;
    struct srv_profile *profile;  /* what was announced */
    struct session_settings *own; /* NULL: as in the profile and the image */
    struct list_node node;        /* in service->sessions */
    union {
        struct list_node refused_node; /* of one without a banner: in service->refused */
        struct throttle_hello hello;   /* of one that got its banner (welcome) */
    };
    struct timer timer;
    uint64_t number; /* of the session, for the log */
    uint64_t began_ns;
    uint64_t phase_ns;     /* when the current wait for the client began: for a whole command, for
                              more content, for it to read */
    struct srv_pace pace;  /* of the transaction's content */
    struct netaddr client; /* the real one: from PROXY, else the peer */
    struct netaddr server; /* where it connected to, when PROXY says so; else family 0 */
    struct proxy_wait *proxy;             /* while the header is awaited */
    uint8_t *helo;                        /* as given, malloc'd; NULL before */
    uint32_t client_place, network_place; /* in service->conf.sessions */
    uint8_t refusal; /* enum stats_refusal: why it is refused, else STATS_REFUSALS */
    uint8_t helo_len;
    bool counted : 1;    /* as a session of its listener */
    bool throttled : 1;  /* the rates of connections were asked */
    bool tls_wait : 1;   /* a handshake is on */
    bool unread : 1;     /* it is to read its replies first */
    bool greet_wait : 1; /* the banner waits, and who speaks meanwhile is refused */
    bool greet_done : 1; /* it has waited */
    bool welcome : 1;    /* nothing is against the banner */
    bool closing : 1;
    uint16_t refused_len;  /* behind helo: sender or recipient of the first refusal */
    struct srv_wait *wait; /* the open question's answer comes from elsewhere; else NULL */
    struct tarpit *tarpit; /* a reply that waits; else NULL */
    struct txn *txn;
    struct incoming *incoming;
};

/* Takes an accepted descriptor. Over the limits it is answered with 421; without memory it is
 * closed. */
void srv_conn_accept(struct service_listener *listener, int fd);
/* Shutdown: 421 and close, unless content is being received and force is false. */
void srv_conn_stop(struct srv_conn *conn, bool force);
/* Timeouts may be shorter now: the deadline is worked out anew. */
void srv_conn_hurry(struct srv_conn *conn);
/* The configuration has changed: closes if this client is blocked now; its time may be shorter. */
void srv_conn_recheck(struct srv_conn *conn);
