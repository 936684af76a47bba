/* What a core says: the oracle of configurations. Addresses as RCPT and delivery resolve and route
 * them, listeners, next hops, certificate, as text, so that two can be compared. */
#pragma once

#include "smtp/service.h"
#include "tests/sim/settings.h"

struct answers {
    char text[8192];
};

/* Of a core as it is. */
void answers_of(struct answers *out, const struct service *service);
/* Of a core that was started with this version. */
void answers_expected(struct answers *out, const struct settings *settings);
/* Fails the run with the first line that differs. */
void answers_compare(const struct answers *is, const struct answers *wanted, unsigned core,
                     const char *when);
/* What of former versions is left on this core; with `fail` that ends the run. */
unsigned answers_leftovers(const struct service *service, unsigned core, bool fail);
