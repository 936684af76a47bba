/* The next hops of a route that leads to the MX of domains: one per domain, made when there is mail
 * for it, freed when there is none. At most MX_HOPS_MAX per core. */
#pragma once

#include "smtp/hop.h"

/* The hop of a domain, as in the recipient's address; made if there is none. NULL: too many domains
 * have mail waiting, no memory, or the domain is no domain. */
struct hop *mx_hop(struct deliver *d, struct hop *route, struct slice domain);
/* The same, but only if it is there. */
struct hop *mx_hop_find(struct deliver *d, const struct hop *route, struct slice domain);
/* A hop of a domain goes: it is no longer found. */
void mx_hop_forget(struct hop *hop);
/* Ends the sweeping; all hops are gone. */
void mx_hops_close(struct deliver *d);
