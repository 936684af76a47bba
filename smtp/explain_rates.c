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

static bool holds(const struct routing_context *context, const struct expr_program *match,
                  struct slice rcpt, const struct envelope *env)
{
    struct expr_value value;
    return match == NULL ||
           (routing_ask(&value, context, match, NULL, rcpt, env) && expr_truthy(&value));
}

void explain_rates(struct explain_rates *out, const struct routing_context *context,
                   const struct stage_facts *facts, struct slice rcpt, const struct envelope *env)
{
    const struct limits_conf *limits = &context->image->traffic;
    struct routing_context quiet = *context;
    quiet.trace = NULL;
    *out = (struct explain_rates){.inbound = 0};
    find_inbound(out, &quiet, facts);
    for (uint32_t i = 0; i < limits->quota_count; i++) {
        out->quotas |= (uint64_t)holds(&quiet, limits->quotas[i].match, rcpt, env) << i;
    }
    for (uint32_t i = 0; i < limits->throttle_count; i++) {
        out->outbound |= (uint64_t)holds(&quiet, limits->throttles[i].match, rcpt, env) << i;
    }
}
