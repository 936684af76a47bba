/* Limits of what is queued and of how fast it leaves, as parts of the image. Each counts per key:
 * what the named parts of an envelope, or of a host, are at the time. Pure. */
#pragma once

#include "core/netaddr.h"
#include "core/rate.h"
#include "core/slice.h"
#include "route/expr.h"

enum {
    LIMITS_QUOTAS_MAX = 32,
    LIMITS_THROTTLES_MAX = 16,
};

/* Parts of a key. */
enum {
    LIMIT_SENDER = 1,
    LIMIT_SENDER_DOMAIN = 2,
    LIMIT_RCPT = 4,
    LIMIT_RCPT_DOMAIN = 8,
    LIMIT_MX = 16,
    LIMIT_REMOTE_IP = 32,
    LIMIT_LOCAL_IP = 64,
};

/* MtaQueueQuota: how much may be queued under one key. */
struct quota_conf {
    struct slice name;                /* for people */
    uint64_t id;                      /* of its object */
    uint8_t parts;                    /* LIMIT_SENDER ...; 0: one key for everything */
    const struct expr_program *match; /* context QHOST, without a host; NULL: everybody */
    uint64_t messages_max, bytes_max; /* 0: none */
};

/* MtaOutboundThrottle: how many transactions may be begun under one key, on average and at once. */
struct throttle_conf {
    struct slice name;
    uint64_t id;
    uint8_t parts;
    const struct expr_program *match; /* context QHOST; NULL: everybody */
    uint32_t count;
    uint64_t period_ms;
    struct rate rate; /* the same */
};

struct limits_conf {
    const struct quota_conf *quotas;
    uint32_t quota_count;
    const struct throttle_conf *throttles;
    uint32_t throttle_count;
};

/* What a key is made of. Addresses as in the envelope. */
struct limit_facts {
    struct slice sender, rcpt;
    struct slice mx;
    const struct netaddr *remote, *local; /* NULL: not known */
};

/* The key of an object; letters of either case are the same. It is stored with queued messages, so
 * it never changes: it is made of the object's id and not of its name. */
uint64_t limit_key(uint64_t id, uint8_t parts, const struct limit_facts *facts);
