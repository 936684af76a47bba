/* API keys: what a program sends as "Authorization: Bearer API_...". A key belongs to the account
 * that made it and can never do more than that account. The registry holds the SHA-256 of the
 * secret, which has 160 random bits and so needs no slow hash. */
#pragma once

#include "admin/objects.h"

enum {
    API_KEYS_MAX = 5,      /* per account */
    API_KEY_TEXT_MAX = 64, /* "API_...", with the NUL */
};

/* Makes a key of the account from body (what objects take; no resolver is needed). Inside a
 * transaction. *out_secret is shown once; the caller wipes it. Results as object_create. */
MX_MUST_CHECK mx_err api_key_create(struct store *store, uint64_t *out_id,
                                    char out_secret[API_KEY_TEXT_MAX], uint64_t account,
                                    const json_t *body, struct set_errors *errors);
/* The key (a new reference), its id and its account that a token is good for, whatever their other
 * limits. MX_ERR_NOTFOUND: for none. */
MX_MUST_CHECK mx_err api_key_find(struct store *store, json_t **out_key, uint64_t *out_id,
                                  uint64_t *out_account, struct slice token);

/* Removes the keys of an account that is about to be removed or to lose its credentials. Called for
 * every write; type may be any. */
MX_MUST_CHECK mx_err api_keys_follow(struct store *store, const struct reg_type *type, uint64_t id,
                                     const json_t *before, const json_t *after);
