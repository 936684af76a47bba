/* What accounts may do: their roles, the roles of these, and their own permissions. What anything
 * disables is disabled, whatever else enables it. */
#pragma once

#include "admin/permission.h"
#include "admin/store.h"

enum { ACCESS_ROLES_MAX = 256 /* roles that one account or role may lead to */ };

/* What an account (a normal object) may do. */
MX_MUST_CHECK mx_err access_of_account(struct store *store, struct permission_set *out,
                                       const json_t *account);
/* What is left of *set for an API key (a normal object). */
void access_of_key(struct permission_set *set, const json_t *key);

/* Of a Role about to be written: that it does not lead to itself or to too many. */
MX_MUST_CHECK mx_err access_check_role(struct store *store, uint64_t id, const json_t *role,
                                       struct set_errors *errors);
/* Nobody may give what he does not have (also who has signed in with an API key that may do less
 * than its account), nor take over, rename or remove an account that may do
 * more than he, and than every user. before and after as in store_write; type may be any. Refusals
 * (forbidden, naming up to five) go to errors. */
MX_MUST_CHECK mx_err access_check_change(struct store *store, const struct permission_set *caller,
                                         const struct reg_type *type, const json_t *before,
                                         const json_t *after, struct set_errors *errors);
