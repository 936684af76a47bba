/* The table of types: how much is queued, and how fast it leaves. */
#include "admin/registry_private.h"

#define ENABLE_FIELD                                                    \
    {                                                                   \
        .name = "enable", .kind = REG_BOOLEAN, .initial = "true",       \
        .description = "Without it the limit is kept and not enforced." \
    }
#define MATCH_FIELD(whom)                                                                   \
    {                                                                                       \
        .name = "match", .kind = REG_EXPRESSION, .flags = REG_EMPTY, .context = EXPR_QHOST, \
        .initial = "{\"match\":{},\"else\":\"true\"}",                                      \
        .description = "For which recipients it holds. Wholly empty: for all. " whom        \
    }

/* MtaQueueQuota ----------------------------------------------------------------------------- */

static const struct reg_enum quota_key = {
    .name = "MtaQueueQuotaKey",
    .values = (const struct reg_enum_value[]){{"sender", "Sender"},
                                              {"senderDomain", "Domain of the sender"},
                                              {"rcpt", "Recipient"},
                                              {"rcptDomain", "Domain of the recipient"}},
    .count = 4};

static const struct reg_field quota_fields[] = {
    {.name = "description",
     .kind = REG_STRING,
     .format = FORMAT_TEXT,
     .flags = REG_NULLABLE | REG_INDEXED,
     .description = "What the quota is called in replies and in the log."},
    ENABLE_FIELD,
    {.name = "key",
     .kind = REG_SET,
     .enumeration = &quota_key,
     .description = "What is counted apart: with senderDomain and rcptDomain, say, each pair of "
                    "them. Letters of either case are the same. Empty: everything together."},
    MATCH_FIELD("Without a host: mx, remote_ip and local_ip are empty."),
    {.name = "messages",
     .kind = REG_NUMBER,
     .format = FORMAT_UNSIGNED,
     .flags = REG_NULLABLE,
     .min = 1,
     .max = 1000000000,
     .description = "Messages that may be queued under one key."},
    {.name = "size",
     .kind = REG_NUMBER,
     .format = FORMAT_SIZE,
     .flags = REG_NULLABLE,
     .min = 1,
     .max = INT64_C(1) << 50,
     .description = "Their bytes together. One of the two has to be given."},
};
const struct reg_variant reg_queue_quota_variants[1] = {
    {.label = "Queue quota",
     .fields = FIELDS(quota_fields),
     .note = "There are at most 32; none exists at the first start. They hold for the whole "
             "process. What a session brings is counted once for each key when its data is there; "
             "with one that is used up the message is answered with 452 4.3.1 and the quota's "
             "name. It counts until it has left the queue for all its recipients, also after a "
             "restart. Mail made here (reports, copies for the members of a list) is neither "
             "refused nor counted; nor is what was queued before the quota was made or enabled."},
};

/* MtaOutboundThrottle ----------------------------------------------------------------------- */

static const struct reg_enum throttle_key = {
    .name = "MtaOutboundThrottleKey",
    .values = (const struct reg_enum_value[]){{"mx", "Host"},
                                              {"remoteIp", "Address of the host"},
                                              {"localIp", "Address of this machine"},
                                              {"sender", "Sender"},
                                              {"senderDomain", "Domain of the sender"},
                                              {"rcptDomain", "Domain of the recipient"}},
    .count = 6};

static const struct reg_field throttle_fields[] = {
    {.name = "description",
     .kind = REG_STRING,
     .format = FORMAT_TEXT,
     .flags = REG_REQUIRED | REG_INDEXED,
     .description = "What the throttle is called in the queue and in the log."},
    ENABLE_FIELD,
    {.name = "key",
     .kind = REG_SET,
     .enumeration = &throttle_key,
     .description = "What is counted apart; letters of either case are the same. Empty: everything "
                    "together."},
    MATCH_FIELD("Those for whom it does not are tried at once, also in the same message."),
    {.name = "rate",
     .kind = REG_OBJECT,
     .embedded = &reg_rate,
     .flags = REG_REQUIRED,
     .description = "Transactions in a time; `count` of them at once after a rest, then one every "
                    "`period` / `count`."},
};
const struct reg_variant reg_outbound_throttle_variants[1] = {
    {.label = "Outbound throttle",
     .fields = FIELDS(throttle_fields),
     .note = "There are at most 16; none exists at the first start. They hold for the whole "
             "process and for other mail systems alone, not for mailboxes here. A transaction, "
             "one message over one connection, counts once for each key that its recipients have. "
             "Recipients over the rate are not tried: they show `rate limit: ` and the description "
             "as their error and their turn as the next attempt, which is no attempt of their "
             "schedule. Who waits goes before who comes later. A restart forgets the counters."},
};
