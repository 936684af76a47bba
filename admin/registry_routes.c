/* The ways that mail can take from here, and which of them a recipient takes. */
#include "admin/registry_private.h"

/* MtaRoute ---------------------------------------------------------------------------------- */

#define ROUTE_NAME_FIELD                                                                       \
    {                                                                                          \
        .name = "name", .kind = REG_STRING, .format = FORMAT_NAME, .mode = REG_IMMUTABLE,      \
        .flags = REG_REQUIRED | REG_INDEXED | REG_UNIQUE,                                      \
        .description = "What the route expression of MtaOutboundStrategy yields to choose it." \
    }

static const struct reg_enum relay_protocol = {
    .name = "MtaProtocol",
    .values = (const struct reg_enum_value[]){{"smtp", "SMTP"}, {"lmtp", "LMTP"}},
    .count = 2};

static const struct reg_field plain_route_fields[] = {ROUTE_NAME_FIELD, DESCRIPTION_FIELD};
static const struct reg_field relay_route_fields[] = {
    ROUTE_NAME_FIELD,
    DESCRIPTION_FIELD,
    {.name = "address",
     .kind = REG_STRING,
     .format = FORMAT_HOST,
     .flags = REG_REQUIRED,
     .description = "Host name or literal address of the next hop."},
    {.name = "port",
     .kind = REG_NUMBER,
     .format = FORMAT_UNSIGNED,
     .min = 1,
     .max = 65535,
     .initial = "25",
     .description = "TCP port of the next hop."},
    {.name = "protocol",
     .kind = REG_ENUM,
     .enumeration = &relay_protocol,
     .initial = "\"smtp\"",
     .description = "LMTP answers for every recipient by itself; mailbox servers speak it."},
    {.name = "implicitTls",
     .kind = REG_BOOLEAN,
     .description = "TLS from the first byte. When off, STARTTLS is used if it is offered."},
    {.name = "allowInvalidCerts",
     .kind = REG_BOOLEAN,
     .description = "Go on when the certificate of the next hop does not verify."},
};
static const struct reg_enum mx_families = {
    .name = "MtaIpStrategy",
    .values = (const struct reg_enum_value[]){{"v4ThenV6", "IPv4, then IPv6"},
                                              {"v6ThenV4", "IPv6, then IPv4"},
                                              {"v4Only", "IPv4 only"},
                                              {"v6Only", "IPv6 only"}},
    .count = 4};

static const struct reg_field mx_route_fields[] = {
    ROUTE_NAME_FIELD,
    DESCRIPTION_FIELD,
    {.name = "maxMxHosts",
     .kind = REG_NUMBER,
     .format = FORMAT_UNSIGNED,
     .min = 1,
     .max = 10,
     .initial = "5",
     .description = "Mail hosts of a domain that are tried, the preferred ones first."},
    {.name = "maxMultihomed",
     .kind = REG_NUMBER,
     .format = FORMAT_UNSIGNED,
     .min = 1,
     .max = 16,
     .initial = "2",
     .description = "Addresses of one mail host that are tried."},
    {.name = "ipLookupStrategy",
     .kind = REG_ENUM,
     .enumeration = &mx_families,
     .initial = "\"v4ThenV6\"",
     .description = "Which addresses of a mail host are used, and which first."},
};
const struct reg_variant reg_route_variants[3] = {
    {.name = "Local",
     .label = "Local mailbox",
     .fields = FIELDS(plain_route_fields),
     .note = "Delivers into the account's mailbox. A route `local` exists from the first start."},
    {.name = "Mx",
     .label = "MX of the recipient's domain",
     .fields = FIELDS(mx_route_fields),
     .note = "A route `mx` exists from the first start."},
    {.name = "Relay",
     .label = "Another mail system",
     .fields = FIELDS(relay_route_fields),
     .unsupported = "authUsername authSecret"},
};

/* MtaOutboundStrategy ----------------------------------------------------------------------- */

static const struct reg_field strategy_fields[] = {
    {.name = "route",
     .kind = REG_EXPRESSION,
     .format = FORMAT_LABEL,
     .refers = "MtaRoute",
     .context = EXPR_QRCPT,
     .initial = "{\"match\":{\"0\":{\"if\":\"is_local_domain(rcpt_domain)\",\"then\":\"'local'\"}},"
                "\"else\":\"'mx'\"}",
     .description = "Name of the MtaRoute that a recipient takes. Every result must be a route "
                    "name in quotes. Evaluated again at every attempt."},
    {.name = "schedule",
     .kind = REG_EXPRESSION,
     .format = FORMAT_LABEL,
     .refers = "MtaDeliverySchedule",
     .context = EXPR_QRCPT,
     .initial = "{\"match\":{\"0\":{\"if\":\"is_local_address(rcpt)\",\"then\":\"'local'\"},"
                "\"1\":{\"if\":\"source == 'dsn'\",\"then\":\"'dsn'\"},"
                "\"2\":{\"if\":\"source == 'report'\",\"then\":\"'report'\"}},"
                "\"else\":\"'remote'\"}",
     .description =
         "Name of the MtaDeliverySchedule of a recipient, in quotes. Evaluated at every "
         "attempt and again when one fails, so a change holds for queued mail from its "
         "next attempt on. Mail that is relayed is not `local`, whosever the domain is."},
    {.name = "connection",
     .kind = REG_EXPRESSION,
     .format = FORMAT_LABEL,
     .refers = "MtaConnectionStrategy",
     .context = EXPR_QHOST,
     .initial = "{\"match\":{},\"else\":\"'default'\"}",
     .description =
         "Name of the MtaConnectionStrategy for a recipient and a host. Every result must "
         "be a name in quotes."},
    {.name = "tls",
     .kind = REG_EXPRESSION,
     .format = FORMAT_LABEL,
     .refers = "MtaTlsStrategy",
     .context = EXPR_QHOST,
     .initial = "{\"match\":{},\"else\":\"'default'\"}",
     .description = "Name of the MtaTlsStrategy for a recipient and a host. Every result must be a "
                    "name in quotes."},
};
const struct reg_variant reg_strategy_variants[1] = {
    {.label = "Outbound strategy", .fields = FIELDS(strategy_fields)},
};
