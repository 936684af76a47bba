/* Clients of many addresses: direct ones, and others behind a trusted proxy, with PROXY headers of
 * both versions, whole and malformed. Some name recipients that do not exist until they are banned;
 * an administrator bans and lifts bans, of the proxy too, and the server runs short of something,
 * in the middle of everything. What must hold:
 *
 *   - while a ban is in force on every core, its client gets no reply, and no core has an open
 * session of it
 *   - a trusted proxy is never banned, whatever a BlockedIp says
 *   - no client, and no network, ever has more sessions than the limit, on all cores together
 *   - a connection whose header is malformed is never answered
 *   - while all cores refuse for overload, no session begins
 * and, as for all mail, the address that the server notes is the real client's. */
#pragma once

#include "smtp/service.h"
#include "tests/sim/settings.h"

enum { CROWD_SESSIONS = 6, CROWD_LIMIT = 3, CROWD_NETWORK_LIMIT = 4, CROWD_MAIL_BYTES = 3000 };

void crowd_reset(void); /* a new run */
void crowd_start(unsigned guests);
bool crowd_done(void);
void crowd_stop(void); /* no new sessions */
/* The process is there (and nothing has been asked of it but to run), or is not, or is to end. */
void crowd_calm(bool calm);

/* The networks that a version of the configuration blocks. NULL: none, or *out_err. */
struct netset *crowd_blocked(const struct settings *settings, mx_err *out_err);
/* For service_conf.offences.receive, in the worker's fiber: who is to be banned. */
void crowd_offences(struct mbox_msg *msg, struct shard *at);
/* Another version: an administrator's bans, and those that were earned. */
void crowd_mutate(struct settings *settings);
/* From the worker's fiber: the cores are told levels of overload, chosen by chance, or none. False:
 * they have not answered yet. */
bool crowd_overload(struct mbox_hub *hub, unsigned cores, bool none);

/* At any moment: what the cores have open. */
void crowd_check(struct service *(*service)(unsigned core), unsigned cores);
