/* What may happen to objects: the rules that need more than one object (uniqueness, links) or
 * something outside (certificates), in the order of the management contract. The plan reader and
 * later the API use these; both work inside a transaction of the store.
 *
 * The result is an error value when the store failed; a refusal is MX_OK with errors->count > 0 and
 * nothing written. */
#pragma once

#include "admin/store.h"
#include "admin/validate.h"

/* One changed object; before NULL: created, after NULL: destroyed. Borrowed. */
struct object_change {
    const struct reg_type *type;
    uint64_t id;
    const json_t *before, *after;
};

/* The stored object, or the defaults of a singleton. A new reference in normal form;
 * MX_ERR_NOTFOUND. */
MX_MUST_CHECK mx_err object_get(struct store *store, json_t **out_object,
                                const struct reg_type *type, uint64_t id);
/* As the outside sees it: with "id" and what the server sets, secrets as "****". */
MX_MUST_CHECK mx_err object_show(struct store *store, json_t **out_object,
                                 const struct reg_type *type, uint64_t id);

/* Creating a singleton updates it. */
MX_MUST_CHECK mx_err object_create(struct store *store, uint64_t *out_id,
                                   const struct reg_type *type, const json_t *body,
                                   const struct reference_resolver *resolver,
                                   struct set_errors *errors);
/* *out_before and *out_after (may be NULL) are new references; equal when nothing changed, and then
 * nothing is written. */
MX_MUST_CHECK mx_err object_update(struct store *store, const struct reg_type *type, uint64_t id,
                                   const json_t *patch, const struct reference_resolver *resolver,
                                   json_t **out_before, json_t **out_after,
                                   struct set_errors *errors);
MX_MUST_CHECK mx_err object_destroy(struct store *store, const struct reg_type *type, uint64_t id,
                                    const struct reference_resolver *resolver,
                                    struct set_errors *errors);

/* What people call the object ("example.org", "alice@example.org", an id), into out (NUL-terminated
 * and cut to fit). */
enum { OBJECT_TITLE_MAX = 400 };
void object_title(struct store *store, char out[OBJECT_TITLE_MAX], const struct reg_type *type,
                  uint64_t id);
