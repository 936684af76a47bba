/* Where mail of a route would be sent: its relay's addresses, or the mail hosts of a domain, from
 * the cache or asked. For explanations: it changes no next hop. */
#pragma once

#include "smtp/explain.h"

struct explain_lookup;
struct service;

/* route: of the image. again is called when the answers are there, not from within. NULL: no
 * memory.
 */
struct explain_lookup *explain_lookup_new(struct service *service, const struct image *image,
                                          const struct route_conf *route, struct slice domain,
                                          void (*again)(void *arg), void *arg);
/* True: all is known that will be, and is in out. */
bool explain_lookup_done(const struct explain_lookup *lookup, struct explain_hop *out);
/* Mail for the domain can never be delivered. */
bool explain_lookup_never(const struct explain_lookup *lookup);
/* Nobody could say, so mail would take what was known before. */
bool explain_lookup_not_now(const struct explain_lookup *lookup);
/* Waits for nothing any more. */
void explain_lookup_stop(struct explain_lookup *lookup);
void explain_lookup_free(struct explain_lookup *lookup); /* NULL is fine */
