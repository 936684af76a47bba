/* The built-in first administrator: user "admin" with a password that is made at the first start.
 * It needs no domain and no account; its hash is a note in the store.
 *
 * It signs in as long as no Account has both the role Admin and a credential, and rests while one
 * does. `ringmx admin renew` makes a new password, `ringmx admin remove` takes it away for good. */
#pragma once

#include "admin/store.h"

#include <stdio.h>

#define BOOTSTRAP_USER "admin"
enum { BOOTSTRAP_PASSWORD_CHARS = 16 };

/* Makes the administrator if the store is new: it has never had one and no Account is an
 * administrator. True in *out_made with the password (NUL-terminated), to be printed once and
 * wiped. */
MX_MUST_CHECK mx_err bootstrap_make(struct store *store, bool *out_made,
                                    char out_password[BOOTSTRAP_PASSWORD_CHARS + 1]);
/* A new password, also after a removal. */
MX_MUST_CHECK mx_err bootstrap_renew(struct store *store,
                                     char out_password[BOOTSTRAP_PASSWORD_CHARS + 1]);
/* For good: no later start makes another. */
MX_MUST_CHECK mx_err bootstrap_remove(struct store *store);
/* The hash if it may sign in now; MX_ERR_NOTFOUND. */
MX_MUST_CHECK mx_err bootstrap_hash(struct store *store, char *out, size_t cap);

/* ringmx admin renew|remove --data DIR; returns the exit code. */
int bootstrap_command(int argc, char **argv, FILE *out, FILE *err);
