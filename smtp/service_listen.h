/* The listeners of one core: one socket for every address of every NetworkListener, and what their
 * sessions were promised. They change while the server runs; a listener that is gone stays until
 * its last session has ended. */
#pragma once

#include "core/list.h"
#include "io/listen.h"
#include "route/image.h"
#include "smtp/srv_engine.h"
#include "smtp/stats.h"

struct service;

/* What a session announces (RFC 5321 section 4.1.1.1) and must keep to while the configuration
 * changes. One per listener and image; lives as long as one of its sessions. */
struct srv_profile {
    uint32_t references; /* its listener and the sessions */
    bool tls_implicit;
    struct srv_conf conf;
    uint8_t hostname[255]; /* what conf.hostname points to */
};

struct service_listener {
    struct listener listener;
    struct list_node node; /* in service->listeners */
    struct service *service;
    const struct listener_conf *conf; /* of the service's image; NULL: retired */
    struct netaddr bind;
    struct srv_profile *profile;
    uint32_t slot;  /* of its session counters */
    unsigned row;   /* of its statistics */
    uint32_t conns; /* that refer to it */
    int fd;         /* until it is opened, else -1 */
    bool kept;      /* only while a new image is prepared: it is there too */
    bool open;
};

/* The listeners of another image, in two steps: prepare takes memory, then switch or cancel. */
struct listeners_next {
    struct service_listener **listeners; /* NULL: nothing is prepared */
    struct srv_profile **profiles;       /* for each of them */
    uint32_t count;
};

/* fds: one listening socket per listener and bound address, in the image's order, or -1 where this
 * core has it already. They belong to the service once switched; to the caller when cancelled.
 * MX_ERR_NOMEM, MX_ERR_NOTFOUND (no socket for a new address). */
MX_MUST_CHECK mx_err listeners_prepare(struct service *service, const struct image *image,
                                       const int *fds);
void listeners_switch(struct service *service, const struct image *image);
void listeners_cancel(struct service *service);
/* Begins accepting where it has not begun yet. */
void listeners_start(struct service *service);
/* No new connections; what waits in the kernel's queues is accepted to be told so. */
void listeners_stop(struct service *service);
/* True while a listener that is gone still has its socket. */
bool listeners_closing(const struct service *service);
/* True when no listener accepts any more. */
bool listeners_closed(const struct service *service);
/* Frees all; no session is left. */
void listeners_free(struct service *service);

/* For connections. One refers to its listener and its profile from hold to release. */
void listener_hold(struct service_listener *listener);
void listener_release(struct service_listener *listener, struct srv_profile *profile);
/* It is a session from began to ended, unless it is refused: who is told so takes no place.
 * client: what the limits of its client say (smtp/client_limit). What it is to be refused for, else
 * STATS_REFUSALS. */
enum stats_refusal listener_session_began(struct service_listener *listener,
                                          enum stats_refusal client);
void listener_session_ended(struct service_listener *listener);
/* Counts a connection that is not served. */
void listener_count_refusal(struct service_listener *listener, enum stats_refusal why);
