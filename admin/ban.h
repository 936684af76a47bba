/* Bans: a client that offends more often than Security allows becomes a BlockedIp, with reason and
 * expiry, as if an administrator had made it: shown, changed and deleted over the API, and in force
 * on every core and on HTTP when the change is published.
 *
 *   failed sign-ins   admin/auth counts, and calls ban_add
 *   SMTP              the cores' messages (smtp/offence), counted here
 *   HTTP paths        ban_path: a look for other software's holes (Security.scanBanPaths)
 *
 * Counted is by client alone (an IPv6 network of Security.ipv6PrefixLength bits is one), so nobody
 * is banned for what others do with an address. Loopback, AllowedIp, trusted proxies: never.
 *
 * On the management worker; ban_new and ban_free elsewhere. Bans are made between jobs,
 * many in one transaction. Everything is bounded: over BAN_BLOCKED_MAX objects no more are made,
 * which is logged. */
#pragma once

#include "admin/offence_count.h"
#include "admin/publish.h"
#include "admin/worker.h"
#include "core/log.h"
#include "smtp/offence.h"

enum {
    BAN_PENDING_MAX = 256,               /* clients to be banned with the next transaction */
    BAN_BLOCKED_MAX = 100000,            /* BlockedIps, however made */
    BAN_SWEEP_MS = 10 * 60 * 1000,       /* expired bans are removed so often, if new ones come */
    BAN_SWEEP_OBJECTS_MAX = 1000,        /* ... and so many at a time */
    BAN_TEXT_MAX = NETADDR_TEXT_MAX + 8, /* of a client */
};

struct ban;

/* log is the worker's and outlives the ban. */
MX_MUST_CHECK mx_err ban_new(struct ban **out_ban, struct log *log);
void ban_free(struct ban *ban); /* NULL is fine */
/* Before the worker has seen anything of it. store and publisher outlive it. */
void ban_open(struct ban *ban, struct store *store, struct publisher *publisher);
/* No more bans: the cores end. */
void ban_stop(struct ban *ban);

/* receive of struct offence_conf, whose owner is the ban. */
void ban_receive(struct mbox_msg *msg, struct shard *at);
/* The client is over its rate. False: it may not be banned, or already waits for it. */
bool ban_add(struct ban *ban, enum offence kind, const struct netaddr *client);
/* A path that nothing is at was asked for: one of Security.scanBanPaths leads to a ban at once. */
void ban_path(struct ban *ban, const struct netaddr *client, struct slice path);
/* run of struct worker_idle. Makes what waits. */
bool ban_run(void *arg);

/* Is the address never banned: loopback, AllowedIp, or a trusted proxy's? */
MX_MUST_CHECK mx_err ban_exempt(struct store *store, bool *out_exempt, const struct netaddr *addr,
                                int64_t wall_ms);

/* What Security says of one kind of offence. */
struct ban_rule {
    struct offence_rate rate;
    int64_t ban_ms; /* INT64_MAX: for ever */
    unsigned ipv6_bits;
};
MX_MUST_CHECK mx_err ban_rule_read(struct store *store, struct ban_rule *out, enum offence kind);
