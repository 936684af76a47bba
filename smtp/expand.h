/* Mail to a mailing list: one new message with the members as its recipients.
 *
 * The new message has the content, the sender and the parameters of the original; on top of it
 * stands Delivered-To with the list's address, by which circles are found. Its record also carries
 * how far the original recipient has got (struct rcpt_state.expanded), so a crash neither loses nor
 * doubles anything. Members that do not fit into one message get another when the first is durable.
 * When all have got theirs the recipient has its outcome: "expanded" in the sense of RFC 3461
 * section 5.2.7.2, whose rules for NOTIFY and ORCPT of members hold.
 *
 * Memory: per expansion one EXTENT of the old content, one of the new, and the envelope; at most
 * EXPANSIONS_MAX per core. */
#pragma once

#include "smtp/deliver.h"

/* Expands recipient i as far as one message goes. False: it is under way (active->deliveries counts
 * it) or waits for its turn; the recipient stays pending. True: *out is its outcome (text static).
 */
bool expand(struct active *active, uint32_t i, const struct resolution *list, struct outcome *out);
