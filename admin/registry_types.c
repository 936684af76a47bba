/* The table of all object types. clang-format keeps one field per block. */
#include "admin/registry_private.h"
#include "route/list.h"

/* Fields that several types share. */
#define DESCRIPTION_FIELD                                                                        \
    {                                                                                            \
        .name = "description", .kind = REG_STRING, .format = FORMAT_TEXT, .flags = REG_NULLABLE, \
        .description = "Free text for people; shown in lists and logs of changes."               \
    }

/* Domain ------------------------------------------------------------------------------------ */

static const struct reg_variant sub_addressing_variants[] = {
    {.name = "Enabled", .label = "Cut the local part at the first +"},
    {.name = "Disabled", .label = "Take the local part as it is"},
};
static const struct reg_shape sub_addressing = {.name = "SubAddressing",
                                                .variants = sub_addressing_variants,
                                                .variant_count = 2,
                                                .unsupported = "Custom"};

static const struct reg_enum recipient_verification = {
    .name = "RecipientVerification",
    .values = (const struct reg_enum_value[]){{"disable", "Do not ask"},
                                              {"accept", "Ask; accept when nobody can say"},
                                              {"defer", "Ask; 451 when nobody can say"}},
    .count = 3};

static const struct reg_field domain_fields[] = {
    {.name = "name",
     .kind = REG_STRING,
     .format = FORMAT_DOMAIN,
     .flags = REG_REQUIRED | REG_INDEXED | REG_UNIQUE,
     .description = "The domain. International names are stored as A-labels. No other domain may "
                    "have it as its name or alias."},
    {.name = "aliases",
     .kind = REG_SET,
     .format = FORMAT_DOMAIN,
     .flags = REG_INDEXED | REG_UNIQUE,
     .description = "Further names of the same domain: every address of it exists under each."},
    DESCRIPTION_FIELD,
    {.name = "isEnabled",
     .kind = REG_BOOLEAN,
     .initial = "true",
     .description = "When off, the domain is not served: as if it were not here."},
    {.name = "allowRelaying",
     .kind = REG_BOOLEAN,
     .description = "Accept recipients that have no account here and send them where the route "
                    "expression says. For split delivery while accounts move."},
    {.name = "verifyRecipients",
     .kind = REG_ENUM,
     .enumeration = &recipient_verification,
     .initial = "\"disable\"",
     .description = "Whether the relay that a recipient without an account here would go to is "
                    "asked first if it has such a recipient, so that the others are refused (550 "
                    "5.1.1) instead of being returned to senders who are often forged. Has an "
                    "effect with allowRelaying, on routes of the type Relay. Performance has its "
                    "times and bounds. Where the tls expression of MtaOutboundStrategy chooses by "
                    "recipient, questions go with optional TLS, whoever they are about."},
    {.name = "catchAllAddress",
     .kind = REG_STRING,
     .format = FORMAT_EMAIL,
     .flags = REG_NULLABLE,
     .description = "Gets mail for local parts that do not exist. Never used while "
                    "allowRelaying is on."},
    {.name = "subAddressing",
     .kind = REG_OBJECT,
     .embedded = &sub_addressing,
     .initial = "{\"@type\":\"Enabled\"}",
     .description = "Whether alice+tag@ reaches alice@."},
};
static const struct reg_variant domain_variants[] = {
    {.label = "Domain",
     .fields = FIELDS(domain_fields),
     .unsupported = "certificateManagement dkimManagement dnsManagement reportAddressUri logo "
                    "directoryId memberTenantId createdAt dnsZoneFile"},
};

/* Account ----------------------------------------------------------------------------------- */

static const struct reg_field alias_fields[] = {
    {.name = "enabled",
     .kind = REG_BOOLEAN,
     .initial = "true",
     .description = "When off, the address does not exist."},
    {.name = "name",
     .kind = REG_STRING,
     .format = FORMAT_LOCAL_PART,
     .flags = REG_REQUIRED,
     .description = "Local part of the further address."},
    {.name = "domainId",
     .kind = REG_ID,
     .refers = "Domain",
     .flags = REG_REQUIRED,
     .description = "Domain of the further address."},
    DESCRIPTION_FIELD,
};
static const struct reg_variant alias_variants[] = {
    {.label = "Alias", .fields = FIELDS(alias_fields)},
};
static const struct reg_shape email_alias = {
    .name = "EmailAlias", .variants = alias_variants, .variant_count = 1};

static const struct reg_field user_fields[] = {
    {.name = "name",
     .kind = REG_STRING,
     .format = FORMAT_LOCAL_PART,
     .flags = REG_REQUIRED | REG_INDEXED,
     .label = "Username",
     .description = "Local part of the address, lower case."},
    {.name = "domainId",
     .kind = REG_ID,
     .refers = "Domain",
     .flags = REG_REQUIRED | REG_INDEXED,
     .description = "Domain of the address."},
    {.name = "emailAddress",
     .kind = REG_STRING,
     .format = FORMAT_EMAIL,
     .mode = REG_SERVER_SET,
     .description = "name@domain."},
    DESCRIPTION_FIELD,
    {.name = "aliases",
     .kind = REG_LIST,
     .embedded = &email_alias,
     .description = "Further addresses whose mail goes into the same mailbox. No address may "
                    "exist twice on this server."},
    {.name = "credentials",
     .kind = REG_LIST,
     .embedded = &reg_credential,
     .max = 1,
     .description = "How it signs in to the management. Without any it cannot, and its API keys "
                    "are removed."},
    {.name = "roles",
     .kind = REG_OBJECT,
     .embedded = &reg_user_roles,
     .initial = "{\"@type\":\"User\"}",
     .description = "What it may do."},
    {.name = "permissions",
     .kind = REG_OBJECT,
     .embedded = &reg_account_permissions,
     .initial = "{\"@type\":\"Inherit\"}",
     .description = "Changes to what its roles say."},
};
/* An address of its own and further ones. */
#define LOCAL_PART_FIELD                                                 \
    {                                                                    \
        .name = "name", .kind = REG_STRING, .format = FORMAT_LOCAL_PART, \
        .flags = REG_REQUIRED | REG_INDEXED,                             \
        .description = "Local part of the address, lower case."          \
    }
#define DOMAIN_ID_FIELD                                                              \
    {                                                                                \
        .name = "domainId", .kind = REG_ID, .refers = "Domain",                      \
        .flags = REG_REQUIRED | REG_INDEXED, .description = "Domain of the address." \
    }
#define EMAIL_ADDRESS_FIELD                                                 \
    {                                                                       \
        .name = "emailAddress", .kind = REG_STRING, .format = FORMAT_EMAIL, \
        .mode = REG_SERVER_SET, .description = "name@domain."               \
    }
#define ALIASES_FIELD                                                                  \
    {                                                                                  \
        .name = "aliases", .kind = REG_LIST, .embedded = &email_alias,                 \
        .description = "Further addresses. No address may exist twice on this server." \
    }

static const struct reg_field group_fields[] = {
    LOCAL_PART_FIELD, DOMAIN_ID_FIELD, EMAIL_ADDRESS_FIELD, DESCRIPTION_FIELD, ALIASES_FIELD,
};
static const struct reg_variant account_variants[] = {
    {.name = "User",
     .label = "User account",
     .fields = FIELDS(user_fields),
     .unsupported = "memberGroupIds quotas locale timeZone encryptionAtRest memberTenantId "
                    "usedDiskQuota createdAt"},
    {.name = "Group",
     .label = "Group account",
     .fields = FIELDS(group_fields),
     .unsupported = "roles permissions quotas locale timeZone memberTenantId usedDiskQuota "
                    "createdAt",
     .note = "A mailbox of its own that several people read: mail to the group is delivered into "
             "it, once. To send mail on to people, use a MailingList."},
};

/* MailingList ------------------------------------------------------------------------------- */

static const struct reg_field list_fields[] = {
    LOCAL_PART_FIELD,
    DOMAIN_ID_FIELD,
    EMAIL_ADDRESS_FIELD,
    DESCRIPTION_FIELD,
    ALIASES_FIELD,
    {.name = "recipients",
     .kind = REG_SET,
     .format = FORMAT_EMAIL,
     .max = LIST_MEMBERS_MAX,
     .description = "The members: addresses anywhere, also of other lists (up to eight in a row). "
                    "Mail to a list without members is returned to its sender (5.1.1)."},
};
static const struct reg_variant list_variants[] = {
    {.label = "Mailing list",
     .fields = FIELDS(list_fields),
     .unsupported = "memberTenantId",
     .note = "Mail to the list becomes new messages to its members, with the sender it came with; "
             "`Delivered-To` with the list's address stands on top, and a message that has it "
             "already is a loop and is returned (5.4.6). Each member goes where the route "
             "expression says. A sender who asked for it (NOTIFY=SUCCESS) is told `expanded`; "
             "failures and delays of members are reported to the sender as of any recipient."},
};

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
static const struct reg_variant route_variants[] = {
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
static const struct reg_variant strategy_variants[] = {
    {.label = "Outbound strategy", .fields = FIELDS(strategy_fields)},
};

/* NetworkListener --------------------------------------------------------------------------- */

static const struct reg_enum listener_protocol = {
    .name = "NetworkListenerProtocol",
    .values = (const struct reg_enum_value[]){{"smtp", "SMTP"}, {"http", "HTTP (management)"}},
    .count = 2,
    .unsupported = "lmtp imap pop3 manageSieve"};

static const struct reg_field listener_fields[] = {
    {.name = "name",
     .kind = REG_STRING,
     .format = FORMAT_NAME,
     .mode = REG_IMMUTABLE,
     .flags = REG_REQUIRED | REG_INDEXED | REG_UNIQUE,
     .description = "Name of the listener in logs and expressions."},
    {.name = "bind",
     .kind = REG_SET,
     .format = FORMAT_SOCKET,
     .flags = REG_REQUIRED,
     .min = 1,
     .max = 64,
     .description = "Addresses and ports to listen on, such as `0.0.0.0:25` or `[::]:25`."},
    {.name = "protocol",
     .kind = REG_ENUM,
     .enumeration = &listener_protocol,
     .initial = "\"smtp\"",
     .description = "What is spoken: mail is received by `smtp`, `http` is management as on the "
                    "address of `serve --http`. It is not served in recovery mode."},
    {.name = "overrideProxyTrustedNetworks",
     .kind = REG_SET,
     .format = FORMAT_NETWORK,
     .description =
         "Peers of this listener that must send a PROXY protocol header. When not "
         "empty it takes the place of SystemSettings.proxyTrustedNetworks; `0.0.0.0` alone, which "
         "no peer has, means nobody. Not for `http`."},
    {.name = "useTls",
     .kind = REG_BOOLEAN,
     .initial = "true",
     .description = "Offer STARTTLS. `http` has TLS from the first byte or not at all."},
    {.name = "tlsImplicit", .kind = REG_BOOLEAN, .description = "TLS from the first byte."},
    {.name = "maxConnections",
     .kind = REG_NUMBER,
     .format = FORMAT_UNSIGNED,
     .flags = REG_NULLABLE,
     .min = 1,
     .max = 10000000,
     .initial = "8192",
     .description = "Connections at a time; null: as SystemSettings.maxConnections. All of `http` "
                    "have 128 together."},
    {.name = "greetDelay",
     .kind = REG_NUMBER,
     .format = FORMAT_DURATION,
     .max = 60 * SECOND_MS,
     .initial = "0",
     .description =
         "How long the banner waits. Who speaks before it is no mail server: it is answered 554, "
         "the connection closed, and that counts as a scan (Security). 0: the banner goes out at "
         "once. Sessions wait so long more, so there are more of them at a time. Not for `http`."},
    {.name = "socketBacklog",
     .kind = REG_NUMBER,
     .format = FORMAT_UNSIGNED,
     .flags = REG_NULLABLE,
     .min = 1,
     .max = 65535,
     .initial = "1024",
     .description = "Connections that the kernel holds until they are accepted; null: 1024."},
};
static const struct reg_variant listener_variants[] = {
    {.label = "Listener",
     .fields = FIELDS(listener_fields),
     .unsupported = "tlsTimeout tlsDisableProtocols tlsDisableCipherSuites tlsIgnoreClientOrder "
                    "socketNoDelay socketReuseAddress socketReusePort socketReceiveBufferSize "
                    "socketSendBufferSize socketTosV4 socketTtl",
     .note = "A listener `smtp` on `[::]:25` exists from the first start."},
};

/* SystemSettings ---------------------------------------------------------------------------- */

static const struct reg_field settings_fields[] = {
    {.name = "defaultHostname",
     .kind = REG_STRING,
     .format = FORMAT_HOSTNAME,
     .flags = REG_NULLABLE,
     .description = "Name of this server in the banner, EHLO, and trace headers; null: the "
                    "system's host name."},
    {.name = "defaultDomainId",
     .kind = REG_ID,
     .refers = "Domain",
     .flags = REG_NULLABLE,
     .description = "Its postmaster gets mail for `<postmaster>` without a domain."},
    {.name = "postmasterAddress",
     .kind = REG_STRING,
     .format = FORMAT_EMAIL,
     .flags = REG_NULLABLE,
     .description = "Gets mail for `<postmaster>` and for the postmaster of a local domain that "
                    "nobody else takes; null: postmaster of the default domain."},
    {.name = "defaultCertificateId",
     .kind = REG_ID,
     .refers = "Certificate",
     .flags = REG_NULLABLE,
     .description = "Certificate of this server. null: the only Certificate there is, else a "
                    "self-signed one."},
    {.name = "maxConnections",
     .kind = REG_NUMBER,
     .format = FORMAT_UNSIGNED,
     .min = 1,
     .max = 10000000,
     .initial = "8192",
     .description = "Inbound connections at a time, all listeners together."},
    {.name = "maxConnectionsPerClient",
     .kind = REG_NUMBER,
     .format = FORMAT_UNSIGNED,
     .min = 1,
     .max = 10000000,
     .initial = "200",
     .description = "Of them, connections of one client: an IPv4 address, or an IPv6 network of 64 "
                    "bits. One more is answered 421 and the limit. Loopback and the trusted "
                    "proxies have none; clients behind a proxy have their own."},
    {.name = "maxConnectionsPerNetwork",
     .kind = REG_NUMBER,
     .format = FORMAT_UNSIGNED,
     .flags = REG_NULLABLE,
     .min = 1,
     .max = 10000000,
     .initial = "1000",
     .description = "The same for all clients of one network together, so that nobody takes all "
                    "connections by having many addresses; null: no limit."},
    {.name = "networkPrefixLengthIpv4",
     .kind = REG_NUMBER,
     .format = FORMAT_UNSIGNED,
     .min = 8,
     .max = 32,
     .initial = "24",
     .description = "Bits that IPv4 addresses of one network have in common, for "
                    "maxConnectionsPerNetwork."},
    {.name = "networkPrefixLengthIpv6",
     .kind = REG_NUMBER,
     .format = FORMAT_UNSIGNED,
     .min = 16,
     .max = 64,
     .initial = "48",
     .description = "The same of IPv6 addresses."},
    {.name = "proxyTrustedNetworks",
     .kind = REG_SET,
     .format = FORMAT_NETWORK,
     .description = "Peers that must send a PROXY protocol header (load balancers)."},
};
static const struct reg_variant settings_variants[] = {
    {.label = "System settings",
     .fields = FIELDS(settings_fields),
     .unsupported = "threadPoolSize mailExchangers services providerInfo"},
};

/* Certificate ------------------------------------------------------------------------------- */

#define VARIABLE_FIELD                                                                            \
    {                                                                                             \
        .name = "variableName", .kind = REG_STRING, .format = FORMAT_VARIABLE,                    \
        .flags = REG_REQUIRED, .description = "Environment variable of the server that holds it." \
    }
#define PATH_FIELD                                                                                \
    {                                                                                             \
        .name = "filePath", .kind = REG_STRING, .format = FORMAT_PATH, .max = 4095,               \
        .flags = REG_REQUIRED, .description = "Absolute path of a file that the server may read." \
    }

static const struct reg_field public_text_fields[] = {
    {.name = "value",
     .kind = REG_STRING,
     .format = FORMAT_PEM,
     .flags = REG_REQUIRED,
     .max = REG_PEM_MAX,
     .description = "The text itself."},
};
static const struct reg_field secret_text_fields[] = {
    {.name = "secret",
     .kind = REG_STRING,
     .format = FORMAT_SECRET_PEM,
     .flags = REG_REQUIRED,
     .max = REG_PEM_MAX,
     .description = "The text itself; shown as ****."},
};
static const struct reg_field variable_fields[] = {VARIABLE_FIELD};
static const struct reg_field path_fields[] = {PATH_FIELD};

static const struct reg_variant public_text_variants[] = {
    {.name = "Text", .label = "Given here", .fields = FIELDS(public_text_fields)},
    {.name = "EnvironmentVariable",
     .label = "In the environment",
     .fields = FIELDS(variable_fields)},
    {.name = "File", .label = "In a file", .fields = FIELDS(path_fields)},
};
static const struct reg_variant secret_text_variants[] = {
    {.name = "Text", .label = "Given here", .fields = FIELDS(secret_text_fields)},
    {.name = "EnvironmentVariable",
     .label = "In the environment",
     .fields = FIELDS(variable_fields)},
    {.name = "File", .label = "In a file", .fields = FIELDS(path_fields)},
};
static const struct reg_shape public_text = {.name = "PublicText",
                                             .variants = VARIANTS(public_text_variants)};
static const struct reg_shape secret_text = {.name = "SecretText",
                                             .variants = VARIANTS(secret_text_variants)};

static const struct reg_field certificate_fields[] = {
    {.name = "certificate",
     .kind = REG_OBJECT,
     .embedded = &public_text,
     .flags = REG_REQUIRED,
     .description = "Chain as PEM, the server's certificate first."},
    {.name = "privateKey",
     .kind = REG_OBJECT,
     .embedded = &secret_text,
     .flags = REG_REQUIRED,
     .description = "Key of the first certificate as PEM; checked against it."},
    {.name = "subjectAlternativeNames",
     .kind = REG_SET,
     .format = FORMAT_TEXT,
     .mode = REG_SERVER_SET,
     .description = "Names and addresses that it is for; read from the certificate."},
    {.name = "issuer",
     .kind = REG_STRING,
     .format = FORMAT_TEXT,
     .mode = REG_SERVER_SET,
     .description = "Who has issued it; read from the certificate."},
    {.name = "notValidBefore",
     .kind = REG_DATE,
     .mode = REG_SERVER_SET,
     .description = "Read from the certificate."},
    {.name = "notValidAfter",
     .kind = REG_DATE,
     .mode = REG_SERVER_SET,
     .description = "Read from the certificate."},
};
static const struct reg_variant certificate_variants[] = {
    {.label = "Certificate", .fields = FIELDS(certificate_fields)},
};

/* Who may connect --------------------------------------------------------------------------- */

static const struct reg_enum block_reason = {
    .name = "BlockReason",
    .values = (const struct reg_enum_value[]){{"manual", "By an administrator"},
                                              {"rcptToFailure", "Refused recipients"},
                                              {"authFailure", "Failed sign-ins"},
                                              {"loitering", "Sessions that never end"},
                                              {"portScanning", "Nonsense on a port"},
                                              {"other", "Other"}},
    .count = 6};

#define NETWORK_FIELD(text)                                                                     \
    {                                                                                           \
        .name = "address", .kind = REG_STRING, .format = FORMAT_NETWORK, .mode = REG_IMMUTABLE, \
        .flags = REG_REQUIRED | REG_INDEXED | REG_UNIQUE, .description = (text)                 \
    }
#define EXPIRES_FIELD                                                                        \
    {                                                                                        \
        .name = "expiresAt", .kind = REG_DATE, .flags = REG_NULLABLE,                        \
        .description = "From then on it has no effect any more; null: it holds until it is " \
                       "deleted."                                                            \
    }
#define CREATED_FIELD                                                  \
    {                                                                  \
        .name = "createdAt", .kind = REG_DATE, .mode = REG_SERVER_SET, \
        .description = "When it was made."                             \
    }

static const struct reg_field blocked_fields[] = {
    NETWORK_FIELD("Address or network whose connections are closed without a word. Loopback, "
                  "AllowedIp and the networks of trusted proxies are never blocked."),
    EXPIRES_FIELD,
    {.name = "reason",
     .kind = REG_ENUM,
     .enumeration = &block_reason,
     .initial = "\"manual\"",
     .description = "Why it is blocked."},
    CREATED_FIELD,
};
static const struct reg_variant blocked_variants[] = {
    {.label = "Blocked address", .fields = FIELDS(blocked_fields)},
};
static const struct reg_field allowed_fields[] = {
    NETWORK_FIELD("Address or network that is never blocked."),
    EXPIRES_FIELD,
    {.name = "reason",
     .kind = REG_STRING,
     .format = FORMAT_TRIM,
     .flags = REG_NULLABLE,
     .description = "Why it is allowed."},
    CREATED_FIELD,
};
static const struct reg_variant allowed_variants[] = {
    {.label = "Allowed address", .fields = FIELDS(allowed_fields)},
};

/* Limits of inbound sessions ---------------------------------------------------------------- */

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
    CONSTANT(
        "maxDuration", FORMAT_DURATION, SECOND_MS, 7 * DAY_MS, "1h",
        "Longest life of a session: behind it there is no further MAIL. A transaction that has "
        "begun before may be finished, in 10 minutes at most."),
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
             "messages that may be is maxMessages of MtaStageData. BDAT is counted below 1 KiB."),
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
static const struct reg_variant session_variants[] = {
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
static const struct reg_variant stage_rcpt_variants[] = {
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
static const struct reg_variant stage_data_variants[] = {
    {.label = "DATA stage",
     .fields = FIELDS(stage_data_fields),
     .unsupported = "enableSpamFilter script addReceivedHeader addReceivedSpfHeader "
                    "addReturnPathHeader addAuthResultsHeader addMessageIdHeader addDateHeader "
                    "addDeliveredToHeader"},
};

/* Performance ------------------------------------------------------------------------------- */

#define DIGITS_OF(number) #number
#define DIGITS(number) DIGITS_OF(number)

static const struct reg_field performance_fields[] = {
#define PERFORMANCE(member, property, number_format, least, most, normal, help) \
    {.name = (property),                                                        \
     .kind = REG_NUMBER,                                                        \
     .format = FORMAT_##number_format,                                          \
     .min = (least),                                                            \
     .max = (most),                                                             \
     .initial = DIGITS(normal),                                                 \
     .description = (help)},
#include "route/performance.def"
#undef PERFORMANCE
    {.name = "contentMemory",
     .kind = REG_NUMBER,
     .format = FORMAT_SIZE,
     .flags = REG_NULLABLE,
     .min = 1 << 20,
     .max = INT64_C(1) << 40,
     .initial = "null",
     .description =
         "Memory for content and output; null: as --memory of ringmx serve says. Raise it when "
         "ringmx_sessions_refused_total with the reason memory grows, or "
         "ringmx_pool_used_peak_bytes "
         "of the pool blocks is near ringmx_pool_limit_bytes."},
};
static const struct reg_variant performance_variants[] = {
    {.label = "Performance",
     .fields = FIELDS(performance_fields),
     .note = "All of it holds for each core and is in force when the change is answered. "
             "`ringmx reference statistics` explains the statistics."},
};

/* All types, in the order in which they are described ---------------------------------------- */

const struct reg_type reg_types[] = {
    {.shape = {.name = "Domain", .variants = VARIANTS(domain_variants)},
     .storage = REG_IN_DOMAINS,
     .label = "name",
     .unique = "name",
     .description = "A domain whose mail is accepted here."},
    {.shape = {.name = "Account", .variants = VARIANTS(account_variants)},
     .storage = REG_IN_ACCOUNTS,
     .unique = "name domainId",
     .description = "A mailbox on this server and its addresses."},
    {.shape = {.name = "Role", .variants = VARIANTS(reg_role_variants)},
     .administrative = true,
     .label = "description",
     .description = "A set of permissions that accounts can have. A permission is `sys`, the name "
                    "of a type, and `Get`, `Query`, `Create`, `Update` or `Destroy`; of a "
                    "singleton `Get` or `Update`."},
    {.shape = {.name = "ApiKey", .variants = VARIANTS(reg_api_key_variants)},
     .administrative = true,
     .label = "description",
     .description = "A secret with which a program acts for the account that made it.",
     .owner = "accountId"},
    {.shape = {.name = "Security", .variants = VARIANTS(reg_security_variants)},
     .singleton = true,
     .administrative = true,
     .description = "What leads to the ban of a client."},
    {.shape = {.name = "MailingList", .variants = VARIANTS(list_variants)},
     .unique = "name domainId",
     .description = "An address whose mail goes to its members."},
    {.shape = {.name = "MtaRoute", .variants = VARIANTS(route_variants)},
     .label = "name",
     .unique = "name",
     .description = "A way that mail can take from here."},
    {.shape = {.name = "MtaOutboundStrategy", .variants = VARIANTS(strategy_variants)},
     .singleton = true,
     .description = "Which route a recipient takes, when, and by what kind of connection."},
    {.shape = {.name = "MtaDeliverySchedule", .variants = VARIANTS(reg_schedule_variants)},
     .label = "name",
     .unique = "name",
     .description = "When deliveries are tried again, and when they are given up."},
    {.shape = {.name = "MtaVirtualQueue", .variants = VARIANTS(reg_virtual_queue_variants)},
     .label = "name",
     .unique = "name",
     .description = "Deliveries that share a number of workers."},
    {.shape = {.name = "MtaTlsStrategy", .variants = VARIANTS(reg_tls_strategy_variants)},
     .label = "name",
     .unique = "name",
     .description = "Whether mail leaves under TLS."},
    {.shape = {.name = "MtaConnectionStrategy",
               .variants = VARIANTS(reg_connection_strategy_variants)},
     .label = "name",
     .unique = "name",
     .description = "Where connections come from, and how long they wait."},
    {.shape = {.name = "MtaQueueQuota", .variants = VARIANTS(reg_queue_quota_variants)},
     .label = "description",
     .description = "How much may wait in the queue."},
    {.shape = {.name = "MtaOutboundThrottle", .variants = VARIANTS(reg_outbound_throttle_variants)},
     .label = "description",
     .description = "How fast mail leaves."},
    {.shape = {.name = "DnsResolver",
               .variants = VARIANTS(reg_dns_variants),
               .unsupported = "Cloudflare Google Quad9"},
     .singleton = true,
     .description = "Who looks up the names of other mail systems."},
    {.shape = {.name = "NetworkListener", .variants = VARIANTS(listener_variants)},
     .label = "name",
     .unique = "name",
     .description = "Where connections are accepted."},
    {.shape = {.name = "SystemSettings", .variants = VARIANTS(settings_variants)},
     .singleton = true,
     .description = "Settings of the whole server."},
    {.shape = {.name = "Certificate", .variants = VARIANTS(certificate_variants)},
     .shown_by = "subjectAlternativeNames",
     .match = "certificate",
     .description = "A TLS certificate with its key."},
    {.shape = {.name = "BlockedIp", .variants = VARIANTS(blocked_variants)},
     .label = "address",
     .unique = "address",
     .description = "A client that is not served."},
    {.shape = {.name = "AllowedIp", .variants = VARIANTS(allowed_variants)},
     .label = "address",
     .unique = "address",
     .description = "A client that is never blocked."},
    {.shape = {.name = "MemoryLookupKey", .variants = VARIANTS(reg_lookup_key_variants)},
     .label = "key",
     .match = "namespace key",
     .description = "A key of a list that expressions look it up in."},
    {.shape = {.name = "MemoryLookupKeyValue", .variants = VARIANTS(reg_lookup_key_value_variants)},
     .label = "key",
     .match = "namespace key",
     .description = "A key with a value, for expressions."},
    {.shape = {.name = "MtaInboundSession", .variants = VARIANTS(session_variants)},
     .singleton = true,
     .description = "Limits of inbound sessions."},
    {.shape = {.name = "MtaInboundThrottle", .variants = VARIANTS(reg_inbound_throttle_variants)},
     .label = "description",
     .description = "How often something may come in."},
    {.shape = {.name = "MtaStageConnect", .variants = VARIANTS(reg_stage_connect_variants)},
     .singleton = true,
     .description = "What a client is greeted with."},
    {.shape = {.name = "MtaStageEhlo", .variants = VARIANTS(reg_stage_ehlo_variants)},
     .singleton = true,
     .description = "What is asked of EHLO and HELO."},
    {.shape = {.name = "MtaExtensions", .variants = VARIANTS(reg_extension_variants)},
     .singleton = true,
     .description = "Which SMTP extensions are offered."},
    {.shape = {.name = "MtaStageMail", .variants = VARIANTS(reg_stage_mail_variants)},
     .singleton = true,
     .description = "Which senders are accepted."},
    {.shape = {.name = "MtaStageRcpt", .variants = VARIANTS(stage_rcpt_variants)},
     .singleton = true,
     .description = "Limits on recipients."},
    {.shape = {.name = "MtaStageData", .variants = VARIANTS(stage_data_variants)},
     .singleton = true,
     .description = "Limits on messages."},
    {.shape = {.name = "DsnReportSettings", .variants = VARIANTS(reg_dsn_variants)},
     .singleton = true,
     .description = "From whom reports to senders are."},
    {.shape = {.name = "Performance", .variants = VARIANTS(performance_variants)},
     .singleton = true,
     .description = "What can be tuned while the server runs."},
    {.shape = {.name = "QueuedMessage", .variants = VARIANTS(reg_queued_variants)},
     .storage = REG_ELSEWHERE,
     .filters = reg_queued_filters,
     .filter_count = mx_countof(reg_queued_filters),
     .description = "A message that waits for its delivery."},
    {.shape = {.name = "Action",
               .variants = VARIANTS(reg_action_variants),
               .unsupported = "UpdateApps ClassifySpam TroubleshootDmarc"},
     .storage = REG_ELSEWHERE,
     .variant_prefix = "action",
     .description = "Something that happens when it is created; nothing is kept."},
};
const uint32_t reg_type_count = mx_countof(reg_types);
