/* Sessions behind a proxy: a connection from a trusted network begins with a PROXY header, which
 * says who the client is and which address it came to. Until the header is complete it is no
 * session: it has SERVICE_PROXY_WAITS_MAX places of its own and a deadline of its own, so that a
 * proxy that says nothing takes no session away from the others. */
#pragma once

#include "core/list.h"
#include "io/proxy_parse.h"
#include "smtp/stats.h"

struct image;
struct listener_conf;
struct srv_conn;

/* A header that is awaited. */
struct proxy_wait {
    struct list_node node; /* in service->proxy_waits, the oldest first */
    struct srv_conn *conn;
    struct proxy_parse parse;
};

/* Is the client one whose connections begin with a header at this listener? */
bool srv_proxy_trusts(const struct image *image, const struct listener_conf *listener,
                      const struct netaddr *client);
/* Must this address, a peer or a client, be preceded by a header? Nobody limits or blocks those.
 * What is configured now decides, not what was when the connection began. */
bool srv_proxy_trusted(const struct srv_conn *conn);
/* Begins to wait. The oldest one that waits makes room where none is left. False: no memory. */
bool srv_proxy_begin(struct srv_conn *conn);
/* Takes the header out of *in. DONE: conn->client and conn->server are those of the header, and
 * nothing is awaited any more; MALFORMED: refused. */
enum proxy_status srv_proxy_input(struct srv_conn *conn, struct slice *in);
/* One log line, counted as why; the connection is closed without a word. reason: static text. */
void srv_proxy_refuse(struct srv_conn *conn, enum stats_refusal why, const char *reason);
/* The peer has closed. Without a byte it was a health check, of which nothing is said. */
void srv_proxy_closed(struct srv_conn *conn);
