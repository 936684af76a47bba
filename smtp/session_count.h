/* Open sessions of the whole process, per listener, per client and in all, without locks. Of
 * listeners every core writes only its own counters (relaxed, single writer), and a limit is
 * checked against the sum over all cores. Two cores that accept at the same instant may exceed a
 * limit by one each; it is a limit against exhaustion, not a lock.
 *
 * Of clients, and of the networks that they are in, there is one table for all cores, changed by
 * compare and swap: a session asks at its first turn, before the banner, and waits for nobody. A
 * client is an IPv4 address or an IPv6 /64. Its place is one of the SESSION_COUNT_WAYS of its
 * bucket; with all of them taken by others (which takes more than 100,000 clients at a time to be
 * likely once in thousands) it is not counted: the other limits still hold, and nobody is refused
 * for what others do. */
#pragma once

#include "core/err.h"
#include "core/netaddr.h"

struct session_count;

enum {
    SESSION_COUNT_WAYS = 16,
    SESSION_COUNT_BUCKETS = 16 * 1024, /* 2 MiB of words, which exist once they were used */
    SESSION_COUNT_NOT = 0,             /* the place of what is not counted */
};

/* Shared by the cores; outlives them. seed: of the clients' hashes, unknown to them. */
MX_MUST_CHECK mx_err session_count_new(struct session_count **out_count, unsigned cores,
                                       uint32_t listeners, uint64_t seed);
void session_count_free(struct session_count *count); /* NULL is fine */
/* By core `core` alone: a session of this listener begins (+1) or ends (-1). */
void session_count_add(struct session_count *count, unsigned core, uint32_t listener, int change);
uint32_t session_count_of(const struct session_count *count, uint32_t listener);
uint32_t session_count_all(const struct session_count *count);

/* By any core: one more session of this client. False: it has `limit` (at least 1) already. Else
 * *out_place is to be given back when the session ends. */
MX_MUST_CHECK bool session_count_enter(struct session_count *count, const struct netaddr *client,
                                       uint32_t limit, uint32_t *out_place);
/* The same for a network that the client is in. */
MX_MUST_CHECK bool session_count_enter_network(struct session_count *count,
                                               const struct netmask *network, uint32_t limit,
                                               uint32_t *out_place);
/* SESSION_COUNT_NOT is fine. */
void session_count_leave(struct session_count *count, uint32_t place);
