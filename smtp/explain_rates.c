#include "smtp/explain_rates.h"

_Static_assert(INBOUND_THROTTLES_MAX <= 64 && LIMITS_QUOTAS_MAX <= 64 && LIMITS_THROTTLES_MAX <= 64,
               "a bit for each");

static void find_inbound(struct explain_rates *out, const struct routing_context *context,
                         const struct stage_facts *facts)
{
    const struct inbound_throttles *all = &context->image->throttles;
    for (uint32_t i = 0; i < all->count; i++) {
        const struct expr_program *match = all->items[i].match;
        struct expr_value value = {.type = EXPR_INTEGER, .integer = 1};
        enum expr_status status = match == NULL
                                      ? EXPR_DONE
                                      : stage_run_program(&value, context->image, match, facts,
                                                          context->vm, context->asker, NULL);
        uint64_t bit = UINT64_C(1) << i;
        out->inbound |= status == EXPR_DONE && expr_truthy(&value) ? bit : 0;
        out->inbound_unknown |= status != EXPR_DONE ? bit : 0;
    }
}

/* As bits: *holds, or *unknown. */
static void find_match(uint64_t *holds, uint64_t *unknown, uint32_t i,
                       const struct routing_context *context, const struct expr_program *match,
                       const struct routing_host *host, struct slice rcpt,
                       const struct envelope *env)
{
    struct expr_value value = {.type = EXPR_INTEGER, .integer = 1};
    bool known = match == NULL || routing_ask(&value, context, match, host, rcpt, env);
    *holds |= (uint64_t)(known && expr_truthy(&value)) << i;
    *unknown |= (uint64_t)!known << i;
}

void explain_outbound(struct explain_rates *out, const struct routing_context *context,
                      const struct routing_host *host, struct slice rcpt,
                      const struct envelope *env)
{
    const struct limits_conf *limits = &context->image->traffic;
    struct routing_context quiet = *context;
    quiet.trace = NULL;
    out->outbound = out->outbound_unknown = 0;
    for (uint32_t i = 0; i < limits->throttle_count; i++) {
        find_match(&out->outbound, &out->outbound_unknown, i, &quiet, limits->throttles[i].match,
                   host, rcpt, env);
    }
}

void explain_rates(struct explain_rates *out, const struct routing_context *context,
                   const struct stage_facts *facts, const struct routing_host *host,
                   struct slice rcpt, const struct envelope *env)
{
    const struct limits_conf *limits = &context->image->traffic;
    struct routing_context quiet = *context;
    quiet.trace = NULL;
    *out = (struct explain_rates){.inbound = 0};
    find_inbound(out, &quiet, facts);
    for (uint32_t i = 0; i < limits->quota_count; i++) { /* of what is queued: there is no host */
        find_match(&out->quotas, &out->quotas_unknown, i, &quiet, limits->quotas[i].match, NULL,
                   rcpt, env);
    }
    explain_outbound(out, &quiet, host, rcpt, env);
}
