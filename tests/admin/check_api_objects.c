/* get, query and set: the wire requests of the usual commands, errors of methods and objects,
 * references, paging, hooks. */
#include "tests/admin/api_support.h"

/* Builds the text of arguments; up to four at a time are valid. */
MX_PRINTF(1, 2)
static const char *text(const char *format, ...)
{
    static char buffers[4][8192];
    static unsigned at;
    char *buffer = buffers[at++ % 4];
    va_list args;
    va_start(args, format);
    vsnprintf(buffer, sizeof(buffers[0]), format, args);
    va_end(args);
    return buffer;
}

#define ACCOUNT "\"accountId\":\"d333333\""

/* The commands of a split delivery, as the command line sends them. */
static void check_commands(void)
{
    struct api_bed bed;
    char id[OBJECT_ID_TEXT_MAX + 1];
    char route[OBJECT_ID_TEXT_MAX + 1];
    bed_open(&bed);
    bed_create(&bed, "Domain", "{\"name\":\"example.org\"}", id);
    json_t *answer = bed_post(
        &bed,
        "[[\"x:Domain/query\",{\"filter\":{\"name\":\"example.org\"},\"limit\":500,"
        "\"calculateTotal\":true},\"q\"],[\"x:Domain/get\",{\"#ids\":{\"resultOf\":\"q\",\"name\":"
        "\"x:Domain/query\",\"path\":\"/ids\"},\"properties\":[\"id\"]},\"g\"]]",
        NULL);
    expect_json(json_object_get(answer, "methodResponses"),
                text("[[\"x:Domain/query\",{" ACCOUNT ",\"queryState\":\"2\","
                     "\"canCalculateChanges\":false,\"position\":0,\"ids\":[\"%s\"],\"total\":1},"
                     "\"q\"],[\"x:Domain/get\",{" ACCOUNT ",\"list\":[{\"id\":\"%s\"}],"
                     "\"notFound\":[]},\"g\"]]",
                     id, id),
                __FILE__, __LINE__);
    CHECK(json_object_get(answer, "createdIds") == NULL);
    CHECK(json_is_string(json_object_get(answer, "sessionState")));
    json_decref(answer);
    EXPECT(&bed, "x:Domain/set", text("{\"update\":{\"%s\":{\"allowRelaying\":true}}}", id),
           text("[\"x:Domain/set\",{" ACCOUNT ",\"updated\":{\"%s\":null}}]", id));
    bed_create(&bed, "MtaRoute",
               "{\"@type\":\"Relay\",\"name\":\"source\",\"address\":"
               "\"source.internal.example.org\",\"port\":25,\"protocol\":\"smtp\","
               "\"implicitTls\":false,\"allowInvalidCerts\":true}",
               route);
    EXPECT(&bed, "x:MtaOutboundStrategy/set",
           "{\"update\":{\"singleton\":{\"route\":{\"match\":{\"0\":{\"if\":\"is_local_address("
           "rcpt)\",\"then\":\"'local'\"},\"1\":{\"if\":\"is_local_domain(rcpt_domain)\",\"then\":"
           "\"'source'\"}},\"else\":\"'mx'\"}}}}",
           "[\"x:MtaOutboundStrategy/set\",{" ACCOUNT ",\"updated\":{\"singleton\":null}}]");
    EXPECT(&bed, "x:SystemSettings/set",
           "{\"update\":{\"singleton\":{\"proxyTrustedNetworks\":{\"203.0.113.10/32\":true}}}}",
           "[\"x:SystemSettings/set\",{" ACCOUNT ",\"updated\":{\"singleton\":null}}]");
    CHECK(bed.prepared == 5 && bed.published == 5 && bed.discarded == 0);

    /* Going back in the wrong order changes nothing and says what to do. */
    uint64_t generation = store_generation(bed.store);
    EXPECT(&bed, "x:MtaRoute/set", text("{\"destroy\":[\"%s\"]}", route),
           text("[\"x:MtaRoute/set\",{" ACCOUNT
                ",\"notDestroyed\":{\"%s\":{\"type\":\"objectIsLinked\",\"description\":\"is used "
                "by MtaOutboundStrategy; to reset its route: stalwart-cli update "
                "MtaOutboundStrategy singleton --field 'route={\\\"match\\\":{\\\"0\\\":{"
                "\\\"if\\\":\\\"is_local_domain(rcpt_domain)\\\",\\\"then\\\":\\\"'\\\\''local"
                "'\\\\''\\\"}},\\\"else\\\":\\\"'\\\\''mx'\\\\''\\\"}'\","
                "\"objectId\":{\"object\":\"MtaRoute\",\"id\":\"%s\"},\"linkedObjects\":[{"
                "\"object\":\"MtaOutboundStrategy\",\"id\":\"singleton\"}]}}}]",
                route, route));
    CHECK(store_generation(bed.store) == generation);
    EXPECT(&bed, "x:MtaOutboundStrategy/set",
           "{\"update\":{\"singleton\":{\"route\":{\"match\":{\"0\":{\"if\":\"is_local_domain("
           "rcpt_domain)\",\"then\":\"'local'\"}},\"else\":\"'mx'\"}}}}",
           "[\"x:MtaOutboundStrategy/set\",{" ACCOUNT ",\"updated\":{\"singleton\":null}}]");
    EXPECT(&bed, "x:MtaRoute/set", text("{\"destroy\":[\"%s\"]}", route),
           text("[\"x:MtaRoute/set\",{" ACCOUNT ",\"destroyed\":[\"%s\"]}]", route));
    bed_close(&bed);
}

int main(void)
{
    check_commands();
    return report("check_api_objects");
}
