/* How many sessions one client, and all clients of its network, may have at a time in the whole
 * process (SystemSettings.maxConnectionsPerClient and maxConnectionsPerNetwork,
 * smtp/session_count). Loopback and trusted proxies are not limited; behind a proxy the clients
 * that it names are. Whoever has too many is told so, and the log has a line about it at most once
 * in CLIENT_LIMIT_LOG_MS per core: a flood must not fill a disk. */
#pragma once

#include "core/netaddr.h"
#include "core/slice.h"
#include "smtp/stats.h"

struct srv_conn;

enum { CLIENT_LIMIT_LOG_MS = 1000, CLIENT_LIMIT_TEXT_MAX = NETADDR_TEXT_MAX + 32 };

/* Of one core. */
struct client_limit {
    uint64_t log_ns; /* when the next line may be */
    uint64_t unsaid; /* refusals since the last line */
    char text[CLIENT_LIMIT_TEXT_MAX];
};

/* Of a session whose client is known now: REFUSAL_CLIENT_FULL or REFUSAL_NETWORK_FULL when it is
 * one too many, else STATS_REFUSALS. */
enum stats_refusal client_limit_enter(struct srv_conn *conn);
void client_limit_leave(struct srv_conn *conn);
/* "[192.0.2.1] (limit 200)", "[2001:db8::1]/64 (limit 200)" or, of a network, "[192.0.2.0]/24
 * (limit 1000)"; for REFUSAL_LISTENER_FULL and REFUSAL_SERVER_FULL "to this listener (limit 500)"
 * and "in all (limit 8192)". Valid until it is called again. */
struct slice client_limit_text(struct srv_conn *conn, enum stats_refusal why);
