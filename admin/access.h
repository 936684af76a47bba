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
/* Who makes a change. */
struct access_caller {
    struct permission_set permissions;
    uint64_t account; /* 0: an administrator without one */
    uint64_t key;     /* the ApiKey that he has signed in with; 0: with a password */
};

/* Nobody gives what he does not have, and nobody changes what is stronger than he is. The type may
 * be any. Refusals (forbidden, naming up to five permissions) go to errors; none depends on what
 * secrets are.
 *
 * An Account gets no permissions that the caller lacks; one that may do more than he is not taken
 * over, renamed, removed or given other permissions. What every user may do does not count. A
 * caller with an API key gives no account that may do more than every user a password that is good
 * for longer, or from more addresses, than the key, and gives no permissions, by a Role neither, to
 * an account that has such a password or such a key.
 *
 * A Role gives, and frees, only what the caller has; it is changed and removed only by who has all
 * that it gives, and while no account has it that may do more than he.
 *
 * A Domain is not renamed, switched off or on while an account in it may do more than the caller:
 * people sign in by its name.
 *
 * An ApiKey may do no more, ends no later and is good from no more addresses than what the caller
 * has signed in with, key or password. With a key, one that goes beyond it is neither changed nor
 * removed. */
MX_MUST_CHECK mx_err access_check_change(struct store *store, const struct access_caller *caller,
                                         const struct store_wish *wish, struct set_errors *errors);
