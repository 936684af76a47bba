/* How many connections the clients of one network may have: a limit that some runs have in all
 * configurations, and what must hold at any moment, on all cores together. */
#pragma once

#include "smtp/service.h"

/* In all configurations from now on; 0: no limit. */
void networks_limit(uint32_t connections);
void networks_image(struct image *image);
void networks_check(struct service *(*service)(unsigned core), unsigned cores);
/* Times that a session was seen beside another one of its network. */
extern unsigned long long networks_shared;
