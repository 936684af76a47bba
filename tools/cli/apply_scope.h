/* The scope of an upsert or reconcile: values that narrow down which existing objects it is about,
 * and that its own objects get. */
#pragma once

#include "tools/cli/apply_plan.h"

/* Checks the scope of a line (NULL or null: none) and keeps it in op. */
bool scope_take(struct op *op, json_t *scope, json_t *schema);
/* New reference: the scope with client ids replaced by the ids in known. NULL: no scope, or one of
 * them is not known (a failure). */
json_t *scope_resolve(const struct op *op, json_t *schema, const json_t *known);
/* Everything in a resolved scope (NULL: everything) has its values; null is as good as absent. */
bool scope_has(const json_t *scope, const json_t *value);
/* The client id that a property refers to, or NULL. */
const char *property_ref(json_t *schema, const char *object, const char *property,
                         const json_t *value);
