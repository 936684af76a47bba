/* What argon2 says about the passwords of one method call, worked out between jobs of the worker: a
 * call with many passwords would hold up everybody else for as long as argon2 takes, 20 to 40 ms
 * for each.
 *
 * The call runs as if everything were known already. What is not is noted, and answered by
 * assumption; then nothing of that run may stay. Its owner works off what was noted, one password
 * at a time, with whatever else there is to do in between, and runs the call again: now it is told
 * what is true. Passwords are wiped with the memo. */
#pragma once

#include "admin/password.h"

enum { SECRET_MEMO_MAX = 2000 /* questions of a call */ };

struct secret_memo;

/* assume: nothing is ever worked out or wanted (dry runs). NULL: no memory. */
struct secret_memo *secret_memo_new(bool assume);
void secret_memo_free(struct secret_memo *memo); /* NULL is fine */

/* Before a run of the call: hashes are handed out anew, each once. */
void secret_memo_begin(struct secret_memo *memo);
/* Is hash made of text? While that is not known yet: yes; what nobody will know: no. A memo of NULL
 * works it out at once; so does password_hash by the next. MX_ERR_LIMIT: more than SECRET_MEMO_MAX
 * questions; MX_ERR_NOMEM. */
MX_MUST_CHECK mx_err secret_memo_fits(struct secret_memo *memo, const char *hash, struct slice text,
                                      bool *out_fits);
/* A hash of text; as an assumption, one of nobody's password. Errors as above. */
MX_MUST_CHECK mx_err secret_memo_hash(struct secret_memo *memo, struct slice text,
                                      char out[PASSWORD_HASH_MAX]);
/* True: something was assumed, or is still to be worked out; the run must not be kept. */
bool secret_memo_wants(const struct secret_memo *memo);
/* Works out one question that was noted, if there is one. */
void secret_memo_work(struct secret_memo *memo);
