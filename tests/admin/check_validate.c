/* Objects against the tables: normal forms, and the exact text of every refusal. */
#include "tests/admin/validate_support.h"

#include "core/text.h"

static const struct object_case cases[] = {
    /* Domain */
    {"Domain", "{\"name\":\"Example.ORG.\"}",
     "{\"name\":\"example.org\",\"aliases\":{},\"description\":null,\"isEnabled\":true,"
     "\"allowRelaying\":false,\"verifyRecipients\":\"disable\",\"catchAllAddress\":null,"
     "\"subAddressing\":{\"@type\":\"Enabled\"}}"},
    {"Domain",
     "{\"name\":\"b\xc3\xbc"
     "cher.example\",\"aliases\":{\"A.Example\":true,\"b.example\":false},"
     "\"isEnabled\":false,\"allowRelaying\":true,\"verifyRecipients\":\"disable\","
     "\"catchAllAddress\":\" All@B\xc3\x9c"
     "CHER.example\","
     "\"subAddressing\":{\"@type\":\"Disabled\"},\"description\":\"x\"}",
     "{\"name\":\"xn--bcher-kva.example\",\"aliases\":{\"a.example\":true},\"description\":\"x\","
     "\"isEnabled\":false,\"allowRelaying\":true,\"verifyRecipients\":\"disable\","
     "\"catchAllAddress\":\"all@xn--bcher-kva.example\","
     "\"subAddressing\":{\"@type\":\"Disabled\"}}"},
    {"Domain", "{\"name\":\"localhost\"}",
     "{\"name\":\"localhost\",\"aliases\":{},\"description\":null,\"isEnabled\":true,"
     "\"allowRelaying\":false,\"verifyRecipients\":\"disable\",\"catchAllAddress\":null,"
     "\"subAddressing\":{\"@type\":\"Enabled\"}}"},
    {"Domain", "{}", "name: is required\n"},
    {"Domain", "[]", ": must be an object\n"},
    {"Domain", "{\"name\":null}", "name: may not be null\n"},
    {"Domain", "{\"name\":5}", "name: must be a string\n"},
    {"Domain", "{\"name\":\"\"}", "name: may not be empty\n"},
    {"Domain", "{\"name\":\"example\"}",
     "name: 'example' is not a full domain name: it has no dot\n"},
    {"Domain", "{\"name\":\"192.0.2.1\"}",
     "name: '192.0.2.1' is not a domain name: its last label is a number\n"},
    {"Domain", "{\"name\":\"a_b.example\"}",
     "name: 'a_b.example' is not a domain name: '_' is not allowed\n"},
    {"Domain", "{\"name\":\"a b.example\"}",
     "name: 'a b.example' is not a domain name: a space is not allowed\n"},
    {"Domain", "{\"name\":\"-a.example\"}",
     "name: '-a.example' is not a domain name: a label begins or ends with '-'\n"},
    {"Domain", "{\"name\":\"a..example\"}",
     "name: 'a..example' is not a domain name: it has an empty label\n"},
    {"Domain",
     "{\"name\":\"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa.example\"}",
     "name: 'aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa.example' is not a "
     "domain name: a label is longer than 63 bytes\n"},
    {"Domain", "{\"name\":\"a.example\",\"aliases\":[\"b.example\"]}",
     "aliases: must be an object such as {\"member\": true}\n"},
    {"Domain", "{\"name\":\"a.example\",\"aliases\":{\"b.example\":1}}",
     "aliases/b.example: must be true or false\n"},
    {"Domain", "{\"name\":\"a.example\",\"isEnabled\":\"yes\"}",
     "isEnabled: must be true or false\n"},
    {"Domain", "{\"name\":\"a.example\",\"catchAllAddress\":\"\"}",
     "catchAllAddress: may not be empty (null unsets it)\n"},
    {"Domain", "{\"name\":\"a.example\",\"catchAllAddress\":\"x\"}",
     "catchAllAddress: 'x' is not an e-mail address: it has no '@'\n"},
    {"Domain", "{\"name\":\"a.example\",\"subAddressing\":{\"@type\":\"Custom\"}}",
     "subAddressing/@type: 'Custom' is not supported by ringmx; it takes 'Enabled', 'Disabled'\n"},
    {"Domain", "{\"name\":\"a.example\",\"subAddressing\":{}}",
     "subAddressing/@type: is missing or unknown: must be one of 'Enabled', 'Disabled'\n"},
    {"Domain", "{\"name\":\"a.example\",\"dkimManagement\":{},\"colour\":1,\"createdAt\":\"x\"}",
     "dkimManagement: is not supported by ringmx\ncolour: is not a property of Domain\n"
     "createdAt: is not supported by ringmx\n"},
    {"Domain", "{\"name\":\"a.example\",\"description\":\"a\\u0007b\"}",
     "description: 'a\ab' holds a control character\n"},

    /* Account */
    {"Account",
     "{\"@type\":\"User\",\"name\":\" Alice.B "
     "\",\"domainId\":\"b\",\"aliases\":{\"7\":{\"name\":\"Z\","
     "\"domainId\":\"b\"},\"3\":{\"name\":\"y\",\"domainId\":\"c\",\"enabled\":false}}}",
     "{\"@type\":\"User\",\"name\":\"alice.b\",\"domainId\":\"b\",\"description\":null,\"aliases\":"
     "{"
     "\"0\":{\"enabled\":false,\"name\":\"y\",\"domainId\":\"c\",\"description\":null},"
     "\"1\":{\"enabled\":true,\"name\":\"z\",\"domainId\":\"b\",\"description\":null}}" NO_ACCESS
     "}"},
    {"Account", "{\"name\":\"x\",\"domainId\":\"b\"}",
     "@type: is missing or unknown: must be one of 'User', 'Group'\n"},
    {"Account", "{\"@type\":\"Tenant\",\"name\":\"x\",\"domainId\":\"b\"}",
     "@type: is missing or unknown: must be one of 'User', 'Group'\n"},
    {"Account", "{\"@type\":\"Group\",\"name\":\"Sales\",\"domainId\":\"b\"}",
     "{\"@type\":\"Group\",\"name\":\"sales\",\"domainId\":\"b\",\"description\":null,"
     "\"aliases\":{}}"},
    {"Account",
     "{\"@type\":\"Group\",\"name\":\"x\",\"domainId\":\"b\",\"roles\":{},\"memberGroupIds\":{}}",
     "roles: is not supported by ringmx\n"
     "memberGroupIds: is not a property of Account of the variant Group\n"},

    /* MailingList */
    {"MailingList",
     "{\"name\":\"Team\",\"domainId\":\"b\",\"recipients\":{\"Bob@Example.ORG\":true,"
     "\"x@gr\u00fcn.example\":true,\"gone@example.org\":false}}",
     "{\"name\":\"team\",\"domainId\":\"b\",\"description\":null,\"aliases\":{},\"recipients\":{"
     "\"bob@example.org\":true,\"x@xn--grn-ioa.example\":true}}"},
    {"MailingList", "{\"name\":\"t\",\"domainId\":\"b\",\"recipients\":{\"bob\":true}}",
     "recipients/bob: 'bob' is not an e-mail address: it has no '@'\n"},
    {"MailingList",
     "{\"domainId\":\"b\",\"emailAddress\":\"x@y.example\",\"memberTenantId\":\"b\"}",
     "emailAddress: is set by the server\nmemberTenantId: is not supported by ringmx\n"
     "name: is required\n"},
    {"Account", "{\"@type\":\"User\"}", "name: is required\ndomainId: is required\n"},
    {"Account", "{\"@type\":\"User\",\"name\":\"x\",\"domainId\":\"8\"}",
     "domainId: '8' is not an id\n"},
    {"Account", "{\"@type\":\"User\",\"name\":\"x\",\"domainId\":\"#d\"}",
     "domainId: refers to '#d': there are no references here\n"},
    {"Account", "{\"@type\":\"User\",\"name\":\"a..b\",\"domainId\":\"b\"}",
     "name: 'a..b' is not a local part: a dot begins it or is doubled\n"},
    {"Account", "{\"@type\":\"User\",\"name\":\"a.\",\"domainId\":\"b\"}",
     "name: 'a.' is not a local part: it ends with a dot\n"},
    {"Account", "{\"@type\":\"User\",\"name\":\"a@b\",\"domainId\":\"b\"}",
     "name: 'a@b' is not a local part: '@' is not allowed\n"},
    {"Account", "{\"@type\":\"User\",\"name\":\"x\",\"domainId\":\"b\",\"emailAddress\":\"a@b\"}",
     "emailAddress: is set by the server\n"},
    {"Account", X("\"credentials\":{\"0\":{\"@type\":\"AppPassword\"}}"),
     "credentials/0/@type: 'AppPassword' is not supported by ringmx; it takes 'Password'\n"},
    {"Account",
     X("\"credentials\":{\"0\":{\"@type\":\"Password\",\"otpAuth\":\"x\",\"credentialId\":\"b\","
       "\"expiresAt\":\"tomorrow\",\"allowedIps\":{\"x\":true}}}"),
     "credentials/0/otpAuth: is not supported by ringmx\n"
     "credentials/0/credentialId: is not supported by ringmx\n"
     "credentials/0/secret: is required\n"
     "credentials/0/expiresAt: must be a date such as \"2026-11-24T10:00:00Z\"\n"
     "credentials/0/allowedIps/x: 'x' is not an IP address or network\n"},
    {"Account",
     X("\"credentials\":{\"0\":{\"@type\":\"Password\",\"secret\":\"s\",\"expiresAt\":"
       "\"2026-11-26t13:00:00.5+01:00\",\"allowedIps\":{\"192.0.2.9/24\":true}}},"
       "\"roles\":{\"@type\":\"Custom\",\"roleIds\":{\"c\":true,\"d\":false}},"
       "\"permissions\":{\"@type\":\"Merge\",\"enabledPermissions\":{\"sysDomainGet\":true}}"),
     "{\"@type\":\"User\",\"name\":\"x\",\"domainId\":\"b\",\"description\":null,\"aliases\":{},"
     "\"credentials\":{\"0\":{\"@type\":\"Password\",\"secret\":\"s\",\"expiresAt\":"
     "\"2026-11-26T12:00:00.500Z\",\"allowedIps\":{\"192.0.2.0/24\":true}}},"
     "\"roles\":{\"@type\":\"Custom\",\"roleIds\":{\"c\":true}},"
     "\"permissions\":{\"@type\":\"Merge\",\"enabledPermissions\":{\"sysDomainGet\":true},"
     "\"disabledPermissions\":{}}}"},
    {"Account", X("\"roles\":{\"@type\":\"Custom\",\"roleIds\":{\"8\":true}}"),
     "roles/roleIds/8: '8' is not an id\n"},
    {"Account", X("\"roles\":{\"@type\":\"Default\"}"),
     "roles/@type: is missing or unknown: must be one of 'User', 'Admin', 'Custom'\n"},
    {"Account", X("\"permissions\":{\"@type\":\"Replace\",\"enabledPermissions\":{\"x\":true}}"),
     "permissions/enabledPermissions/x: 'x' is not a permission of ringmx\n"},

    /* Role, ApiKey, Security */
    {"Role", "{\"description\":\" a \",\"memberTenantId\":null}",
     "memberTenantId: is not supported by ringmx\n"},
    {"Role", "{\"description\":\" a \"}",
     "{\"description\":\"a\",\"enabledPermissions\":{},\"disabledPermissions\":{},"
     "\"roleIds\":{}}"},
    {"ApiKey", "{\"description\":\"a\",\"secret\":\"x\",\"createdAt\":\"x\"}",
     "secret: is set by the server\ncreatedAt: is set by the server\n"},
    {"Security", "{}",
     "{\"authBanRate\":{\"count\":100,\"period\":86400000},\"authBanPeriod\":86400000,"
     "\"abuseBanRate\":{\"count\":35,\"period\":86400000},\"abuseBanPeriod\":86400000,"
     "\"loiterBanRate\":{\"count\":150,\"period\":86400000},\"loiterBanPeriod\":86400000,"
     "\"scanBanRate\":{\"count\":30,\"period\":86400000},\"scanBanPeriod\":86400000,"
     "\"scanBanPaths\":{\"*.php*\":true,\"*.cgi*\":true,\"*.asp*\":true,\"*/wp-*\":true,"
     "\"*/php*\":true,\"*/cgi-bin*\":true,\"*xmlrpc*\":true,\"*../*\":true,"
     "\"*/..*\":true,\"*joomla*\":true,\"*wordpress*\":true,\"*drupal*\":true},"
     "\"ipv6PrefixLength\":64}"},
    {"Security", "{\"authBanRate\":{\"count\":0},\"scanBanRate\":null,\"ipv6PrefixLength\":31}",
     "authBanRate/count: must be 1 to 1000000\nauthBanRate/period: is required\n"
     "ipv6PrefixLength: must be 32 to 128\n"},
    {"Security", "{\"authBanRate\":null,\"authBanPeriod\":0}",
     "authBanPeriod: must be 1 to 315360000000\n"},
    {"Account", "{\"@type\":\"User\",\"name\":\"x\",\"domainId\":\"b\",\"aliases\":[]}",
     "aliases: must be an object such as {\"0\": ..., \"1\": ...}\n"},
    {"Account", "{\"@type\":\"User\",\"name\":\"x\",\"domainId\":\"b\",\"aliases\":{\"x\":{}}}",
     "aliases: 'x' is not a position in a list\n"},
    {"Account",
     "{\"@type\":\"User\",\"name\":\"x\",\"domainId\":\"b\",\"aliases\":{\"0\":{},\"00\":{}}}",
     "aliases: '00' is not a position in a list\n"},
    {"Account",
     "{\"@type\":\"User\",\"name\":\"x\",\"domainId\":\"b\",\"aliases\":{\"2\":{\"n\":1}}}",
     "aliases/2/n: is not a property of EmailAlias\naliases/2/name: is required\n"
     "aliases/2/domainId: is required\n"},

    /* MtaRoute */
    {"MtaRoute", "{\"@type\":\"Relay\",\"name\":\"hub\",\"address\":\" Hub.Example.NET \"}",
     "{\"@type\":\"Relay\",\"name\":\"hub\",\"description\":null,\"address\":\"hub.example.net\","
     "\"port\":25,\"protocol\":\"smtp\",\"implicitTls\":false,\"allowInvalidCerts\":false}"},
    {"MtaRoute",
     "{\"@type\":\"Relay\",\"name\":\"lmtp\",\"address\":\"::1\",\"port\":24,\"protocol\":"
     "\"lmtp\"}",
     "{\"@type\":\"Relay\",\"name\":\"lmtp\",\"description\":null,\"address\":\"::1\",\"port\":24,"
     "\"protocol\":\"lmtp\",\"implicitTls\":false,\"allowInvalidCerts\":false}"},
    {"MtaRoute", "{\"@type\":\"Relay\",\"name\":\"x\",\"address\":\"dovecot\",\"port\":65535}",
     "{\"@type\":\"Relay\",\"name\":\"x\",\"description\":null,\"address\":\"dovecot\",\"port\":"
     "65535,"
     "\"protocol\":\"smtp\",\"implicitTls\":false,\"allowInvalidCerts\":false}"},
    {"MtaRoute", "{\"@type\":\"Relay\",\"name\":\"x\"}", "address: is required\n"},
    {"MtaRoute", "{\"@type\":\"Relay\",\"name\":\"a b\",\"address\":\"h\",\"port\":0}",
     "name: 'a b' may hold letters, digits, '-', '_' and '.' only\nport: must be 1 to 65535\n"},
    {"MtaRoute", "{\"@type\":\"Relay\",\"name\":\"x\",\"address\":\"h\",\"port\":\"25\"}",
     "port: must be a whole number\n"},
    {"MtaRoute", "{\"@type\":\"Relay\",\"name\":\"x\",\"address\":\"h\",\"port\":25.5}",
     "port: must be a whole number\n"},
    {"MtaRoute", "{\"@type\":\"Relay\",\"name\":\"x\",\"address\":\"h\",\"protocol\":\"SMTP\"}",
     "protocol: must be one of 'smtp', 'lmtp'\n"},
    {"MtaRoute", "{\"@type\":\"Relay\",\"name\":\"x\",\"address\":\"h\",\"authUsername\":\"u\"}",
     "authUsername: is not supported by ringmx\n"},
    {"MtaRoute", "{\"@type\":\"Mx\",\"name\":\"x\",\"maxMxHosts\":11}",
     "maxMxHosts: must be 1 to 10\n"},
    {"MtaRoute", "{\"@type\":\"Local\",\"name\":\"x\",\"address\":\"h\"}",
     "address: is not a property of MtaRoute of the variant Local\n"},

    /* MtaOutboundStrategy */
    {"MtaOutboundStrategy", "{\"route\":{\"else\":\"'local'\"},\"schedule\":{\"else\":\"'dsn'\"}}",
     "{\"route\":{\"match\":{},\"else\":\"'local'\"},"
     "\"schedule\":{\"match\":{},\"else\":\"'dsn'\"}," STRATEGIES "}"},
    {"MemoryLookupKey", "{\"namespace\":\" vip \",\"key\":\"A b\"}",
     "{\"namespace\":\"vip\",\"key\":\"A b\",\"isGlobPattern\":false}"},
    {"MemoryLookupKey", "{\"namespace\":\"\",\"value\":1}",
     "value: is not a property of MemoryLookupKey\nnamespace: may not be empty\nkey: is "
     "required\n"},
    {"MemoryLookupKeyValue",
     "{\"namespace\":\"v\",\"key\":\"*@x\",\"value\":\"w\",\"isGlobPattern\":true}",
     "{\"namespace\":\"v\",\"key\":\"*@x\",\"value\":\"w\",\"isGlobPattern\":true}"},
    {"MemoryLookupKeyValue", "{\"namespace\":\"v\",\"key\":\"k\",\"value\":5}",
     "value: must be a string\n"},
    {"MtaInboundThrottle", "{\"description\":\"d\",\"rate\":{\"count\":5,\"period\":1000}}",
     "{\"description\":\"d\",\"enable\":true,\"key\":{},\"match\":{\"match\":{},\"else\":"
     "\"true\"},\"rate\":{\"count\":5,\"period\":1000}}"},
    {"MtaInboundThrottle",
     "{\"description\":\"d\",\"key\":{\"rcpt\":true},\"rate\":{\"count\":0,\"period\":1}}",
     "rate/count: must be 1 to 1000000\n"},
    {"MtaInboundThrottle",
     "{\"description\":\"d\",\"key\":{\"authenticatedAs\":true},\"rate\":{\"count\":1,"
     "\"period\":1}}",
     "key/authenticatedAs: 'authenticatedAs' is not supported by ringmx; it takes 'listener', "
     "'remoteIp', 'localIp', 'heloDomain', 'sender', 'senderDomain', 'rcpt', 'rcptDomain'\n"},
    {"MtaInboundThrottle",
     "{\"description\":\"d\",\"key\":{\"mx\":true},\"rate\":{\"count\":1,\"period\":1}}",
     "key/mx: must be one of 'listener', 'remoteIp', 'localIp', 'heloDomain', 'sender', "
     "'senderDomain', 'rcpt', 'rcptDomain'\n"},
    {"MtaInboundThrottle", "{\"rate\":{\"count\":1,\"period\":0}}",
     "description: is required\nrate/period: must be 1 to 31536000000\n"},
    {"MtaVirtualQueue", "{\"name\":\"ninebytes\"}", "name: is longer than 8 bytes\n"},
    {"MtaVirtualQueue", "{\"name\":\"bulk\",\"threadsPerNode\":0}",
     "threadsPerNode: must be 1 to 1000000\n"},
    {"MtaVirtualQueue", "{\"name\":\"bulk\"}",
     "{\"name\":\"bulk\",\"description\":null,\"threadsPerNode\":25}"},
    {"MtaQueueQuota", "{\"key\":{\"sender\":true,\"nobody\":true},\"messages\":1}",
     "key/nobody: must be one of 'sender', 'senderDomain', 'rcpt', 'rcptDomain'\n"},
    {"MtaQueueQuota",
     "{\"key\":{\"rcpt\":true,\"sender\":false},\"match\":{\"match\":{}},\"size\":5}",
     "{\"description\":null,\"enable\":true,\"key\":{\"rcpt\":true},\"match\":{\"match\":{},"
     "\"else\":\"true\"},\"messages\":null,\"size\":5}"},
    {"MtaQueueQuota", "{\"match\":{\"else\":\"listener == 'a'\"}}",
     "match/else: at position 0: unknown or unavailable name \"listener\"; available here: rcpt "
     "rcpt_domain recipients sender sender_domain source size priority retry_num notify_num "
     "expires_in last_status last_error queue_name queue_age received_from_ip mx remote_ip "
     "local_ip\n"},
    {"MtaOutboundThrottle", "{\"description\":\"a\"}", "rate: is required\n"},
    {"MtaOutboundThrottle", "{\"description\":\"a\",\"rate\":{\"count\":0,\"period\":1}}",
     "rate/count: must be 1 to 1000000\n"},
    {"MtaDeliverySchedule", "{\"name\":\"a\",\"queueId\":\"i\"}",
     "{\"name\":\"a\",\"description\":null,\"queueId\":\"i\",\"retry\":{\"@type\":\"Default\"},"
     "\"notify\":{\"@type\":\"Default\"},"
     "\"expiry\":{\"@type\":\"Ttl\",\"expire\":259200000}}"},
    {"MtaDeliverySchedule",
     "{\"name\":\"a\",\"queueId\":\"i\",\"retry\":{\"@type\":\"Custom\",\"intervals\":{"
     "\"5\":{\"duration\":3600000},\"2\":{\"duration\":60000}}},"
     "\"expiry\":{\"@type\":\"Attempts\"}}",
     "{\"name\":\"a\",\"description\":null,\"queueId\":\"i\",\"retry\":{\"@type\":\"Custom\","
     "\"intervals\":{\"0\":{\"duration\":60000},\"1\":{\"duration\":3600000}}},"
     "\"notify\":{\"@type\":\"Default\"},"
     "\"expiry\":{\"@type\":\"Attempts\",\"maxAttempts\":5}}"},
    {"MtaDeliverySchedule",
     "{\"name\":\"a\",\"queueId\":\"i\",\"retry\":{\"@type\":\"Custom\",\"intervals\":{}}}",
     "retry/intervals: must have at least 1\n"},
    {"MtaDeliverySchedule", "{\"name\":\"a\"}", "queueId: is required\n"},
    {"MtaDeliverySchedule",
     "{\"name\":\"a\",\"queueId\":\"i\",\"expiry\":{\"@type\":\"Attempts\",\"maxAttempts\":251}}",
     "expiry/maxAttempts: must be 1 to 250\n"},
    {"MtaOutboundStrategy", "{\"tls\":{\"else\":\"rcpt\"}}",
     "tls: every result must be the name of one MtaTlsStrategy in quotes, such as 'local': a "
     "computed "
     "result cannot be checked before mail depends on it\n"},
    {"MtaTlsStrategy", "{\"name\":\"a\",\"startTls\":\"require\"}",
     "{\"name\":\"a\",\"description\":null,\"startTls\":\"require\",\"allowInvalidCerts\":false,"
     "\"tlsTimeout\":180000}"},
    {"MtaTlsStrategy", "{\"name\":\"a\",\"dane\":\"optional\",\"mtaSts\":\"optional\"}",
     "dane: is not supported by ringmx\nmtaSts: is not supported by ringmx\n"},
    {"MtaConnectionStrategy",
     "{\"name\":\"a\",\"sourceIps\":{\"0\":{\"sourceIp\":\"0:0::1\"}},\"connectTimeout\":1000}",
     "{\"name\":\"a\",\"description\":null,\"sourceIps\":{\"0\":{\"sourceIp\":\"::1\","
     "\"ehloHostname\":null}},\"ehloHostname\":null,\"connectTimeout\":1000,"
     "\"greetingTimeout\":300000,\"ehloTimeout\":300000,\"mailFromTimeout\":300000,"
     "\"rcptToTimeout\":300000,\"dataTimeout\":600000}"},
    {"MtaConnectionStrategy", "{\"name\":\"a\",\"sourceIps\":{\"0\":{\"sourceIp\":\"host\"}}}",
     "sourceIps/0/sourceIp: 'host' is not an IP address\n"},
    {"MtaOutboundStrategy", "{\"route\":\"'local'\"}",
     "route: must be an expression object such as {\"match\": {}, \"else\": \"...\"}\n"},
    {"MtaOutboundStrategy", "{\"route\":{\"match\":{}}}", "route/else: is required\n"},
    {"MtaOutboundStrategy", "{\"route\":{\"else\":\"'a'\",\"match\":{\"0\":{\"if\":\"1\"}}}}",
     "route/match/0/then: is required\n"},
    {"MtaOutboundStrategy",
     "{\"route\":{\"else\":\"'a'\",\"match\":{\"0\":{\"if\":\"1\",\"then\":\"'a'\",\"x\":1}}}}",
     "route/match/0: has an unknown member 'x'; it takes \"if\" and \"then\"\n"},
    {"MtaOutboundStrategy",
     "{\"route\":{\"else\":\"'a'\",\"match\":{\"30\":{\"if\":\"1\",\"then\":\"'a'\"},\"7\":{\"if\":"
     "\"1\","
     "\"then\":\"'a'\"},\"9\":{\"if\":\"rcpt @\",\"then\":\"'a'\"}}}}",
     "route/match/9/if: at position 5: unexpected character, found \"@\"\n"},
    {"MtaOutboundStrategy", "{\"route\":{\"else\":1}}",
     "route/else: must be text that is an expression\n"},

    /* NetworkListener */
    {"NetworkListener", "{\"name\":\"a\",\"bind\":{\"[0:0::1]:2525\":true,\"127.0.0.1:25\":true}}",
     "{\"name\":\"a\",\"bind\":{\"[::1]:2525\":true,\"127.0.0.1:25\":true},\"protocol\":\"smtp\","
     "\"overrideProxyTrustedNetworks\":{},\"useTls\":true,\"tlsImplicit\":false,"
     "\"maxConnections\":8192,\"greetDelay\":0,\"socketBacklog\":1024}"},
    {"NetworkListener", "{\"name\":\"a\",\"bind\":{\"[::]:25\":true},\"greetDelay\":60001}",
     "greetDelay: must be 0 to 60000\n"},
    {"NetworkListener", "{\"name\":\"a\",\"bind\":{}}", "bind: must have at least 1\n"},
    {"NetworkListener", "{\"name\":\"a\",\"bind\":{\"localhost:25\":true}}",
     "bind/localhost:25: 'localhost:25' is not a socket address such as 0.0.0.0:25 or [::]:25\n"},
    {"NetworkListener", "{\"name\":\"a\",\"bind\":{\"0.0.0.0:0\":true}}",
     "bind/0.0.0.0:0: '0.0.0.0:0' is not a socket address such as 0.0.0.0:25 or [::]:25\n"},
    {"NetworkListener", "{\"name\":\"a\",\"bind\":{\"[::]:25\":true},\"protocol\":\"imap\"}",
     "protocol: 'imap' is not supported by ringmx; it takes 'smtp', 'http'\n"},
    {"NetworkListener",
     "{\"name\":\"a\",\"bind\":{\"[::]:25\":true},\"overrideProxyTrustedNetworks\":{\"10.0.0.0/"
     "33\":"
     "true},\"maxConnections\":0,\"socketBacklog\":null,\"tlsTimeout\":1}",
     "tlsTimeout: is not supported by ringmx\n"
     "overrideProxyTrustedNetworks/10.0.0.0/33: '10.0.0.0/33' is not an IP address or network\n"
     "maxConnections: must be 1 to 10000000\n"},

    /* SystemSettings */
    {"SystemSettings",
     "{\"defaultHostname\":\"MX1.Example.org\",\"proxyTrustedNetworks\":{\"10.1.2.3/8\":true,"
     "\"192.0.2.1/32\":true,\"2001:DB8::/32\":true}}",
     "{\"defaultHostname\":\"mx1.example.org\",\"defaultDomainId\":null,\"postmasterAddress\":null,"
     "\"defaultCertificateId\":null,\"maxConnections\":8192,\"maxConnectionsPerClient\":200,"
     "\"maxConnectionsPerNetwork\":1000,\"networkPrefixLengthIpv4\":24,\"networkPrefixLengthIpv6\":"
     "48,"
     "\"proxyTrustedNetworks\":{"
     "\"10.0.0.0/8\":true,\"192.0.2.1\":true,\"2001:db8::/32\":true}}"},
    {"SystemSettings", "{\"threadPoolSize\":4}", "threadPoolSize: is not supported by ringmx\n"},

    /* Certificate */
    {"Certificate", "{}", "certificate: is required\nprivateKey: is required\n"},
    {"Certificate",
     "{\"certificate\":{\"@type\":\"File\",\"filePath\":\"/a\"},\"privateKey\":{\"@type\":"
     "\"EnvironmentVariable\",\"variableName\":\"KEY_1\"}}",
     "{\"certificate\":{\"@type\":\"File\",\"filePath\":\"/a\"},\"privateKey\":{\"@type\":"
     "\"EnvironmentVariable\",\"variableName\":\"KEY_1\"}}"},
    {"Certificate",
     "{\"certificate\":{\"@type\":\"File\",\"filePath\":\"a\"},\"privateKey\":{\"@type\":\"Text\"},"
     "\"issuer\":\"x\",\"notValidAfter\":\"x\"}",
     "issuer: is set by the server\nnotValidAfter: is set by the server\n"
     "certificate/filePath: 'a' is not an absolute path\nprivateKey/secret: is required\n"},

    /* Limits */
    {"MtaInboundSession", "{\"timeout\":{\"else\":\"10m\"}}",
     "{\"timeout\":{\"match\":{},\"else\":\"10m\"},\"maxDuration\":{\"match\":{},\"else\":\"1h\"},"
     "\"dataTimeout\":{\"match\":{},\"else\":\"10m\"},\"minDataRate\":{\"match\":{},\"else\":"
     "\"500\"},\"minDataRateGrace\":{\"match\":{},\"else\":\"3m\"},"
     "\"maxErrors\":{\"match\":{},\"else\":\"20\"},"
     "\"errorDelay\":0,\"errorDelayAfter\":5,"
     "\"maxCommands\":{\"match\":{},\"else\":\"10000\"},\"maxLineLength\":{\"match\":{},\"else\":"
     "\"4096\"},\"unauthorizedPipelining\":\"refuse\"}"},
    {"MtaInboundSession", "{\"unauthorizedPipelining\":\"ignore\"}",
     "unauthorizedPipelining: must be one of 'refuse', 'tolerate'\n"},
    {"MtaInboundSession", "{\"timeout\":{\"else\":\"10\"},\"maxLineLength\":{\"else\":\"5000\"}}",
     "timeout: must be 1000 to 86400000 ms\nmaxLineLength: must be 512 to 4096\n"},
    {"MtaInboundSession", "{\"timeout\":300000}",
     "timeout: must be an expression object such as {\"match\": {}, \"else\": \"...\"}\n"},
    {"MtaInboundSession", "{\"transferLimit\":{\"else\":\"1\"}}",
     "transferLimit: is not supported by ringmx\n"},
    {"MtaStageRcpt", "{\"maxRecipients\":{\"else\":\"100\"}}",
     "{\"maxRecipients\":{\"match\":{},\"else\":\"100\"},\"maxFailures\":{\"match\":{},\"else\":"
     "\"0\"},\"waitOnFail\":{\"match\":{},\"else\":\"0\"},\"allowRelaying\":{\"match\":{},\"else\":"
     "\"false\"},\"rewrite\":{\"match\":{},\"else\":\"false\"}}"},
    {"MtaStageRcpt", "{\"maxRecipients\":{\"else\":\"1001\"}}",
     "maxRecipients: must be 1 to 1000\n"},
    {"MtaStageRcpt", "{\"waitOnFail\":{\"else\":\"61s\"},\"maxFailures\":{\"else\":\"-1\"}}",
     "maxFailures: must be 0 to 1000000\nwaitOnFail: must be 0 to 60000 ms\n"},
    {"MtaStageData", "{\"bareNewlines\":\"normalize\",\"binaryMime\":true}",
     "{\"maxMessageSize\":{\"match\":{},\"else\":\"104857600\"},\"maxMessages\":{\"match\":{},"
     "\"else\":"
     "\"1000\"},\"maxReceivedHeaders\":{\"match\":{},\"else\":\"50\"},\"bareNewlines\":"
     "\"normalize\","
     "\"binaryMime\":true}"},
    {"MtaStageData", "{\"bareNewlines\":\"allow\"}",
     "bareNewlines: must be one of 'refuse', 'normalize'\n"},
};

static void check_objects(void)
{
    for (size_t i = 0; i < mx_countof(cases); i++) {
        struct set_errors errors;
        errors.count = 0;
        json_t *body = parse(cases[i].body);
        json_t *normal = object_normalize(type_of(cases[i].type), body, NULL, &errors);
        check_result(cases[i].body, normal, &errors, cases[i].expected);
        if (normal) {
            /* The normal form is a fixed point. */
            json_t *again = object_normalize(type_of(cases[i].type), normal, NULL, &errors);
            CHECK(again && json_equal(again, normal));
            json_decref(again);
        }
        json_decref(normal);
        json_decref(body);
    }
}

/* Dates, and what is too long, too many, or of the wrong kind. */
static void check_forms(void)
{
    static const struct object_case forms[] = {
        {"BlockedIp", "{\"address\":\"192.0.2.0/24\",\"expiresAt\":\"2026-11-24T11:00:00+01:00\"}",
         "\"expiresAt\":\"2026-11-24T10:00:00"},
        {"BlockedIp", "{\"address\":\"192.0.2.1\",\"expiresAt\":\"tomorrow\"}",
         "expiresAt: must be a date such as \"2026-11-24T10:00:00Z\"\n"},
        {"BlockedIp", "{\"address\":\"192.0.2.1\",\"expiresAt\":5}",
         "expiresAt: must be a date such as"},
        {"Account", "{\"@type\":\"User\",\"name\":\"a\",\"domainId\":5}",
         "domainId: must be an id\n"},
        {"MtaOutboundStrategy", "{\"route\":{\"match\":{\"0\":1},\"else\":\"'mx'\"}}",
         "route/match/0: must be an object with \"if\" and \"then\"\n"},
        {"Certificate",
         "{\"certificate\":{\"@type\":\"Text\",\"value\":\"a\"},\"privateKey\":{\"@type\":\"Text\","
         "\"secret\":\"a\\u0007\"}}",
         "privateKey/secret: holds a control character\n"}, /* a secret is not shown */
    };
    for (size_t i = 0; i < mx_countof(forms); i++) {
        struct set_errors errors;
        errors.count = 0;
        json_t *body = parse(forms[i].body);
        json_t *normal = object_normalize(type_of(forms[i].type), body, NULL, &errors);
        char *text = normal ? json_dumps(normal, JSON_COMPACT) : errors_text(&errors);
        CHECK_HAS(text, forms[i].expected);
        free(text);
        json_decref(normal);
        json_decref(body);
    }
}

static void check_sizes(void)
{
    struct set_errors errors;
    char text[REG_STRING_MAX + 2];
    memset(text, 'a', sizeof(text));
    for (int extra = 0; extra < 2; extra++) {
        errors.count = 0;
        json_t *body = json_pack("{s:s, s:s#}", "name", "x.example", "description", text,
                                 REG_STRING_MAX + extra);
        json_t *normal = object_normalize(type_of("Domain"), body, NULL, &errors);
        CHECK((normal != NULL) == (extra == 0));
        CHECK(extra == 0 || errors.items[0].validation == SET_MAX_LENGTH);
        json_decref(normal);
        json_decref(body);
    }
    /* A message never cuts a character in two. */
    for (size_t cut = 0; cut < 4; cut++) {
        memset(text, 'a', sizeof(text));
        for (size_t i = cut; i + 2 < sizeof(text); i += 2) {
            memcpy(text + i, "\xc3\xa4", 2);
        }
        errors.count = 0;
        json_t *body = json_pack("{s:s, s:s#}", "name", "x.example", "catchAllAddress", text,
                                 (REG_STRING_MAX & ~1) - 4 + (int)(cut & 1));
        CHECK(body && !object_normalize(type_of("Domain"), body, NULL, &errors));
        CHECK(errors.count == 1 && text_is_utf8(slice_of_text(errors.items[0].text)));
        json_decref(body);
    }
    json_t *aliases = json_object(), *list = json_object();
    for (int i = 0; i <= REG_ITEMS_MAX; i++) {
        char key[40];
        snprintf(key, sizeof(key), "a%d.example", i);
        json_object_set_new(aliases, key, json_true());
        snprintf(key, sizeof(key), "%d", i);
        json_object_set_new(list, key, json_pack("{s:s, s:s}", "name", "x", "domainId", "b"));
    }
    json_t *bodies[] = {json_pack("{s:s, s:o}", "name", "x.example", "aliases", aliases),
                        json_pack("{s:s, s:s, s:s, s:o}", "@type", "User", "name", "x", "domainId",
                                  "b", "aliases", list)};
    for (size_t i = 0; i < mx_countof(bodies); i++) {
        errors.count = 0;
        CHECK(bodies[i] &&
              !object_normalize(type_of(i ? "Account" : "Domain"), bodies[i], NULL, &errors));
        CHECK(errors.count == 1 && errors.items[0].validation == SET_MAX_LENGTH);
        CHECK_HAS(errors.items[0].text, "has more than 1000 members");
        json_decref(bodies[i]);
    }
}

/* More errors than are kept: counted, and memory stays in bounds. */
static void check_many_errors(void)
{
    struct set_errors errors;
    errors.count = 0;
    json_t *body = json_object();
    for (int i = 0; i < 100; i++) {
        char key[600];
        memset(key, 'k', sizeof(key));
        snprintf(key + 500, 50, "%d", i);
        json_object_set_new(body, key, json_true());
    }
    CHECK(!object_normalize(type_of("Domain"), body, NULL, &errors));
    CHECK(errors.count == 101);
    CHECK(set_errors_kept(&errors) == SET_ERRORS_MAX);
    json_decref(body);
}

int main(void)
{
    check_objects();
    check_forms();
    check_sizes();
    check_many_errors();
    return report("validate");
}
