/* Parts of an explanation as JSON; new references. */
#pragma once

#include "smtp/explain.h"

#include <jansson.h>

/* What they all are made of. */
json_t *explain_text(struct slice text);
json_t *explain_number(uint64_t value);
json_t *explain_netaddr(const struct netaddr *addr); /* family 0: null */
/* Takes the reference. */
void explain_set(json_t *object, const char *name, json_t *value);

/* The branches of one program that were looked at, with their values; empty when it was not asked.
 */
json_t *explain_rule_json(const struct explanation *e, const struct expr_program *program);
/* Every program that was asked, in order. */
json_t *explain_decisions_json(const struct explanation *e);
/* Rates and quotas that would count the message. */
json_t *explain_rates_json(const struct explanation *e);
/* What limits the session and the delivery. */
json_t *explain_limits_json(const struct explanation *e);
/* How another system is connected to: null for NULL. */
json_t *explain_connection_json(const struct connection_strategy *strategy);
json_t *explain_tls_json(const struct tls_strategy *strategy);
/* Its addresses in the order in which they are tried, with what holds there. */
json_t *explain_addresses_json(const struct explanation *e);
