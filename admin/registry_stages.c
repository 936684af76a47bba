/* The types that say what happens at connection, EHLO and MAIL, and from whom reports are. */
#include "admin/registry_private.h"

static const struct reg_field connect_fields[] = {
    {.name = "hostname",
     .kind = REG_EXPRESSION,
     .context = EXPR_CONN,
     .initial = "{\"match\":{},\"else\":\"system('hostname')\"}",
     .description = "What this server calls itself in a session: in the usual banner, at EHLO and "
                    "in Received. A result that is not the name of a host ends the session with "
                    "421."},
    {.name = "smtpGreeting",
     .kind = REG_EXPRESSION,
     .context = EXPR_CONN,
     .initial = "{\"match\":{},\"else\":\"system('hostname') + ' ESMTP'\"}",
     .description = "Text of the banner behind its 220. It has to begin with the name of this "
                    "server (RFC 5321 section 4.2)."},
};
const struct reg_variant reg_stage_connect_variants[1] = {
    {.label = "Connect stage", .fields = FIELDS(connect_fields), .unsupported = "script"},
};

static const struct reg_field ehlo_fields[] = {
    {.name = "require",
     .kind = REG_EXPRESSION,
     .context = EXPR_CONN,
     .initial = "{\"match\":{},\"else\":\"true\"}",
     .description = "Whether MAIL needs EHLO or HELO before it; else it gets 503."},
    {.name = "rejectNonFqdn",
     .kind = REG_EXPRESSION,
     .context = EXPR_CONN,
     .initial = "{\"match\":{},\"else\":\"false\"}",
     .description = "Whether EHLO and HELO need a name with a dot in it; else they get 550 5.5.0. "
                    "Address literals are then refused as well."},
};
const struct reg_variant reg_stage_ehlo_variants[1] = {
    {.label = "EHLO stage", .fields = FIELDS(ehlo_fields), .unsupported = "script"},
};

static const struct reg_field mail_fields[] = {
    {.name = "isSenderAllowed",
     .kind = REG_EXPRESSION,
     .context = EXPR_MAIL,
     .initial = "{\"match\":{},\"else\":\"true\"}",
     .description = "Whether mail of this sender is taken from this client; else MAIL gets 550 "
                    "5.7.1. May ask the DNS, also block lists: "
                    "`is_empty(dns_query(ip_reverse_name(remote_ip) + '.zone.example', 'ipv4'))`; "
                    "when that fails, the answer is 451."},
    {.name = "rewrite",
     .kind = REG_EXPRESSION,
     .context = EXPR_MAIL,
     .initial = "{\"match\":{},\"else\":\"false\"}",
     .description = "The envelope sender that takes the place of an allowed one: a text; any other "
                    "result leaves it. What is no address, and what cannot be told, is a 451. The "
                    "null sender is never rewritten."},
};
const struct reg_variant reg_stage_mail_variants[1] = {
    {.label = "MAIL stage", .fields = FIELDS(mail_fields), .unsupported = "script"},
};

#define OFFER(field_name, text)                                              \
    {                                                                        \
        .name = (field_name), .kind = REG_EXPRESSION, .context = EXPR_EHLO,  \
        .initial = "{\"match\":{},\"else\":\"true\"}", .description = (text) \
    }

static const struct reg_field extension_fields[] = {
    OFFER("pipelining", "Whether EHLO offers PIPELINING (RFC 2920)."),
    OFFER("chunking", "Whether EHLO offers CHUNKING, and with it BINARYMIME where that is on "
                      "(RFC 3030); else BDAT gets 502."),
    OFFER("dsn", "Whether EHLO offers DSN (RFC 3461); else its parameters get 555."),
};
const struct reg_variant reg_extension_variants[1] = {
    {.label = "Extensions",
     .fields = FIELDS(extension_fields),
     .unsupported = "deliverBy expn futureRelease mtPriority noSoliciting requireTls vrfy",
     .note = "Worked out at every EHLO; what the other extensions would need is not there, so they "
             "are not offered."},
};

static const struct reg_field dsn_fields[] = {
    {.name = "fromName",
     .kind = REG_EXPRESSION,
     .context = EXPR_QSENDER,
     .initial = "{\"match\":{},\"else\":\"'Mail Delivery System'\"}",
     .description = "Name in the From field of reports to senders; at most 128 bytes of it."},
    {.name = "fromAddress",
     .kind = REG_EXPRESSION,
     .context = EXPR_QSENDER,
     .initial = "{\"match\":{},\"else\":\"'MAILER-DAEMON@' + system('hostname')\"}",
     .description = "Address in the From field of reports to senders. Their envelope always has "
                    "the null sender."},
};
const struct reg_variant reg_dsn_variants[1] = {
    {.label = "Reports to senders",
     .fields = FIELDS(dsn_fields),
     .unsupported = "dkimSignDomain",
     .note = "`retry_num`, `notify_num`, `last_status` and `last_error` are those of the first "
             "recipient that a report is about. Where an expression fails, or does not yield an "
             "address, its default holds, and the log says so. Reports are not signed."},
};
