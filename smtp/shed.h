/* What a core does while the server runs out of something (core/overload). The management loop
 * reads the gauges, works out the levels and sends them by message, a few times a second; the
 * answer has the gauges that only the core knows.
 *
 *                            STRAINED    REFUSING
 *   connections of a client  a quarter   a tenth      of maxConnectionsPerClient; open ones stay
 *   timeouts of sessions     a quarter   a tenth      of open ones at once, too; at least
 *                                                     SHED_WAIT_MIN_MS unless set lower
 *   a new connection         -           421 4.3.2    Too busy
 *   MAIL                     -           452 4.3.1    while the queue is what is too long
 */
#pragma once

#include "core/overload.h"
#include "io/mbox.h"
#include "smtp/metric.h"

struct service;

enum { SHED_WAIT_MIN_MS = 10000 };

/* Of one core. */
struct shed {
    uint8_t levels[OVERLOAD_RESOURCES]; /* enum overload_level */
    uint8_t level;                      /* the worst of them */
};

/* One message. Belongs to the core from mbox_send of msg until the reply arrives. */
struct shed_notice {
    struct mbox_msg msg; /* receive = shed_notice_receive */
    uint8_t levels[OVERLOAD_RESOURCES];
    unsigned reply_to;
    struct mbox_msg reply; /* receive is the sender's */
    /* What the core answers; unchanged when it has ended. */
    uint64_t queue_messages, queue_bytes;
    uint64_t memory_used, memory_max;
    uint64_t metrics[EXPR_METRICS];
};

void shed_notice_receive(struct mbox_msg *msg, struct shard *at);
/* The levels from now on. */
void shed_take(struct service *service, const uint8_t levels[OVERLOAD_RESOURCES]);

/* Of a new connection: answer 421. */
bool shed_refuses(const struct shed *shed);
/* Of a new transaction: the queue is too long. */
bool shed_queue_full(const struct shed *shed);
/* A timeout, a limit per client (at least 1), as they are now. */
uint64_t shed_wait_ms(const struct shed *shed, uint64_t wait_ms);
uint32_t shed_client_limit(const struct shed *shed, uint32_t limit);
/* Why new connections are refused (static text), or NULL. */
const char *shed_not_ready(const struct shed *shed);
