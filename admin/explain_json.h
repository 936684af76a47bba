/* Explanations as JSON: what the API answers, and what `ringmx-cli explain` prints. */
#pragma once

#include "smtp/explain.h"

#include <jansson.h>

/* "delivered", "relayed", "refused", "temporary" */
const char *explain_outcome_name(enum explain_outcome outcome);
/* A new reference. */
json_t *explain_json(const struct explanation *explanation, const struct explain_query *query);
