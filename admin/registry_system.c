/* Where connections are accepted, and what holds for the whole server. */
#include "admin/registry_private.h"

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
const struct reg_variant reg_listener_variants[1] = {
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
     .description = "Certificate for clients that ask for no name, or for one that no other "
                    "Certificate is for. null: the only Certificate there is, else a self-signed "
                    "one."},
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
const struct reg_variant reg_settings_variants[1] = {
    {.label = "System settings",
     .fields = FIELDS(settings_fields),
     .unsupported = "threadPoolSize mailExchangers services providerInfo"},
};
