/* Where recipients go now, and where they would go after a change: the resolver and the route
 * program of two whole configurations of a store, one after the other. Nobody is asked: the DNS
 * says nothing (451), keys and counters that expressions set, and statistics, are as at a start. */
#pragma once

#include "admin/config.h"
#include "admin/store.h"

#include <stdio.h>

enum { PLAN_EXPLAIN_MAX = 100000 }; /* recipients */

struct plan_explain;

/* Recipients one a line; blank lines and lines that begin with # are skipped. MX_ERR_LIMIT: too
 * many; MX_ERR_SYNTAX: *out_line is no address. */
MX_MUST_CHECK mx_err plan_explain_new(struct plan_explain **out_explain, struct slice recipients,
                                      uint32_t *out_line);
void plan_explain_free(struct plan_explain *explain); /* NULL is fine */
/* Routes all of them by what the store holds, inside or outside of a transaction: the first call
 * before, the second after a change. */
MX_MUST_CHECK mx_err plan_explain_route(struct plan_explain *explain, struct store *store,
                                        int64_t wall_ms, struct config_problem *problem);
/* After both: a line for each recipient that would go elsewhere, and their number. */
void plan_explain_print(const struct plan_explain *explain, FILE *out);
