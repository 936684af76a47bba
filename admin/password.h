/* Passwords as argon2id hashes (RFC 9106) in the PHC string format. The only file that includes
 * argon2.h is password.c. */
#pragma once

#include "core/err.h"
#include "core/slice.h"

enum {
    PASSWORD_MIN = 8, /* bytes */
    PASSWORD_MAX = 128,
    PASSWORD_HASH_MAX = 256, /* with the NUL */
    /* What a hash made here costs: RFC 9106 section 4 leaves it to the use; this is what OWASP
     * names for servers, 20 to 30 ms. */
    PASSWORD_MEMORY_KIB = 19456,
    PASSWORD_PASSES = 2,
    PASSWORD_LANES = 1,
    /* What a hash from elsewhere may cost, so that no sign-in holds the worker up. */
    PASSWORD_MEMORY_KIB_MAX = 128 * 1024,
    PASSWORD_PASSES_MAX = 16,
    PASSWORD_LANES_MAX = 8,
    PASSWORD_WORK_KIB_MAX = 512 * 1024, /* memory times passes */
};

/* Why text cannot be a password, as a sentence without its subject; NULL: it can. A text that
 * begins as a hash of another kind is refused: it would be taken for the password itself. */
const char *password_problem(struct slice text);
/* Begins with "$argon2id$": meant as a hash. */
bool password_is_hash(struct slice text);
/* Why a text that looks like a hash cannot be used, also one of another kind; NULL: it can, or is
 * none and stands for itself. */
const char *password_kind_problem(struct slice text);
/* Why a text that is meant as a hash cannot be used; NULL: it can. Looks at its form alone. */
const char *password_hash_problem(struct slice text);

/* MX_ERR_NOMEM. */
MX_MUST_CHECK mx_err password_hash(char out[PASSWORD_HASH_MAX], struct slice secret);
/* A hash of nobody's password, against which a check costs what any costs; made without that cost.
 */
void password_decoy(char out[PASSWORD_HASH_MAX]);
/* False also for a hash that cannot be used. */
bool password_verify(const char *hash, struct slice secret);
