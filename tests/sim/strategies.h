/* Connections to next hops by recipient: an expression that chooses among three, which tell
 * themselves apart by the name in EHLO. */
#pragma once

#include "route/image.h"

/* Of all configurations of a run. */
void strategies_reset(bool mixed);
/* MX_ERR_NOMEM. */
mx_err strategies_image(struct image *image);
void strategies_free(const struct image *image);
/* A next hop was told this name and then this recipient. */
void strategies_check(const char *ehlo, const char *rcpt);
