/* Parts of an explanation as JSON; new references. */
#pragma once

#include "smtp/explain.h"

#include <jansson.h>

/* The branches of one program that were looked at, with their values; empty when it was not asked.
 */
json_t *explain_rule_json(const struct explanation *e, const struct expr_program *program);
/* Every program that was asked, in order. */
json_t *explain_decisions_json(const struct explanation *e);
/* Rates and quotas that would count the message. */
json_t *explain_rates_json(const struct explanation *e);
/* What limits the session and the delivery. */
json_t *explain_limits_json(const struct explanation *e);
