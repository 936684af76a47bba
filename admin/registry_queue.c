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
};
static const struct reg_variant rcpt_status_variants[] = {
    {.name = "Scheduled", .label = "Not tried yet"},
    {.name = "Completed",
     .label = "Delivered",
     .fields = FIELDS(response_fields),
     .unsupported = "responseHostname responseEnhanced responseMessage"},
    {.name = "TemporaryFailure",
     .label = "Tried, and tried again later",
     .fields = FIELDS(response_fields),
     .unsupported = "responseHostname responseEnhanced responseMessage errorType errorCommand "
                    "errorMessage"},
    {.name = "PermanentFailure",
     .label = "Given up",
     .fields = FIELDS(response_fields),
     .unsupported = "responseHostname responseEnhanced responseMessage errorType errorCommand "
                    "errorMessage"},
};
static const struct reg_shape rcpt_status = {.name = "RecipientStatus",
                                             .variants = VARIANTS(rcpt_status_variants)};

static const struct reg_field ttl_fields[] = {
    SHOWN("expiresAt", REG_DATE, "When it is given up."),
};
static const struct reg_variant rcpt_expiry_variants[] = {
    {.name = "Ttl", .label = "After a time", .fields = FIELDS(ttl_fields)},
};
static const struct reg_shape rcpt_expiry = {
    .name = "QueueExpiry", .variants = VARIANTS(rcpt_expiry_variants), .unsupported = "Attempts"};

static const struct reg_field queued_rcpt_fields[] = {
    {.name = "status",
     .kind = REG_OBJECT,
     .mode = REG_SERVER_SET,
     .embedded = &rcpt_status,
     .description = "What came of it so far."},
    SHOWN_NUMBER("retryCount", FORMAT_UNSIGNED, 0, 255, "Attempts so far; counted up to 255."),
    {.name = "retryDue",
     .kind = REG_DATE,
     .mode = REG_SERVER_SET,
     .flags = REG_NULLABLE,
     .description = "Next attempt; null: none follows."},
    SHOWN_NUMBER("notifyCount", FORMAT_UNSIGNED, 0, 255, "Reports of delay sent so far."),
    {.name = "expires",
     .kind = REG_OBJECT,
     .mode = REG_SERVER_SET,
     .embedded = &rcpt_expiry,
     .description = "When the attempts end."},
    SHOWN_TEXT("orcpt", "ORCPT parameter as it was given."),
};
static const struct reg_variant queued_rcpt_variants[] = {
    {.label = "Recipient",
     .fields = FIELDS(queued_rcpt_fields),
     .unsupported = "notifyDue queueName flags"},
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
     .description = "Every recipient with its state."},
    {.name = "nextRetry",
     .kind = REG_DATE,
     .flags = REG_NULLABLE,
     .description = "Next attempt; null: none follows. When set, all recipients that are not "
                    "decided are due then; a time that has passed: now."},
    SHOWN("createdAt", REG_DATE, "When it was accepted."),
    SHOWN_NUMBER("size", FORMAT_SIZE, 0, INT64_C(1) << 40, "Octets of its content."),
    SHOWN_TEXT("envId", "ENVID parameter, decoded."),
    SHOWN_TEXT("receivedFromIp", "Client; null: it was made here."),
    {.name = "flags",
     .kind = REG_SET,
     .mode = REG_SERVER_SET,
     .enumeration = &message_flag,
     .description = "Where it comes from."},
    SHOWN("queueId", REG_STRING, "Its id in the log, in replies and on disk."),
    SHOWN("held", REG_BOOLEAN, "It is incomplete or unreadable: kept, and never tried."),
};
const struct reg_variant reg_queued_variants[1] = {
    {.label = "Queued message",
     .fields = FIELDS(queued_fields),
     .unsupported = "priority nextNotify blobId receivedViaPort",
     .note = "Destroying one cancels it: what is not delivered yet is dropped, without a report. "
             "Its `id` holds until the next start of the server, `queueId` for ever. Pages that "
             "are not asked for by anchor end after 20,000 messages."},
};
const struct reg_field reg_queued_filters[4] = {
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
};

/* Action ------------------------------------------------------------------------------------ */

const struct reg_variant reg_action_variants[7] = {
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
    {.name = "PauseMtaQueue",
     .label = "Pause the queue",
     .note = "No delivery begins until ResumeMtaQueue or a restart; mail is accepted, and "
             "deliveries on their way end. To start without delivery: serve --delivery off."},
    {.name = "ResumeMtaQueue", .label = "Resume the queue"},
    {.name = "InvalidateCaches",
     .label = "Forget names",
     .note = "What name servers said, and the addresses that next hops got from it, are asked for "
             "anew, on every core. Nothing else is cached."},
    {.name = "InvalidateNegativeCaches",
     .label = "Forget absent names",
     .note = "The same for names and records that were not found, or not to be had."},
};
