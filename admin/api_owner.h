/* Objects that belong to one account (reg_type.owner): who has them, and API keys, which only their
 * owner makes. */
#pragma once

#include "admin/api_private.h"

/* True when the call sees only objects of the caller's account; *out is then that condition (its
 * value is a new reference). */
bool api_owner_condition(const struct api_call *call, struct store_condition *out,
                         json_t **out_value);
/* May the call have this object (a normal or shown one)? */
bool api_owns(const struct api_call *call, const json_t *object);
/* The same by id; true also for what does not exist. */
MX_MUST_CHECK mx_err api_owns_id(const struct api_call *call, bool *out_owns, uint64_t id);
/* Makes an ApiKey of the caller's account; *out_shown has its secret. As object_create. */
MX_MUST_CHECK mx_err api_create_key(const struct api_call *call, uint64_t *out_id,
                                    json_t **out_shown, const json_t *body,
                                    struct set_errors *errors);
