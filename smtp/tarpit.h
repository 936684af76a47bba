/* Replies that wait: a session that makes many errors (MtaInboundSession.errorDelay) gets the reply
 * to the next one later, and what it has sent meanwhile waits in the kernel. Nothing else waits; it
 * costs the reply's memory and the session's own timer. */
#pragma once

#include "core/cursor.h"

struct srv_conn;

enum { TARPIT_MS_MAX = 60000 }; /* whatever one read had of errors */

struct tarpit {
    uint64_t until_ns;
    size_t len;
    uint8_t bytes[];
};

/* The engine has made a reply, out's bytes from `from` on (all of them when it has been sent
 * since), of so many errors. True: it waits, out has the rest and is to be sent; the session's
 * timer is armed. */
bool tarpit_begin(struct srv_conn *conn, uint32_t errors, struct writer *out, size_t from);
/* Sends what waits. Harmless when nothing does. */
void tarpit_end(struct srv_conn *conn);
