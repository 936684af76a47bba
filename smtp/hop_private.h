/* What the parts of a next hop need of each other: smtp/hop.c (its queue and life), _health. */
#pragma once

#include "smtp/hop.h"

/* --- smtp/hop.c */
/* Calls parked messages back; their recipients are tried now, but for those with a place in a line.
 */
void hop_unpark(struct hop *hop, unsigned max);

/* --- smtp/hop_health.c */
/* Lets one message through to see whether the host is back. */
void hop_probe_fire(struct timer *timer, uint64_t now_ns);
