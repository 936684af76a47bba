/* The addresses of a next hop: of a relay's host, or of the hosts that take mail for a domain. */
#pragma once

#include "smtp/deliver.h"

/* True when the hop's addresses are known and fresh. Else they are being looked up; hop_run
 * follows, or the hop fails, or its mail does. */
bool hop_addresses_known(struct hop *hop);
/* True when they are known and need not be looked up again. */
bool hop_addresses_fresh(const struct hop *hop);
/* Forgets the lookup under way, if there is one. */
void hop_lookup_cancel(struct hop *hop);
