/* The type that says how often something may come in. */
#include "admin/registry_private.h"
#include "route/throttle.h"

static const struct reg_enum inbound_key = {
    .name = "MtaInboundThrottleKey",
    .values = (const struct reg_enum_value[]){{"listener", "Listener"},
                                              {"remoteIp", "Client"},
                                              {"localIp", "Own address"},
                                              {"heloDomain", "Name at EHLO"},
                                              {"sender", "Sender"},
                                              {"senderDomain", "Domain of the sender"},
                                              {"rcpt", "Recipient"},
                                              {"rcptDomain", "Domain of the recipient"}},
    .count = INBOUND_PARTS,
    .unsupported = "authenticatedAs"};

static const struct reg_field inbound_fields[] = {
    {.name = "description",
     .kind = REG_STRING,
     .format = FORMAT_TRIM,
     .mode = REG_IMMUTABLE,
     .flags = REG_REQUIRED | REG_INDEXED,
     .description = "What it is called: in the reply to whoever is over it, in the log and in "
                    "statistics."},
    {.name = "enable",
     .kind = REG_BOOLEAN,
     .initial = "true",
     .description = "Whether it is in force."},
    {.name = "key",
     .kind = REG_SET,
     .enumeration = &inbound_key,
     .description =
         "What is counted apart. Of IPv6 a client is a network of 64 bits; letters of either case "
         "are the same. Nothing: all together."},
    {.name = "match",
     .kind = REG_EXPRESSION,
     .context = EXPR_RCPT,
     .initial = "{\"match\":{},\"else\":\"true\"}",
     .description = "What it is for: with another result nothing is counted. May ask the DNS. "
                    "When it fails, the client is told to try again (451; 421 before MAIL)."},
    {.name = "rate",
     .kind = REG_OBJECT,
     .embedded = &reg_rate,
     .flags = REG_REQUIRED,
     .description =
         "So many at once, and one more whenever period / count has passed: in any stretch of "
         "time at most count, and what came back in it. What is refused is not counted."},
};
const struct reg_variant reg_inbound_throttle_variants[1] = {
    {.label = "Inbound throttle",
     .fields = FIELDS(inbound_fields),
     .note =
         "There are at most 64. Each is tested as soon as its key and what `match` looks at are "
         "known: `listener`, `remoteIp`, `localIp` and nothing when a client connects (over it: "
         "421 4.4.5 in the place of the banner), `heloDomain` at EHLO (421), `sender` and "
         "`senderDomain` at MAIL (452 4.4.5), `rcpt` and `rcptDomain` at RCPT (452), a condition "
         "that asks the DNS at MAIL at the earliest. Only what would be accepted otherwise "
         "counts, `rcptDomain` without `rcpt` once for each domain of a message; of several, all "
         "or none. The reply says which one and how long it lasts. Counters hold for all cores "
         "together and last as long as the process, also over changes of other objects and of "
         "`match`. A trusted proxy that speaks for itself has no throttle by `remoteIp`. There "
         "is room for a million counters; in a full table those give way that were used least "
         "(`inbound_throttle_forgotten_total`)."},
};
