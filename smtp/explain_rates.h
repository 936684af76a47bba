/* Which rates and quotas would count a message (MtaInboundThrottle, MtaQueueQuota,
 * MtaOutboundThrottle): those whose condition holds. Bits by their place in the image. */
#pragma once

#include "smtp/deliver.h"
#include "smtp/stage.h"

struct explain_rates {
    uint64_t inbound, quotas, outbound;
    /* The condition could not be evaluated, or waits. */
    uint64_t inbound_unknown, quotas_unknown, outbound_unknown;
};

/* rcpt and env as for routing_find; facts with sender and recipient. host: where mail is delivered
 * to, for outbound throttles. */
void explain_rates(struct explain_rates *out, const struct routing_context *context,
                   const struct stage_facts *facts, const struct routing_host *host,
                   struct slice rcpt, const struct envelope *env);
/* Outbound throttles alone, at another host. */
void explain_outbound(struct explain_rates *out, const struct routing_context *context,
                      const struct routing_host *host, struct slice rcpt,
                      const struct envelope *env);
