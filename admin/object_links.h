/* Links between objects: by id, and by label ("the route named 'source'", a result of an
 * expression). */
#pragma once

#include "admin/store.h"
#include "admin/validate.h"

/* Everything that object refers to exists, or errors are added. labels: also what it names. */
MX_MUST_CHECK mx_err object_links_check(struct store *store, const struct reg_type *type,
                                        const json_t *object, bool labels,
                                        struct set_errors *errors);
/* Adds SET_OBJECT_IS_LINKED with the objects that refer to the target. before is the target as it
 * is stored; labels: also those that name it. */
MX_MUST_CHECK mx_err object_links_free(struct store *store, struct set_object target,
                                       const json_t *before, bool labels,
                                       struct set_errors *errors);
/* The same for its label alone. */
MX_MUST_CHECK mx_err object_label_free(struct store *store, struct set_object target,
                                       const json_t *before, struct set_errors *errors);
