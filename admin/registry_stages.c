/* The types that say what happens at connection, EHLO and MAIL, and from whom reports are. */
#include "admin/registry_private.h"

static const struct reg_field connect_fields[] = {
    {.name = "smtpGreeting",
     .kind = REG_EXPRESSION,
     .context = EXPR_CONN,
     .initial = "{\"match\":{},\"else\":\"system('hostname') + ' ESMTP'\"}",
     .description = "Text of the banner behind its 220. It has to begin with the name of this "
                    "server (RFC 5321 section 4.2)."},
};
const struct reg_variant reg_stage_connect_variants[1] = {
    {.label = "Connect stage", .fields = FIELDS(connect_fields), .unsupported = "hostname script"},
};

static const struct reg_field ehlo_fields[] = {
    {.name = "rejectNonFqdn",
     .kind = REG_EXPRESSION,
     .context = EXPR_CONN,
     .initial = "{\"match\":{},\"else\":\"false\"}",
     .description = "Whether EHLO and HELO need a name with a dot in it; else they get 550 5.5.0. "
                    "Address literals are then refused as well."},
};
const struct reg_variant reg_stage_ehlo_variants[1] = {
    {.label = "EHLO stage",
     .fields = FIELDS(ehlo_fields),
     .unsupported = "require script",
     .note = "MAIL always needs EHLO or HELO before it."},
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
};
const struct reg_variant reg_stage_mail_variants[1] = {
    {.label = "MAIL stage", .fields = FIELDS(mail_fields), .unsupported = "rewrite script"},
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
