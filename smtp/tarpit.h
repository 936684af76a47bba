/* Replies that wait. An error of a session (a refused command, smtp/reply.def) gets its reply later
 * when the session has made more than MtaInboundSession.errorDelayAfter of them, by its errorDelay,
 * and when it is a refused recipient, by MtaStageRcpt.waitOnFail: the longer of the two, never
 * both. Nothing behind the error has been looked at then, so replies keep their order and every
 * error waits for itself, pipelined or not; what the client sends meanwhile waits in the kernel.
 *
 * Nothing else waits, and no reply for longer than TARPIT_MS_MAX; how many there can be is bounded
 * by maxErrors, maxFailures and maxDuration. It costs the reply's memory and the session's own
 * timer, and does not happen while places for parked input are short. */
#pragma once

#include "core/cursor.h"

struct srv_conn;

enum { TARPIT_MS_MAX = 60000 };

struct tarpit {
    uint64_t until_ns;
    size_t len;
    uint8_t bytes[];
};

/* The engine has just said something; out has its replies. True: the last one is an error that
 * waits, the rest of out is to be sent, and nothing more to be asked of the engine; the session's
 * timer is armed. */
bool tarpit_begin(struct srv_conn *conn, struct writer *out);
/* Sends what waits. Harmless when nothing does. */
void tarpit_end(struct srv_conn *conn);
