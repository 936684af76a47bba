/* The table of types: the queue, and what an administrator sets going. */
#include "admin/registry_private.h"

/* QueuedMessage ----------------------------------------------------------------------------- */

#define SHOWN(field_name, field_kind, text)                                                       \
    {                                                                                             \
        .name = (field_name), .kind = (field_kind), .mode = REG_SERVER_SET, .description = (text) \
    }
#define SHOWN_TEXT(field_name, text)                                                             \
    {                                                                                            \
        .name = (field_name), .kind = REG_STRING, .format = FORMAT_TEXT, .mode = REG_SERVER_SET, \
        .flags = REG_NULLABLE, .description = (text)                                             \
    }
#define SHOWN_NUMBER(field_name, number_format, low, high, text)                    \
    {                                                                               \
        .name = (field_name), .kind = REG_NUMBER, .format = (number_format),        \
        .mode = REG_SERVER_SET, .min = (low), .max = (high), .flags = REG_NULLABLE, \
        .description = (text)                                                       \
    }

static const struct reg_field response_fields[] = {
    SHOWN_NUMBER("responseCode", FORMAT_UNSIGNED, 100, 599,
                 "SMTP reply code of the last attempt; null: there was none."),
    SHOWN_TEXT("responseMessage",
               "Text of that reply, with the queue id that the next hop gave, or what went wrong."),
};
static const struct reg_variant rcpt_status_variants[] = {
    {.name = "Scheduled", .label = "Not tried yet"},
    {.name = "Completed",
     .label = "Delivered",
     .fields = FIELDS(response_fields),
     .unsupported = "responseHostname responseEnhanced"},
    {.name = "TemporaryFailure",
     .label = "Tried, and tried again later",
     .fields = FIELDS(response_fields),
     .unsupported = "responseHostname responseEnhanced errorType errorCommand "
                    "errorMessage"},
    {.name = "PermanentFailure",
     .label = "Given up",
     .fields = FIELDS(response_fields),
     .unsupported = "responseHostname responseEnhanced errorType errorCommand "
                    "errorMessage"},
};
static const struct reg_shape rcpt_status = {.name = "RecipientStatus",
                                             .variants = VARIANTS(rcpt_status_variants)};

static const struct reg_field ttl_fields[] = {
    {.name = "expiresAt",
     .kind = REG_DATE,
     .mode = REG_SERVER_SET,
     .flags = REG_NULLABLE,
     .description = "When it is given up; null: that depends on the attempts, or it has not been "
                    "tried in this process."},
};
static const struct reg_variant rcpt_expiry_variants[] = {
    {.name = "Ttl", .label = "After a time", .fields = FIELDS(ttl_fields)},
};
static const struct reg_shape rcpt_expiry = {
    .name = "QueueExpiry", .variants = VARIANTS(rcpt_expiry_variants), .unsupported = "Attempts"};

static const struct reg_enum attempt_result = {
    .name = "QueueAttemptResult",
    .values = (const struct reg_enum_value[]){{"delivered", "The next hop has it"},
                                              {"deferred", "Failed for now"},
                                              {"failed", "Failed for good"}},
    .count = 3};
static const struct reg_field attempt_fields[] = {
    SHOWN("at", REG_DATE, "When it ended."),
    {.name = "result",
     .kind = REG_ENUM,
     .mode = REG_SERVER_SET,
     .enumeration = &attempt_result,
     .description = "What came of it."},
    SHOWN_NUMBER("duration", FORMAT_DURATION, 0, UINT32_MAX,
                 "Of the transaction, in milliseconds; 0: there was none."),
    SHOWN_TEXT("nextHop", "Where it went: ROUTE, or ROUTE:DOMAIN of an `mx` route."),
    SHOWN_TEXT("host", "Host that spoke; null: none did."),
    SHOWN_TEXT("peer", "Its address and port."),
    SHOWN_NUMBER("responseCode", FORMAT_UNSIGNED, 100, 599, "SMTP reply code; null: none."),
    SHOWN_TEXT("responseMessage", "Text of the reply with its enhanced code and the queue id that "
                                  "the next hop gave, or what went wrong."),
};
static const struct reg_variant attempt_variants[] = {
    {.label = "Attempt", .fields = FIELDS(attempt_fields)}};
static const struct reg_shape attempt = {.name = "QueueAttempt",
                                         .variants = VARIANTS(attempt_variants)};

static const struct reg_field queued_rcpt_fields[] = {
    {.name = "status",
     .kind = REG_OBJECT,
     .mode = REG_SERVER_SET,
     .embedded = &rcpt_status,
     .description =
         "What came of it so far. Set to `PermanentFailure`: given up, and the sender is "
         "told; to `Scheduled`: tried now."},
    SHOWN_NUMBER("retryCount", FORMAT_UNSIGNED, 0, 255, "Attempts so far; counted up to 255."),
    {.name = "retryDue",
     .kind = REG_DATE,
     .mode = REG_SERVER_SET,
     .flags = REG_NULLABLE,
     .description = "Next attempt; null: none follows. Can be set, as `nextRetry`."},
    SHOWN_NUMBER("notifyCount", FORMAT_UNSIGNED, 0, 255, "Reports of delay sent so far."),
    {.name = "expires",
     .kind = REG_OBJECT,
     .mode = REG_SERVER_SET,
     .embedded = &rcpt_expiry,
     .description = "When the attempts end. Can be set, whatever the schedule says."},
    SHOWN_TEXT("orcpt", "ORCPT parameter as it was given."),
    SHOWN_TEXT("nextHop", "Where the last attempt went: ROUTE, or ROUTE:DOMAIN of an `mx` route; "
                          "null: none since the server started."),
    SHOWN_TEXT("queueName", "Virtual queue of the schedule that it had then, or has before the "
                            "first attempt; null: the schedule cannot be told without asking."),
    SHOWN("held", REG_BOOLEAN, "An administrator holds it. Can be set."),
    {.name = "attempts",
     .kind = REG_LIST,
     .mode = REG_SERVER_SET,
     .embedded = &attempt,
     .description = "The last attempts, at most 10, the oldest first. Kept with the message on "
                    "disk; of a message with very many recipients the oldest go earlier."},
};
static const struct reg_variant queued_rcpt_variants[] = {
    {.label = "Recipient", .fields = FIELDS(queued_rcpt_fields), .unsupported = "notifyDue flags"},
};
static const struct reg_shape queued_rcpt = {.name = "QueuedRecipient",
                                             .variants = VARIANTS(queued_rcpt_variants)};

static const struct reg_enum message_flag = {
    .name = "MessageFlag",
    .values = (const struct reg_enum_value[]){{"unauthenticated", "Came by SMTP"},
                                              {"dsn", "A report made here"}},
    .count = 2};

static const struct reg_field queued_fields[] = {
    {.name = "returnPath",
     .kind = REG_STRING,
     .format = FORMAT_TEXT,
     .mode = REG_SERVER_SET,
     .flags = REG_NULLABLE,
     .description = "Sender of the envelope, `<>` for a report; null: the message is damaged."},
    {.name = "recipients",
     .kind = REG_MAP,
     .format = FORMAT_EMAIL,
     .mode = REG_SERVER_SET,
     .embedded = &queued_rcpt,
     .description = "Every recipient with its state. One set to null is cancelled without a "
                    "report."},
    {.name = "nextRetry",
     .kind = REG_DATE,
     .flags = REG_NULLABLE,
     .description = "Next attempt; null: none follows. When set, all recipients that are not "
                    "decided are due then; a time that has passed: now."},
    {.name = "expiresAt",
     .kind = REG_DATE,
     .flags = REG_NULLABLE,
     .description = "When the last recipient is given up. When set, this holds for all that are "
                    "not decided."},
    {.name = "held",
     .kind = REG_BOOLEAN,
     .description = "Every recipient that is not decided is held: neither tried nor given up "
                    "until it is set to false; then tried at once."},
    SHOWN("createdAt", REG_DATE, "When it was accepted."),
    SHOWN_NUMBER("size", FORMAT_SIZE, 0, INT64_C(1) << 40, "Octets of its content."),
    SHOWN_TEXT("envId", "ENVID parameter, decoded."),
    SHOWN_TEXT("receivedFromIp", "Client; null: it was made here."),
    {.name = "flags",
     .kind = REG_SET,
     .mode = REG_SERVER_SET,
     .enumeration = &message_flag,
     .description = "Where it comes from."},
    SHOWN_TEXT("blobId", "For the download of its text; with `.headers` behind it: of its header."),
    SHOWN("queueId", REG_STRING, "Its id in the log, in replies and on disk."),
    SHOWN("damaged", REG_BOOLEAN, "It is incomplete or unreadable: kept, and never tried."),
    SHOWN("active", REG_BOOLEAN, "It is being delivered."),
};
const struct reg_variant reg_queued_variants[1] = {
    {.label = "Queued message",
     .fields = FIELDS(queued_fields),
     .unsupported = "priority nextNotify receivedViaPort",
     .note = "Destroying one cancels it: what is not delivered yet is dropped, without a report. "
             "Its `id` holds until the next start of the server, `queueId` for ever."},
};
static const struct reg_enum filter_status = {
    .name = "QueueStatus",
    .values = (const struct reg_enum_value[]){{"fresh", "Not tried yet"},
                                              {"deferred", "Tried, waits"},
                                              {"held", "Held by an administrator"},
                                              {"damaged", "Incomplete or unreadable"}},
    .count = 4};
#define HOP_LABEL "Next hop: ROUTE or ROUTE:DOMAIN"
#define QUEUE_LABEL "Virtual queue, by its name"

const struct reg_field reg_queued_filters[10] = {
    {.name = "queueId",
     .kind = REG_STRING,
     .format = FORMAT_TEXT,
     .flags = REG_INDEXED,
     .label = "Queue id"},
    {.name = "text", .kind = REG_STRING, .format = FORMAT_TEXT, .label = "Sender or recipient"},
    {.name = "returnPath",
     .kind = REG_STRING,
     .format = FORMAT_TEXT,
     .flags = REG_INDEXED,
     .label = "Sender"},
    {.name = "to",
     .kind = REG_STRING,
     .format = FORMAT_TEXT,
     .flags = REG_INDEXED,
     .label = "Recipient"},
    {.name = "due", .kind = REG_DATE, .flags = REG_INDEXED, .label = "Next attempt"},
    {.name = "createdAt", .kind = REG_DATE, .flags = REG_INDEXED, .label = "Accepted"},
    {.name = "nextHop",
     .kind = REG_STRING,
     .format = FORMAT_TEXT,
     .flags = REG_INDEXED,
     .label = HOP_LABEL},
    {.name = "queueName",
     .kind = REG_STRING,
     .format = FORMAT_TEXT,
     .flags = REG_INDEXED,
     .label = QUEUE_LABEL},
    {.name = "error",
     .kind = REG_STRING,
     .format = FORMAT_TEXT,
     .flags = REG_INDEXED,
     .label = "Last reply"},
    {.name = "status",
     .kind = REG_ENUM,
     .enumeration = &filter_status,
     .flags = REG_INDEXED,
     .label = "Status"},
};

/* Action ------------------------------------------------------------------------------------ */

static const struct reg_field pause_fields[] = {
    {.name = "route",
     .kind = REG_STRING,
     .format = FORMAT_TEXT,
     .flags = REG_NULLABLE,
     .description = "Only mail on this route; null, as `queue` too: everything."},
    {.name = "queue",
     .kind = REG_STRING,
     .format = FORMAT_TEXT,
     .flags = REG_NULLABLE,
     .description = "Only mail whose schedule has this MtaVirtualQueue, by its name."},
};

static const struct reg_enum change_operation = {
    .name = "QueueOperation",
    .values = (const struct reg_enum_value[]){{"hold", "Neither try nor give up until released"},
                                              {"release", "Try what is held, at once"},
                                              {"retry", "Try now, or at a time"},
                                              {"expire", "Give up at a time"},
                                              {"cancel", "Drop, without a report"},
                                              {"bounce", "Give up now, and tell the sender"}},
    .count = 6};

#define FILTER_TEXT(field_name, text)                                                           \
    {                                                                                           \
        .name = (field_name), .kind = REG_STRING, .format = FORMAT_TEXT, .flags = REG_NULLABLE, \
        .description = (text)                                                                   \
    }
#define FILTER_DATE(field_name, text)                                                        \
    {                                                                                        \
        .name = (field_name), .kind = REG_DATE, .flags = REG_NULLABLE, .description = (text) \
    }
static const struct reg_field change_fields[] = {
    {.name = "operation",
     .kind = REG_ENUM,
     .enumeration = &change_operation,
     .flags = REG_REQUIRED,
     .description = "What is to be done."},
    FILTER_DATE("at", "Of `expire` and `retry`: when."),
    FILTER_TEXT("text", "Part of the sender or a recipient."),
    FILTER_TEXT("returnPath", "Part of the sender; `<>`: the null sender."),
    FILTER_TEXT("to", "Part of a recipient."),
    FILTER_TEXT("nextHop", HOP_LABEL "."),
    FILTER_TEXT("queueName", QUEUE_LABEL "."),
    FILTER_TEXT("error", "Part of the last reply."),
    {.name = "status",
     .kind = REG_ENUM,
     .enumeration = &filter_status,
     .flags = REG_NULLABLE,
     .description = "Status of a recipient."},
    FILTER_DATE("createdBefore", "Accepted before."),
    FILTER_DATE("createdAfter", "Accepted after."),
    FILTER_DATE("dueBefore", "Next attempt before."),
    FILTER_DATE("dueAfter", "Next attempt after."),
    FILTER_TEXT("cursor", "What the call before answered; null: from the first message on."),
};

const struct reg_variant reg_action_variants[9] = {
    {.name = "ReloadSettings",
     .label = "Reload settings",
     .note = "Changes are in force when they are made; this reads again what objects name "
             "outside: files and environment variables."},
    {.name = "ReloadTlsCertificates",
     .label = "Reload certificates",
     .note = "Reads the files again that Certificates name."},
    {.name = "ReloadBlockedIps",
     .label = "Reload blocked addresses",
     .note = "They are in force when they are made: changes nothing."},
    {.name = "ReloadLookupStores",
     .label = "Reload lists",
     .note = "Their keys are in force when they are made: changes nothing."},
    {.name = "PauseMtaQueue",
     .label = "Pause everything, a route or a virtual queue",
     .fields = FIELDS(pause_fields),
     .note = "No delivery begins until ResumeMtaQueue, also after a restart; mail is accepted, and "
             "deliveries on their way end."},
    {.name = "ResumeMtaQueue",
     .label = "Resume everything, a route or a virtual queue",
     .fields = FIELDS(pause_fields),
     .note = "Without a route and a queue it ends every pause."},
    {.name = "InvalidateCaches",
     .label = "Forget names",
     .note = "What name servers said, and the addresses that next hops got from it, are asked for "
             "anew, on every core. Nothing else is cached."},
    {.name = "InvalidateNegativeCaches",
     .label = "Forget absent names",
     .note = "The same for names and records that were not found, or not to be had."},
    {.name = "ChangeMtaQueue",
     .label = "Change queued messages",
     .fields = FIELDS(change_fields),
     .note =
         "Does something to all messages that fit, oldest first, up to 500 in one call, and "
         "durably. Answers how many were `found`, `changed` and `refused`, and the `cursor` for "
         "the next call, null after the last. What is said of recipients (`to`, `nextHop`, "
         "`queueName`, `error`, `held`) chooses those, not the others of the same message."},
};
