/* A plan: operations as JSON, one on a line. Every line is checked before the first is carried out,
 * and read and parsed again for that, so that only one is in memory, whatever the size of the plan.
 */
#pragma once

#include "tools/cli/client.h"
#include "tools/cli/lines.h"

enum op_kind { OP_DESTROY, OP_UPDATE, OP_CREATE, OP_UPSERT, OP_RECONCILE, OP_KINDS };

extern const char *const op_names[OP_KINDS]; /* "destroy" */

struct op {
    enum op_kind kind;
    const char *object; /* borrowed from the schema */
    size_t index;       /* in the plan, from 0 */
    char *id;           /* of an update: an id, `singleton` or "#" and a client id */
    json_t *match_on;   /* array of properties; NULL: not given, or by value */
    bool by_value;      /* "*" */
    json_t *scope;      /* property -> value; NULL: everything */
    json_t *value;      /* filter (or NULL), patch, or client id -> object without "#" */
};

struct plan {
    struct lines lines; /* open */
    json_t *refs;       /* client id -> true: those that something refers to, few of many */
    json_t *compared;   /* type -> property -> true: what upserts and reconciles match by */
    size_t ops[OP_KINDS], objects[OP_KINDS]; /* how many of each */
};

/* Checks all of plan->lines. */
bool plan_check(struct plan *plan, json_t *schema);
void plan_free(struct plan *plan);

/* Does anything in the plan refer to this client id? Known when the plan was checked. */
bool plan_refers(const struct plan *plan, const char *name);

/* A line of the plan that was checked, or is being checked. */
bool op_parse(struct op *out, struct plan *plan, size_t index, json_t *schema);
void op_free(struct op *op);

/* The client id in a text "#id", or NULL. */
const char *client_ref(const json_t *value);
/* The properties by which objects are matched (new reference): matchOn, else the label of the type;
 * NULL: by value. */
json_t *op_match_properties(const struct op *op, json_t *schema);
