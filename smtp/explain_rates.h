/* Which rates and quotas would count a message (MtaInboundThrottle, MtaQueueQuota,
 * MtaOutboundThrottle): those whose condition holds. Bits by their place in the image. */
#pragma once

#include "smtp/deliver.h"
#include "smtp/stage.h"

struct explain_rates {
    uint64_t inbound, quotas, outbound;
    uint64_t inbound_unknown; /* the condition could not be evaluated, or waits */
};

/* rcpt and env as for routing_find; facts with sender and recipient. */
void explain_rates(struct explain_rates *out, const struct routing_context *context,
                   const struct stage_facts *facts, struct slice rcpt, const struct envelope *env);
