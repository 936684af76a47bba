/* Shared by access.c (what accounts may do) and access_change.c (who may change it). */
#pragma once

#include "admin/access.h"

/* What is enabled and disabled on the way through roles. */
struct access_gathering {
    struct store *store;
    struct permission_set enabled, disabled;
    uint64_t roles[ACCESS_ROLES_MAX]; /* met, each once; the first `done` are gathered */
    uint32_t count, done;
    bool too_many;
};

/* The permissions that an object names as its members. */
struct permission_set access_names(const json_t *names);
/* The two sets of a Role, or of an account's permissions. */
void access_gather_lists(struct access_gathering *g, const json_t *holder);
/* Ids of roles, as members; then all that they have and lead to. */
void access_meet_roles(struct access_gathering *g, const json_t *ids);
MX_MUST_CHECK mx_err access_gather_roles(struct access_gathering *g);
/* All of an account (a normal object, or of it what is about access). */
MX_MUST_CHECK mx_err access_gather_account(struct access_gathering *g, const json_t *account);
struct permission_set access_result(const struct access_gathering *g);
/* What everybody may do who has an account. */
struct permission_set access_of_user(void);
