/* Leaving root behind. Before any ring exists: a ring keeps the credentials of its maker. */
#pragma once

#include <stdbool.h>
#include <stdio.h>

/* From here to privileges_return the process reads and makes files as `user` does, so that what the
 * user owns later is made by it, and what it cannot read is found out at the start. One thread. */
bool privileges_lend(const char *user, FILE *err);
bool privileges_return(FILE *err);
/* Sockets that are made until privileges_sockets(NULL) are `user`'s: only the owner of a socket may
 * share its address (SO_REUSEPORT), which a listener that changes later has to. One thread. */
void privileges_sockets(const char *user);
/* Becomes `user` with its groups and keeps only CAP_NET_BIND_SERVICE, so that listeners can change
 * later. Prints to err what fails. False: the process must end. Not root: fails. */
bool privileges_drop(const char *user, FILE *err);
/* Not allowed: a crash leaves no core, which would hold private keys and mail, and others of the
 * same user cannot look into the memory either. After privileges_drop, which resets it. */
void privileges_core_dumps(bool allowed);
