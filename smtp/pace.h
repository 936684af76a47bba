/* How fast mail leaves: outbound throttles. A transaction takes one from the counter of each key
 * that its recipients have; who finds one used up is not tried, and gets the time of his turn
 * instead of an attempt. The counters are those of the whole process (core/rate_table.h), so a rate
 * is what it says on any number of cores. They begin anew with the process.
 *
 * Who has to wait gets a place in the line of his key, so that a thousand messages for a slow key
 * come back one by one and not all at once; while there is a line, others do not go first.
 * Mailboxes here are not throttled. */
#pragma once

#include "smtp/deliver.h"

#define PACE_AHEAD_MAX_MS UINT64_C(86400000) /* longest wait; then it is worked out anew */

/* Some throttle is in force. */
bool pace_is_set(const struct deliver *d);
/* Decides those recipients of the delivery that are not in turn at this host. False: all of them,
 * and the delivery is done. */
MX_MUST_CHECK bool pace_admit(struct delivery *delivery, const struct routing_host *host);
