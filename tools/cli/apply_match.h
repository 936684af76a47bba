/* Which existing object an entry of a plan is: tables from what is compared to ids, kept while a
 * plan runs. Of the server's objects only what the plan compares is kept (apply_known.h). */
#pragma once

#include "tools/cli/apply_plan.h"

struct matched_type;

struct matcher {
    json_t *schema;
    struct plan *plan; /* what it compares; checked */
    struct matched_type *types;
};

/* By what and among which objects one operation matches. */
struct match_key {
    const char *object;
    json_t *properties; /* array; NULL: all that can be compared */
    json_t *scope;      /* resolved; NULL: everything */
};

/* plan is borrowed, and checked before the first object is loaded. */
void matcher_init(struct matcher *m, json_t *schema, struct plan *plan);
void matcher_free(struct matcher *m);
/* Fetches all objects of the type, once. */
bool matcher_load(struct matcher *m, struct client *client, const char *object);
/* The matching id (borrowed) in *out_id, NULL: none. False: more than one, or value lacks what is
 * compared. Client ids that are compared are taken from known. */
bool matcher_find(struct matcher *m, const struct match_key *key, const json_t *value,
                  const json_t *known, const char **out_id);
/* What is compared, as text to be freed; NULL: value lacks it (a failure). */
char *match_signature(const struct match_key *key, json_t *schema, const json_t *value,
                      const json_t *known);
/* Calls each for the id of every object within the scope. */
void matcher_each_in_scope(struct matcher *m, const struct match_key *key,
                           void (*each)(void *arg, const char *id), void *arg);

/* What the plan has done since; nothing if the type was not loaded. */
bool matcher_created(struct matcher *m, const char *object, const json_t *value);
bool matcher_updated(struct matcher *m, const char *object, const char *id, const json_t *patch);
void matcher_forget(struct matcher *m, const char *object);

/* Adds the names of the properties that an upsert or reconcile compares to names (name -> true). */
void match_compared(json_t *names, const struct op *op, json_t *schema);
