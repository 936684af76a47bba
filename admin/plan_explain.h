/* Where recipients go now, and where they would go after a change: the resolver and the programs of
 * two whole configurations of a store, one after the other. What has to be looked up for it (the
 * DNS, mail hosts, keys) is asked of a core, as for any explanation, by the name servers that are
 * in force, for PLAN_EXPLAIN_ASK_MS in all. Without a core the DNS says nothing, and keys, counters
 * and statistics are as at a start. Of whom something could not be told, it is said. */
#pragma once

#include "admin/config.h"
#include "admin/explain_cores.h"
#include "admin/store.h"

#include <stdio.h>

enum {
    PLAN_EXPLAIN_MAX = 100000, /* recipients */
    PLAN_EXPLAIN_ASK_MS = 10000,
};

struct plan_explain;

/* Recipients one a line; blank lines and lines that begin with # are skipped. MX_ERR_LIMIT: too
 * many; MX_ERR_SYNTAX: *out_line is no address. */
MX_MUST_CHECK mx_err plan_explain_new(struct plan_explain **out_explain, struct slice recipients,
                                      uint32_t *out_line);
void plan_explain_free(struct plan_explain *explain); /* NULL is fine */
/* Routes all of them by what the store holds, inside or outside of a transaction: the first call
 * before, the second after a change. cores NULL: nobody is asked. */
MX_MUST_CHECK mx_err plan_explain_route(struct plan_explain *explain, struct store *store,
                                        struct explain_cores *cores,
                                        struct config_problem *problem);
/* After both: a line for each recipient that would go elsewhere or could not be told, and their
 * numbers. */
void plan_explain_print(const struct plan_explain *explain, FILE *out);
