/* Patches of stored objects: normal forms, and the exact text of every refusal. */
#include "tests/admin/validate_support.h"

struct patch_case {
    const char *type, *stored, *patch, *expected;
};

#define ANN                                                                                       \
    "{\"@type\":\"User\",\"name\":\"ann\",\"domainId\":\"b\",\"aliases\":{\"0\":{\"name\":\"a\"," \
    "\"domainId\":\"b\"},\"1\":{\"name\":\"c\",\"domainId\":\"b\"}}}"
#define ANN_IS(aliases)                                                             \
    "{\"@type\":\"User\",\"name\":\"ann\",\"domainId\":\"b\",\"description\":null," \
    "\"aliases\":{" aliases "}" NO_ACCESS "}"
#define ALIAS(index, on, name)                           \
    "\"" index "\":{\"enabled\":" on ",\"name\":\"" name \
    "\",\"domainId\":\"b\",\"description\":null}"

#define PAIR(key)                                                                                \
    "{\"certificate\":{\"@type\":\"File\",\"filePath\":\"/a\"},\"privateKey\":{\"@type\":\"" key \
    "\"}}"

static const struct patch_case patches[] = {
    {"Account", ANN, "{}", ANN_IS(ALIAS("0", "true", "a") "," ALIAS("1", "true", "c"))},
    {"Account", ANN, "{\"aliases/0/enabled\":false,\"aliases/1/name\":\"D\"}",
     ANN_IS(ALIAS("0", "false", "a") "," ALIAS("1", "true", "d"))},
    {"Account", ANN, "{\"aliases/0\":null}", ANN_IS(ALIAS("0", "true", "c"))},
    {"Account", ANN, "{\"aliases/0\":{\"enabled\":false}}",
     ANN_IS(ALIAS("0", "false", "a") "," ALIAS("1", "true", "c"))},
    {"Account", ANN, "{\"aliases/9\":{\"name\":\"z\",\"domainId\":\"b\"}}",
     ANN_IS(ALIAS("0", "true", "a") "," ALIAS("1", "true", "c") "," ALIAS("2", "true", "z"))},
    {"Account", ANN, "{\"aliases\":{}}", ANN_IS("")},
    {"Account", ANN, "{\"@type\":\"User\",\"aliases\":{}}", ANN_IS("")},
    {"Account", ANN, "{\"aliases/5\":null}", "aliases/5: there is no such position in the list\n"},
    {"Account", ANN, "{\"aliases/5/name\":\"x\"}",
     "aliases/5: there is no such position in the list\n"},
    {"Account", ANN, "{\"aliases/x\":null}", "aliases/x: is not a position in a list\n"},
    {"Account", ANN, "{\"aliases/00\":null}", "aliases/00: is not a position in a list\n"},
    {"Account", ANN, "{\"aliases/0/enabled/x\":true}",
     "aliases/0/enabled/x: has no parts at this place\n"},
    {"Account", ANN, "{\"name/x\":true}", "name/x: has no parts at this place\n"},
    {"Account", ANN, "{\"quotas\":{},\"emailAddress\":\"x\",\"zip\":1,\"name\":\"\"}",
     "quotas: is not supported by ringmx\nemailAddress: is set by the server\n"
     "zip: is not a property of Account of the variant User\nname: may not be empty\n"},
    {"Account", ANN, "{\"a~2b\":1}", "a~2b: is not a pointer into the object\n"},
    {"Account", ANN, "{\"@type\":\"Group\",\"name\":\"ann\",\"domainId\":\"b\"}",
     "@type: is fixed at creation\n"},
    {"SystemSettings", "{\"proxyTrustedNetworks\":{\"10.0.0.0/8\":true}}",
     "{\"proxyTrustedNetworks/192.0.2.0~124\":true,\"proxyTrustedNetworks/10.0.0.0~18\":null}",
     "{\"defaultHostname\":null,\"defaultDomainId\":null,\"postmasterAddress\":null,"
     "\"defaultCertificateId\":null,"
     "\"maxConnections\":8192,\"maxConnectionsPerClient\":200,"
     "\"maxConnectionsPerNetwork\":1000,\"networkPrefixLengthIpv4\":24,\"networkPrefixLengthIpv6\":"
     "48,\"proxyTrustedNetworks\":{\"192.0.2."
     "0/24\":true}}"},
    {"SystemSettings", "{}", "{\"proxyTrustedNetworks/10.0.0.0~18\":7}",
     "proxyTrustedNetworks/10.0.0.0/8: must be true to add or null to remove\n"},
    {"MtaRoute", "{\"@type\":\"Relay\",\"name\":\"hub\",\"address\":\"a.example\"}",
     "{\"name\":\"x\"}", "name: cannot be changed after creation\n"},
    {"MtaRoute", "{\"@type\":\"Relay\",\"name\":\"hub\",\"address\":\"a.example\"}",
     "{\"@type\":\"Mx\",\"name\":\"y\"}",
     "{\"@type\":\"Mx\",\"name\":\"y\",\"description\":null,\"maxMxHosts\":5,"
     "\"maxMultihomed\":2,\"ipLookupStrategy\":\"v4ThenV6\"}"},
    {"MtaStageRcpt", "{}", "{\"maxRecipients/else\":\"5\"}",
     "{\"maxRecipients\":{\"match\":{},\"else\":\"5\"},\"maxFailures\":{\"match\":{},\"else\":"
     "\"0\"},\"waitOnFail\":{\"match\":{},\"else\":\"0\"},\"allowRelaying\":{\"match\":{},\"else\":"
     "\"false\"},\"rewrite\":{\"match\":{},\"else\":\"false\"}}"},
    {"MtaStageRcpt", "{}", "{\"maxRecipients/else\":null}", "maxRecipients/else: is required\n"},
    {"Domain", "{\"name\":\"a.example\"}",
     "{\"subAddressing\":{\"@type\":\"Disabled\"},\"aliases/B.example\":true}",
     "{\"name\":\"a.example\",\"aliases\":{\"b.example\":true},\"description\":null,\"isEnabled\":"
     "true,"
     "\"allowRelaying\":false,\"verifyRecipients\":\"disable\",\"catchAllAddress\":null,"
     "\"subAddressing\":{\"@type\":\"Disabled\"}"
     "}"},
    /* pointers that lead nowhere */
    {"Domain", "{\"name\":\"a.example\"}", "{\"aliases/b.example/c\":true}",
     "aliases/b.example/c: goes deeper than a member of a set\n"},
    {"Domain", "{\"name\":\"a.example\"}", "{\"aliases/b.example\":1}",
     "aliases/b.example: must be true to add or null to remove\n"},
    {"Domain", "{\"name\":\"a.example\"}", "{\"name/x\":1}",
     "name/x: has no parts at this place\n"},
    {"Domain", "{\"name\":\"a.example\"}", "{\"description/x\":1}",
     "description/x: has no parts at this place\n"},
    {"Domain", "{\"name\":\"a.example\"}", "{\"a~\":1}", "a~: is not a pointer into the object\n"},
    {"Domain", "{\"name\":\"a.example\"}", "{\"a/b/c/d/e/f/g/h/i/j/k/l/m/n/o/p/q\":1}",
     "a/b/c/d/e/f/g/h/i/j/k/l/m/n/o/p/q: is not a pointer into the object\n"},
    {"Domain", "{\"name\":\"a.example\"}", "[]", ": must be an object\n"},
    {"Domain", "{\"name\":\"a.example\"}", "{\"/isEnabled\":false,\"/\":1,\"\":1}",
     "/isEnabled: is not a pointer into the object: it begins with the name of a property\n"
     "/: is not a pointer into the object: it begins with the name of a property\n"
     ": is not a pointer into the object: it begins with the name of a property\n"},
    /* pointers of which one is the beginning of the other, in either order */
    {"Domain", "{\"name\":\"a.example\"}",
     "{\"aliases\":{\"b.example\":true},\"aliases/c.example\":true}",
     "aliases/c.example: 'aliases' is changed as a whole as well\n"},
    {"Account", ANN, "{\"aliases/0/name\":\"x\",\"aliases/0\":null}",
     "aliases/0/name: 'aliases/0' is changed as a whole as well\n"},
    {"MtaOutboundStrategy", "{}", "{\"route/match/0/if\":\"1\",\"route/match/0/then\":\"'mx'\"}",
     "{\"route\":{\"match\":{\"0\":{\"if\":\"1\",\"then\":\"'mx'\"}},\"else\":\"'mx'\"},"
     "\"schedule\":{\"match\":{\"0\":{\"if\":\"is_local_address(rcpt)\",\"then\":\"'local'\"},"
     "\"1\":{\"if\":\"source == 'dsn'\",\"then\":\"'dsn'\"},"
     "\"2\":{\"if\":\"source == "
     "'report'\",\"then\":\"'report'\"}},\"else\":\"'remote'\"}," STRATEGIES "}"},
    {"MtaOutboundStrategy", "{}", "{\"route/else/x\":\"1\"}",
     "route/else/x: has no parts at this place\n"},
    {"Domain", "{\"name\":\"a.example\"}", "{\"subAddressing/@type\":\"Disabled\"}",
     "subAddressing: the variant changes only with the whole value\n"},
    {"Certificate",
     "{\"certificate\":{\"@type\":\"File\",\"filePath\":\"/a\"},\"privateKey\":{\"@type\":\"Text\","
     "\"secret\":\"pem\"}}",
     "{\"privateKey\":{\"@type\":\"Text\",\"secret\":\"****\"},\"certificate/filePath\":\"/b\"}",
     "{\"certificate\":{\"@type\":\"File\",\"filePath\":\"/b\"},\"privateKey\":{\"@type\":\"Text\","
     "\"secret\":\"pem\"}}"},
    /* A secret that is left out is the old one, as long as it is the same kind of value. */
    {"Certificate", PAIR("Text\",\"secret\":\"pem"), "{\"privateKey\":{\"@type\":\"Text\"}}",
     PAIR("Text\",\"secret\":\"pem")},
    {"Certificate", PAIR("Text\",\"secret\":\"pem"),
     "{\"privateKey\":{\"@type\":\"File\",\"filePath\":\"/k\"}}", PAIR("File\",\"filePath\":\"/k")},
    {"Certificate", PAIR("File\",\"filePath\":\"/k"), "{\"privateKey\":{\"@type\":\"Text\"}}",
     "privateKey/secret: is required\n"},
    {"Certificate", PAIR("Text\",\"secret\":\"pem"), "{\"privateKey/secret\":null}",
     "privateKey/secret: may not be null\n"},
    {"Account", X("\"credentials\":{\"0\":{\"@type\":\"Password\",\"secret\":\"s\"}}"),
     "{\"credentials\":{\"0\":{\"@type\":\"Password\",\"allowedIps\":{\"192.0.2.1\":true}}}}",
     "{\"@type\":\"User\",\"name\":\"x\",\"domainId\":\"b\",\"description\":null,\"aliases\":{},"
     "\"credentials\":{\"0\":{\"@type\":\"Password\",\"secret\":\"s\",\"expiresAt\":null,"
     "\"allowedIps\":{\"192.0.2.1\":true}}},\"roles\":{\"@type\":\"User\"},\"permissions\":{"
     "\"@type\":\"Inherit\"}}"},
    {"Account", X("\"credentials\":{\"0\":{\"@type\":\"Password\",\"secret\":\"s\"}}"),
     "{\"credentials\":{\"1\":{\"@type\":\"Password\"}}}", "credentials/1/secret: is required\n"},
};

static void check_patches(void)
{
    for (size_t i = 0; i < mx_countof(patches); i++) {
        const struct reg_type *type = type_of(patches[i].type);
        struct set_errors errors;
        errors.count = 0;
        json_t *body = parse(patches[i].stored);
        json_t *patch = parse(patches[i].patch);
        json_t *stored = object_normalize(type, body, NULL, &errors);
        CHECK(stored && errors.count == 0);
        json_t *normal = object_patch(type, stored, patch, NULL, &errors);
        check_result(patches[i].patch, normal, &errors, patches[i].expected);
        json_decref(normal);
        json_decref(stored);
        json_decref(patch);
        json_decref(body);
    }
}

int main(void)
{
    check_patches();
    return report("patches");
}
