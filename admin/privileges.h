/* Leaving root behind. Before any ring exists: a ring keeps the credentials of its maker. */
#pragma once

#include <stdbool.h>
#include <stdio.h>

/* Becomes `user` with its groups and keeps only CAP_NET_BIND_SERVICE, so that listeners can change
 * later. Prints to err what fails. False: the process must end. Not root: fails. */
bool privileges_drop(const char *user, FILE *err);
