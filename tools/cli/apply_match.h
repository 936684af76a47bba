/* Which existing object an entry of a plan is: an index from what is compared to ids, kept while a
 * plan runs. */
#pragma once

#include "tools/cli/apply_plan.h"

struct matcher {
    json_t *schema;
    json_t *objects; /* type -> id -> object: all that the server has */
    json_t *indexes; /* type -> key as text -> index */
};

/* By what and among which objects one operation matches. */
struct match_key {
    const char *object;
    json_t *properties; /* array; NULL: all that can be compared */
    json_t *scope;      /* resolved; NULL: everything */
};

void matcher_init(struct matcher *m, json_t *schema);
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
/* Objects within the scope: id -> object, a new reference. */
json_t *matcher_in_scope(struct matcher *m, const struct match_key *key);

/* What the plan has done since; nothing if the type was not loaded. */
void matcher_created(struct matcher *m, const char *object, const json_t *value);
void matcher_updated(struct matcher *m, const char *object, const char *id, const json_t *patch);
void matcher_forget(struct matcher *m, const char *object);
