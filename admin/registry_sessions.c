/* Limits of inbound sessions, on recipients and on messages. */
#include "admin/registry_private.h"

#define CONSTANT(field_name, result, low, high, else_text, text)                        \
    {                                                                                   \
        .name = (field_name), .kind = REG_EXPRESSION, .format = (result), .min = (low), \
        .max = (high), .context = EXPR_CONN,                                            \
        .initial = "{\"match\":{},\"else\":\"" else_text "\"}", .description = (text)   \
    }

static const struct reg_enum unauthorized_pipelining = {
    .name = "UnauthorizedPipelining",
    .values = (const struct reg_enum_value[]){{"refuse", "End the session"},
                                              {"tolerate", "Carry the commands out"}},
    .count = 2};

static const struct reg_field session_fields[] = {
    CONSTANT("timeout", FORMAT_DURATION, SECOND_MS, DAY_MS, "5m",
             "A session that sends no whole command for so long is closed with 421, and one that "
             "does not read its replies for so long, or for a minute, is cut off."),
    CONSTANT("maxDuration", FORMAT_DURATION, SECOND_MS, 7 * DAY_MS, "1h",
             "Longest life of a session."),
    CONSTANT("dataTimeout", FORMAT_DURATION, SECOND_MS, DAY_MS, "10m",
             "As timeout, while message data is expected."),
    CONSTANT("minDataRate", FORMAT_SIZE, 0, 1000000000, "500",
             "Octets a second that message data has to come at. A client that is behind this by "
             "more than minDataRateGrace gets 421, and that counts as loitering (Security). Only "
             "time in which we wait for it counts. 0: any rate."),
    CONSTANT("minDataRateGrace", FORMAT_DURATION, SECOND_MS, 3600 * SECOND_MS, "3m",
             "How far a client may be behind minDataRate; also the longest silence within message "
             "data, where dataTimeout is longer. RFC 5321 gives a block of data 3 minutes."),
    CONSTANT("maxErrors", FORMAT_UNSIGNED, 1, 1000000, "20",
             "Refused commands after which a session is closed with 421, counted anew behind every "
             "message that it brings."),
    {.name = "errorDelay",
     .kind = REG_NUMBER,
     .format = FORMAT_DURATION,
     .max = 60 * SECOND_MS,
     .initial = "0",
     .description = "How long the reply to each refused command waits, behind the first "
                    "errorDelayAfter of a session; the commands behind it wait as well. Of a "
                    "refused recipient, the longer one of this and waitOnFail of MtaStageRcpt. 0: "
                    "not at all."},
    {.name = "errorDelayAfter",
     .kind = REG_NUMBER,
     .format = FORMAT_UNSIGNED,
     .max = 1000000,
     .initial = "5",
     .description = "Refused commands of a session before replies begin to wait (errorDelay), "
                    "counted anew behind every message that it brings."},
    CONSTANT("maxCommands", FORMAT_UNSIGNED, 1, 1000000000, "10000",
             "Commands of a session, counted anew behind every message that it brings: how many "
             "messages that may be is maxMessages of MtaStageData."),
    CONSTANT("maxLineLength", FORMAT_SIZE, 512, 4096, "4096",
             "Octets of a command line without its CRLF."),
    {.name = "unauthorizedPipelining",
     .kind = REG_ENUM,
     .enumeration = &unauthorized_pipelining,
     .initial = "\"refuse\"",
     .description =
         "What becomes of a session that sends more behind EHLO, HELO, STARTTLS or DATA without "
         "having seen the reply, or several commands at once before PIPELINING was offered "
         "(RFC 2920), except behind RSET, NOOP and QUIT of a client that said HELO. A refusal is "
         "554 and the end, and counts as a scan (Security)."},
};
const struct reg_variant reg_session_variants[1] = {
    {.label = "Inbound session", .fields = FIELDS(session_fields), .unsupported = "transferLimit"},
};

static const struct reg_field stage_rcpt_fields[] = {
    CONSTANT("maxRecipients", FORMAT_UNSIGNED, 1, 1000, "1000",
             "Recipients per message; RFC 5321 asks for at least 100."),
    CONSTANT("maxFailures", FORMAT_UNSIGNED, 0, 1000000, "0",
             "Recipients refused with 550, because they do not exist or may not be sent to, after "
             "which a session is closed with 421. 0: no limit of their own; for maxErrors of "
             "MtaInboundSession they count in any case."),
    CONSTANT("waitOnFail", FORMAT_DURATION, 0, 60 * SECOND_MS, "0",
             "How long the reply to each of them waits, from the first on; the commands behind it "
             "wait as well. Where errorDelay of MtaInboundSession applies too, the longer of the "
             "two. 0: not at all."),
    {.name = "allowRelaying",
     .kind = REG_EXPRESSION,
     .context = EXPR_RCPT,
     .initial = "{\"match\":{},\"else\":\"false\"}",
     .description =
         "Whether a recipient whose domain is not served here is accepted and goes where "
         "the route expression says; else it gets 550 5.7.1. Look at the client: who is "
         "let in may send to everybody. May ask the DNS; when that fails, the answer is "
         "451."},
    {.name = "rewrite",
     .kind = REG_EXPRESSION,
     .context = EXPR_RCPT,
     .initial = "{\"match\":{},\"else\":\"false\"}",
     .description =
         "The address that takes the place of a recipient before it is looked up: a text; any "
         "other result leaves it. What is no address, and what cannot be told, is a 451. Reports "
         "name the original (ORCPT), unless the client has named one."},
};
const struct reg_variant reg_stage_rcpt_variants[1] = {
    {.label = "RCPT stage", .fields = FIELDS(stage_rcpt_fields), .unsupported = "script"},
};

static const struct reg_enum bare_newlines = {
    .name = "BareNewlines",
    .values = (const struct reg_enum_value[]){{"refuse", "Refuse the message"},
                                              {"normalize", "Read them as CRLF"}},
    .count = 2};

static const struct reg_field stage_data_fields[] = {
    CONSTANT("maxMessageSize", FORMAT_SIZE, 1024, INT64_C(1) << 40, "104857600",
             "Octets of a message; announced as SIZE."),
    CONSTANT("maxMessages", FORMAT_UNSIGNED, 1, 1000000000, "1000", "Messages per session."),
    CONSTANT("maxReceivedHeaders", FORMAT_UNSIGNED, 1, 10000, "50",
             "A message with more Received headers is refused as a loop."),
    {.name = "bareNewlines",
     .kind = REG_ENUM,
     .enumeration = &bare_newlines,
     .initial = "\"refuse\"",
     .description = "What happens to a message with a CR or LF that is not part of a CRLF."},
    {.name = "binaryMime", .kind = REG_BOOLEAN, .description = "Offer BINARYMIME (RFC 3030)."},
};
const struct reg_variant reg_stage_data_variants[1] = {
    {.label = "DATA stage",
     .fields = FIELDS(stage_data_fields),
     .unsupported = "enableSpamFilter script addReceivedHeader addReceivedSpfHeader "
                    "addReturnPathHeader addAuthResultsHeader addMessageIdHeader addDateHeader "
                    "addDeliveredToHeader"},
};
