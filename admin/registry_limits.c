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
