/* MtaInboundThrottle as part of the image: what may come in, at what rate, and by which key it is
 * counted. */
#pragma once

#include "core/rate.h"
#include "core/slice.h"
#include "route/expr.h"

enum { INBOUND_THROTTLES_MAX = 64 };

/* Where a throttle is tested: as soon as its key and all that its condition looks at are known. */
enum inbound_stage { INBOUND_CONNECT, INBOUND_EHLO, INBOUND_MAIL, INBOUND_RCPT, INBOUND_STAGES };

/* Parts of keys: bits, in the order of inbound_part_name. */
enum inbound_part {
    INBOUND_LISTENER = 1,
    INBOUND_REMOTE_IP = 2,
    INBOUND_LOCAL_IP = 4,
    INBOUND_HELO_DOMAIN = 8,
    INBOUND_SENDER = 16,
    INBOUND_SENDER_DOMAIN = 32,
    INBOUND_PART_RCPT = 64,
    INBOUND_RCPT_DOMAIN = 128,
    INBOUND_PARTS = 8
};

struct inbound_throttle {
    struct slice name; /* its description */
    uint64_t id;       /* of its object */
    uint16_t parts;    /* 0: one counter for all */
    enum inbound_stage stage;
    const struct expr_program *match; /* context RCPT; NULL: always */
    uint32_t count;
    uint64_t period_ms;
    struct rate rate; /* the same */
};

struct inbound_throttles {
    const struct inbound_throttle *items;
    uint32_t count;
    uint32_t stages; /* bits 1 << enum inbound_stage: where there are any */
};

/* "listener", "remoteIp" ...: names of the members of MtaInboundThrottle.key. part: below
 * INBOUND_PARTS. */
const char *inbound_part_name(unsigned part);
/* The earliest stage of a key and a condition (NULL: none). What asks the DNS is not asked before
 * MAIL: nobody waits for it who has said nothing yet. */
enum inbound_stage inbound_stage_of(uint16_t parts, const struct expr_program *match);
