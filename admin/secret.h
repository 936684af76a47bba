/* Secrets inside objects: before an object is stored, every password in it becomes a hash. The
 * clear text goes with the JSON that held it, see admin/json_memory.h. */
#pragma once

#include "admin/secret_memo.h"
#include "admin/set_error.h"

#include <jansson.h>

/* Is there a password in value (any JSON from outside) that is given as its hash? */
bool secret_has_hash(const json_t *value);

/* Replaces every password of after (a normal object) by its hash. One that the hash at the same
 * place of before (NULL: a new object) is already made of keeps that hash, so that a change that
 * says the same again changes nothing. Refusals go to errors. memo: NULL takes as long as argon2
 * does; otherwise, while secret_memo_wants, what after holds is an assumption. */
MX_MUST_CHECK mx_err secret_seal(const struct reg_shape *shape, const json_t *before, json_t *after,
                                 struct secret_memo *memo, struct set_errors *errors);
