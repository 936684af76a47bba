/* The environment variables of the contract, read once at the start. Their names are those of the
 * system that ringmx replaces, so that its guides work as written. */
#pragma once

#include "core/base.h"

#include <stdio.h>

struct environment {
    bool recovery_mode;          /* STALWART_RECOVERY_MODE is 1 or true */
    bool recovery_mode_unclear;  /* it is something else that may have been meant so */
    uint16_t recovery_port;      /* STALWART_RECOVERY_MODE_PORT; 0: not set */
    char recovery_user[256];     /* STALWART_RECOVERY_ADMIN=user:password; empty: not set */
    char recovery_password[256]; /* in clear, or a stored hash */
    char public_url[1024]; /* STALWART_PUBLIC_URL without a slash at its end; empty: not set */
};

/* False: a value is malformed; err says which and what is expected. STALWART_RECOVERY_ADMIN is then
 * gone from the process's own environment, which others can read. */
bool environment_read(struct environment *out, FILE *err);
/* The password is not needed any more: it is its hash that is asked. */
void environment_forget(struct environment *env);
