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

static void check_get(void)
{
    struct api_bed bed;
    char id[OBJECT_ID_TEXT_MAX + 1];
    bed_open(&bed);
    bed_create(&bed, "Domain", "{\"name\":\"example.org\",\"aliases\":{\"b.example\":true}}", id);
    EXPECT(&bed, "x:Domain/get",
           text("{\"ids\":[\"%s\",\"%s\",\"zzzz\",\"NOT 4 id\",\"\"]}", id, id),
           text("[\"x:Domain/get\",{" ACCOUNT ",\"list\":[{\"id\":\"%s\",\"name\":\"example.org\","
                "\"aliases\":{\"b.example\":true},\"description\":null,\"isEnabled\":true,"
                "\"allowRelaying\":false,\"verifyRecipients\":\"disable\",\"catchAllAddress\":null,"
                "\"subAddressing\":{\"@type\":"
                "\"Enabled\"}}],\"notFound\":[\"zzzz\",\"NOT 4 id\",\"\"]}]",
                id));
    EXPECT(&bed, "x:Domain/get", "{\"ids\":null,\"properties\":[\"name\",\"nothing\"]}",
           text("[\"x:Domain/get\",{" ACCOUNT ",\"list\":[{\"id\":\"%s\",\"name\":"
                "\"example.org\"}],\"notFound\":[]}]",
                id));
    EXPECT(&bed, "x:MtaRoute/get", "{\"properties\":[\"name\",\"@type\"]}",
           "[\"x:MtaRoute/get\",{" ACCOUNT ",\"list\":[{\"id\":\"c\",\"name\":\"mx\",\"@type\":"
           "\"Mx\"},{\"id\":\"b\",\"name\":\"local\",\"@type\":\"Local\"}],\"notFound\":[]}]");
    /* A singleton exists before anybody stored it, under its one id. */
    EXPECT(&bed, "x:SystemSettings/get",
           "{\"ids\":[\"singleton\",\"b\"],\"properties\":[\"maxConnections\"]}",
           "[\"x:SystemSettings/get\",{" ACCOUNT ",\"list\":[{\"id\":\"singleton\","
           "\"maxConnections\":8192}],\"notFound\":[\"b\"]}]");
    EXPECT(&bed, "x:SystemSettings/get", "{\"properties\":[]}",
           "[\"x:SystemSettings/get\",{" ACCOUNT
           ",\"list\":[{\"id\":\"singleton\"}],\"notFound\":[]}]");
    EXPECT(&bed, "x:Domain/get", "{\"ids\":\"b\"}",
           "[\"error\",{\"type\":\"invalidArguments\",\"description\":\"'ids' has to be null or "
           "an array of ids\"}]");
    EXPECT(&bed, "x:Domain/get", "{\"properties\":{}}",
           "[\"error\",{\"type\":\"invalidArguments\",\"description\":\"'properties' has to be "
           "null or an array of names\"}]");
    char *many = malloc(API_OBJECTS_GET * 4 + 64);
    strcpy(many, "{\"ids\":[\"b\"");
    for (int i = 0; i < API_OBJECTS_GET; i++) {
        strcat(many, ",\"b\"");
    }
    strcat(many, "]}");
    EXPECT(&bed, "x:Domain/get", many,
           "[\"error\",{\"type\":\"requestTooLarge\",\"description\":\"'ids' has more than 500 "
           "members\"}]");
    free(many);
    bed_close(&bed);
}

static void expect_unknown(struct api_bed *bed, const char *method)
{
    EXPECT(bed, method, "{}",
           text("[\"error\",{\"type\":\"unknownMethod\",\"description\":\"%s\"}]", method));
}

static void check_methods(void)
{
    static const char *const verbs[] = {"Get", "Query", "Create", "Update", "Destroy"};
    static const char *const methods[] = {"get", "query", "set", "set", "set"};
    static const char *const args[] = {"{}", "{}", "{\"create\":{\"a\":{}}}",
                                       "{\"update\":{\"b\":{}}}", "{\"destroy\":[\"b\"]}"};
    struct api_bed bed;
    bed_open(&bed);
    EXPECT(
        &bed, "x:Tenant/set", "{}",
        "[\"error\",{\"type\":\"unknownMethod\",\"description\":\"x:Tenant/set: is not supported "
        "by ringmx\"}]");
    expect_unknown(&bed, "x:Domains/get");
    expect_unknown(&bed, "x:domain/get");
    expect_unknown(&bed, "X:Domain/get");
    expect_unknown(&bed, "Domain/get");
    expect_unknown(&bed, "x:Domain/Get");
    expect_unknown(&bed, "x:Domain/get/");
    expect_unknown(&bed, "x:Domain");
    expect_unknown(&bed, "x:Domain/changes");
    expect_unknown(&bed, "x:");
    expect_unknown(&bed, "/");
    expect_unknown(&bed, "");
    EXPECT(&bed, "Core/echo", "{\"a\":[1,null]}", "[\"Core/echo\",{\"a\":[1,null]}]");
    for (size_t i = 0; i < mx_countof(verbs); i++) {
        char permission[64];
        snprintf(permission, sizeof(permission), "sysDomain%s", verbs[i]);
        bed.lacks = permission;
        EXPECT(&bed, text("x:Domain/%s", methods[i]), args[i],
               text("[\"error\",{\"type\":\"forbidden\",\"description\":\"You are not authorized "
                    "to do this; it needs the permission %s.\"}]",
                    permission));
        bed.lacks = NULL;
    }
    bed.lacks = "sysSystemSettingsUpdate";
    EXPECT(&bed, "x:SystemSettings/set", "{\"create\":{\"a\":{}}}",
           "[\"error\",{\"type\":\"forbidden\",\"description\":\"You are not authorized to do "
           "this; it needs the permission sysSystemSettingsUpdate.\"}]");
    bed.lacks = NULL;
    EXPECT(&bed, "x:Domain/set", "{\"create\":[]}",
           "[\"error\",{\"type\":\"invalidArguments\",\"description\":\"'create' has to be an "
           "object\"}]");
    EXPECT(&bed, "x:Domain/set", "{\"destroy\":{}}",
           "[\"error\",{\"type\":\"invalidArguments\",\"description\":\"'destroy' has to be an "
           "array of ids\"}]");
    EXPECT(&bed, "x:Domain/set", "{\"destroy\":[1]}",
           "[\"error\",{\"type\":\"invalidArguments\",\"description\":\"'destroy' has to be an "
           "array of ids\"}]");
    EXPECT(&bed, "x:Domain/set", "{\"destory\":[\"b\"]}",
           "[\"error\",{\"type\":\"invalidArguments\",\"description\":\"there is no argument "
           "'destory'; it takes accountId ifInState create update destroy\"}]");
    EXPECT(&bed, "x:Domain/get", "{\"id\":\"b\"}",
           "[\"error\",{\"type\":\"invalidArguments\",\"description\":\"there is no argument "
           "'id'; it takes accountId ids properties\"}]");
    EXPECT(&bed, "x:Domain/query", "{\"where\":{}}",
           "[\"error\",{\"type\":\"invalidArguments\",\"description\":\"there is no argument "
           "'where'; it takes accountId filter sort position anchor anchorOffset limit "
           "calculateTotal\"}]");
    EXPECT(&bed, "x:Domain/set", "{}", "[\"x:Domain/set\",{" ACCOUNT "}]");
    EXPECT(&bed, "x:Domain/set",
           "{\"create\":null,\"update\":null,\"destroy\":null,"
           "\"ifInState\":\"x\"," ACCOUNT "}",
           "[\"x:Domain/set\",{" ACCOUNT "}]");
    bed_close(&bed);
}

/* Every shape of a SetError. */
static void check_set_errors(void)
{
    struct api_bed bed;
    char a[OBJECT_ID_TEXT_MAX + 1];
    char b[OBJECT_ID_TEXT_MAX + 1];
    char user[OBJECT_ID_TEXT_MAX + 1];
    bed_open(&bed);
    bed_create(&bed, "Domain", "{\"name\":\"a.example\"}", a);
    bed_create(&bed, "Domain", "{\"name\":\"b.example\"}", b);
    bed_create(&bed, "Account",
               text("{\"@type\":\"User\",\"name\":\"ann\",\"domainId\":\"%s\"}", b), user);
    EXPECT(&bed, "x:Domain/set", "{\"create\":{\"n\":{\"name\":\"A.example\"}}}",
           text("[\"x:Domain/set\",{" ACCOUNT
                ",\"notCreated\":{\"n\":{\"type\":\"primaryKeyViolation\",\"description\":\"name: "
                "'a.example' is in use (Domain a.example)\",\"properties\":[\"name\"],\"objectId\":"
                "{\"object\":\"Domain\",\"id\":\"%s\"}}}}]",
                a));
    /* Several at once: of one kind, and mixed. */
    EXPECT(&bed, "x:MtaRoute/set", "{\"create\":{\"n\":{\"@type\":\"Relay\",\"port\":70000}}}",
           "[\"x:MtaRoute/set\",{" ACCOUNT
           ",\"notCreated\":{\"n\":{\"type\":\"validationFailed\",\"description\":\"name: is "
           "required; address: is required; port: must be 1 to 65535\",\"properties\":[\"name\","
           "\"address\",\"port\"],\"validationErrors\":[{\"type\":\"Required\",\"property\":"
           "\"name\"},{\"type\":\"Required\",\"property\":\"address\"},{\"type\":\"MaxValue\","
           "\"property\":\"port\",\"required\":65535}]}}}]");
    EXPECT(&bed, "x:Domain/set",
           "{\"create\":{\"n\":{\"colour\":1,\"logo\":\"x\",\"isEnabled\":0}}}",
           "[\"x:Domain/set\",{" ACCOUNT
           ",\"notCreated\":{\"n\":{\"type\":\"invalidPatch\",\"description\":\"colour: is not a "
           "property of Domain; logo: is not supported by ringmx; name: is required; isEnabled: "
           "must be true or false\",\"properties\":[\"colour\",\"logo\",\"name\",\"isEnabled\"],"
           "\"validationErrors\":[{\"type\":\"Required\",\"property\":\"name\"}]}}}]");
    EXPECT(&bed, "x:Domain/set", "{\"create\":{\"n\":7}}",
           "[\"x:Domain/set\",{" ACCOUNT ",\"notCreated\":{\"n\":{\"type\":\"invalidPatch\","
           "\"description\":\"must be an object\"}}}]");
    EXPECT(&bed, "x:MtaRoute/set", "{\"create\":{\"n\":{\"name\":\"x\"}}}",
           "[\"x:MtaRoute/set\",{" ACCOUNT ",\"notCreated\":{\"n\":{\"type\":\"invalidPatch\","
           "\"description\":\"@type: is missing or unknown: must be one of 'Local', 'Mx', "
           "'Relay'\",\"properties\":[\"@type\"]}}}]");
    EXPECT(&bed, "x:MtaRoute/set", "{\"update\":{\"b\":{\"name\":\"here\"}}}",
           "[\"x:MtaRoute/set\",{" ACCOUNT ",\"notUpdated\":{\"b\":{\"type\":\"invalidPatch\","
           "\"description\":\"name: cannot be changed after creation\",\"properties\":[\"name\"]}}}"
           "]");
    EXPECT(&bed, "x:Account/set",
           text("{\"update\":{\"%s\":{\"emailAddress\":\"x@y.example\"}}}", user),
           text("[\"x:Account/set\",{" ACCOUNT ",\"notUpdated\":{\"%s\":{\"type\":\"invalidPatch\","
                "\"description\":\"emailAddress: is set by the server\",\"properties\":["
                "\"emailAddress\"]}}}]",
                user));
    EXPECT(&bed, "x:Account/set",
           "{\"create\":{\"n\":{\"@type\":\"User\",\"name\":\"bob\",\"domainId\":\"zzz\"}}}",
           "[\"x:Account/set\",{" ACCOUNT ",\"notCreated\":{\"n\":{\"type\":\"invalidForeignKey\","
           "\"description\":\"domainId: refers to a Domain that does not exist\",\"properties\":["
           "\"domainId\"],\"objectId\":{\"object\":\"Domain\",\"id\":\"zzz\"}}}}]");
    EXPECT(&bed, "x:MtaOutboundStrategy/set",
           "{\"update\":{\"singleton\":{\"route/else\":\"'nowhere'\"}}}",
           "[\"x:MtaOutboundStrategy/set\",{" ACCOUNT ",\"notUpdated\":{\"singleton\":{\"type\":"
           "\"invalidForeignKey\",\"description\":\"route: names the MtaRoute 'nowhere', which "
           "does not exist\",\"properties\":[\"route\"]}}}]");
    json_t *result = bed_call(&bed, "x:MtaOutboundStrategy/set",
                              "{\"update\":{\"singleton\":{\"route/else\":\"nonsense(\"}}}");
    const json_t *error =
        json_object_get(json_object_get(json_array_get(result, 1), "notUpdated"), "singleton");
    CHECK_TEXT(json_string_value(json_object_get(error, "type")), "validationFailed");
    expect_json(json_object_get(error, "properties"), "[\"route/else\"]", __FILE__, __LINE__);
    const json_t *entry = json_array_get(json_object_get(error, "validationErrors"), 0);
    CHECK_TEXT(json_string_value(json_object_get(entry, "type")), "Invalid");
    CHECK_HAS(json_string_value(json_object_get(entry, "value")), "at position");
    json_decref(result);
    EXPECT(&bed, "x:Domain/set", text("{\"destroy\":[\"%s\",\"%s\",\"zzz\",\"4\",\"\"]}", a, b),
           text("[\"x:Domain/set\",{" ACCOUNT
                ",\"destroyed\":[\"%s\"],\"notDestroyed\":{\"%s\":{\"type\":\"objectIsLinked\","
                "\"description\":\"is used by Account ann@b.example\",\"objectId\":{\"object\":"
                "\"Domain\",\"id\":\"%s\"},\"linkedObjects\":[{\"object\":\"Account\",\"id\":"
                "\"%s\"}]},\"zzz\":{\"type\":\"notFound\",\"description\":\"there is no such "
                "Domain\"},\"4\":{\"type\":\"notFound\",\"description\":\"there is no Domain with "
                "this id\"},\"\":{\"type\":\"notFound\",\"description\":\"there is no Domain with "
                "this id\"}}}]",
                a, b, b, user));
    EXPECT(&bed, "x:Domain/set", "{\"update\":{\"zzz\":{},\"x y\":{}}}",
           "[\"x:Domain/set\",{" ACCOUNT ",\"notUpdated\":{\"zzz\":{\"type\":\"notFound\","
           "\"description\":\"there is no such Domain\"},\"x y\":{\"type\":\"notFound\","
           "\"description\":\"there is no Domain with this id\"}}}]");
    EXPECT(&bed, "x:Account/set",
           text("{\"update\":{\"%s\":{\"description\":\"x\"}},\"destroy\":[\"%s\"]}", user, user),
           text("[\"x:Account/set\",{" ACCOUNT
                ",\"destroyed\":[\"%s\"],\"notUpdated\":{\"%s\":{\"type\":\"willDestroy\","
                "\"description\":\"is destroyed in the same call\"}}}]",
                user, user));
    bed_close(&bed);
}

static void check_singletons(void)
{
    struct api_bed bed;
    bed_open(&bed);
    EXPECT(&bed, "x:SystemSettings/set",
           "{\"create\":{\"n0\":{\"maxConnections\":9}},\"update\":{\"b\":{}},\"destroy\":["
           "\"singleton\"]}",
           "[\"x:SystemSettings/set\",{" ACCOUNT
           ",\"created\":{\"n0\":{\"id\":\"singleton\"}},\"notUpdated\":{\"b\":{\"type\":"
           "\"notFound\",\"description\":\"there is no such SystemSettings\"}},\"notDestroyed\":{"
           "\"singleton\":{\"type\":\"singleton\",\"description\":\"a singleton cannot be "
           "destroyed\"}}}]");
    EXPECT(&bed, "x:SystemSettings/get", "{\"properties\":[\"maxConnections\"]}",
           "[\"x:SystemSettings/get\",{" ACCOUNT
           ",\"list\":[{\"id\":\"singleton\",\"maxConnections\":9}],\"notFound\":[]}]");
    EXPECT(&bed, "x:SystemSettings/query", "{\"calculateTotal\":true}",
           "[\"x:SystemSettings/query\",{" ACCOUNT ",\"queryState\":\"2\",\"canCalculateChanges\":"
           "false,\"position\":0,\"ids\":[\"singleton\"],\"total\":1}]");
    bed_close(&bed);
}

/* Creation ids: in one call in any order, in a later call, from an earlier request. */
static void check_creation_ids(void)
{
    struct api_bed bed;
    bed_open(&bed);
    json_t *answer = bed_post(
        &bed,
        "[[\"x:Domain/set\",{\"create\":{\"d\":{\"name\":\"a.example\"},\"bad\":{}}},\"0\"],"
        "[\"x:Account/set\",{\"create\":{\"u\":{\"@type\":\"User\",\"name\":\"ann\",\"domainId\":"
        "\"#d\",\"aliases\":{\"0\":{\"name\":\"a\",\"domainId\":\"#d\"}}},\"v\":{\"@type\":"
        "\"User\",\"name\":\"bob\",\"domainId\":\"#nobody\"}}},\"1\"],"
        "[\"x:Domain/set\",{\"update\":{\"#d\":{\"description\":\"main\"},\"#no\":{}}},\"2\"]]",
        "{\"old\":\"b\"}");
    const json_t *created = json_object_get(answer, "createdIds");
    const char *domain = json_string_value(json_object_get(created, "d"));
    const char *user = json_string_value(json_object_get(created, "u"));
    CHECK(domain && user && json_object_size(created) == 3);
    CHECK_TEXT(json_string_value(json_object_get(created, "old")), "b");
    const json_t *responses = json_object_get(answer, "methodResponses");
    expect_json(json_array_get(json_array_get(responses, 1), 1),
                text("{" ACCOUNT ",\"created\":{\"u\":{\"id\":\"%s\"}},\"notCreated\":{\"v\":{"
                     "\"type\":\"invalidForeignKey\",\"description\":\"domainId: refers to "
                     "'#nobody': no object with this creation id was made\",\"properties\":["
                     "\"domainId\"]}}}",
                     user),
                __FILE__, __LINE__);
    expect_json(json_array_get(json_array_get(responses, 2), 1),
                text("{" ACCOUNT ",\"updated\":{\"%s\":null},\"notUpdated\":{\"#no\":{\"type\":"
                     "\"notFound\",\"description\":\"there is no Domain with this id\"}}}",
                     domain),
                __FILE__, __LINE__);
    const char *calls = text("[[\"x:Account/set\",{\"create\":{\"w\":{\"@type\":\"User\",\"name\":"
                             "\"cid\",\"domainId\":\"#d\"}}},\"0\"]]");
    /* What is destroyed in the same call is known by either name. */
    json_t *both = bed_post(&bed,
                            text("[[\"x:Domain/set\",{\"update\":{\"#d\":{}},\"destroy\":["
                                 "\"%s\"]},\"0\"],[\"x:Domain/set\",{\"update\":{\"%s\":{}},"
                                 "\"destroy\":[\"#d\"]},\"1\"]]",
                                 domain, domain),
                            text("{\"d\":\"%s\"}", domain));
    for (size_t i = 0; i < 2; i++) {
        const json_t *response = json_array_get(json_object_get(both, "methodResponses"), i);
        json_t *refused = json_object_get(json_array_get(response, 1), "notUpdated");
        const json_t *error = json_object_iter_value(json_object_iter(refused));
        CHECK_TEXT(json_string_value(json_object_get(error, "type")), "willDestroy");
        CHECK_TEXT(json_object_iter_key(json_object_iter(refused)), domain);
    }
    json_decref(both);
    json_t *second = bed_post(&bed, calls, text("{\"d\":\"%s\"}", domain));
    CHECK(json_is_string(json_object_get(json_object_get(second, "createdIds"), "w")));
    json_decref(second);
    json_decref(answer);
    bed_close(&bed);
}

static void expect_response(struct api_bed *bed, const char *calls, size_t index,
                            const char *expected, int line)
{
    json_t *answer = bed_post(bed, calls, NULL);
    expect_json(json_array_get(json_object_get(answer, "methodResponses"), index), expected,
                __FILE__, line);
    json_decref(answer);
}

static void check_back_references(void)
{
    static const char *const bad[] = {
        "{\"resultOf\":\"0\",\"name\":\"x:Domain/get\",\"path\":\"/a\"}",
        "{\"resultOf\":\"1\",\"name\":\"Core/echo\",\"path\":\"/a\"}",
        "{\"resultOf\":\"0\",\"name\":\"Core/echo\",\"path\":\"/b\"}",
        "{\"resultOf\":\"0\",\"name\":\"Core/echo\",\"path\":\"a\"}",
        "{\"resultOf\":\"0\",\"name\":\"Core/echo\",\"path\":\"/a/9\"}",
        "{\"resultOf\":\"0\",\"name\":\"Core/echo\",\"path\":\"/a/01\"}",
        "{\"resultOf\":\"0\",\"name\":\"Core/echo\",\"path\":\"/a/*/x\"}",
        "{\"resultOf\":\"0\",\"name\":\"Core/echo\",\"path\":\"/l/*/nothing\"}",
        "{\"resultOf\":\"0\",\"name\":\"Core/echo\"}",
        "{\"resultOf\":0,\"name\":\"Core/echo\",\"path\":\"/a\"}",
        "[]",
    };
    static const char first[] = "[\"Core/echo\",{\"a\":[1,2],\"l\":[{\"i\":[3,4],\"~/\":5},{\"i\":"
                                "[6],\"~/\":7}]},\"0\"]";
    struct api_bed bed;
    bed_open(&bed);
    for (size_t i = 0; i < mx_countof(bad); i++) {
        expect_response(&bed, text("[%s,[\"Core/echo\",{\"#x\":%s},\"1\"]]", first, bad[i]), 1,
                        "[\"error\",{\"type\":\"invalidResultReference\",\"description\":\"'#x' "
                        "does not lead to a value of an earlier response\"},\"1\"]",
                        __LINE__);
    }
    static const char *const good[][2] = {
        {"/a", "[1,2]"},   {"/a/1", "2"},          {"/l/*/i", "[3,4,6]"}, {"/l/0/i/*", "[3,4]"},
        {"/a/*", "[1,2]"}, {"/l/*/~0~1", "[5,7]"}, {"/l/1/~0~1", "7"},
    };
    for (size_t i = 0; i < mx_countof(good); i++) {
        expect_response(&bed,
                        text("[%s,[\"Core/echo\",{\"#x\":{\"resultOf\":\"0\",\"name\":"
                             "\"Core/echo\",\"path\":\"%s\"},\"y\":1},\"1\"]]",
                             first, good[i][0]),
                        1, text("[\"Core/echo\",{\"x\":%s,\"y\":1},\"1\"]", good[i][1]), __LINE__);
    }
    expect_response(&bed, text("[%s,[\"Core/echo\",{\"#x\":{},\"x\":1},\"1\"]]", first), 1,
                    "[\"error\",{\"type\":\"invalidArguments\",\"description\":\"'x' is given "
                    "twice, once as a reference\"},\"1\"]",
                    __LINE__);
    bed_close(&bed);
}

/* The error of the last of the calls, or NULL; nothing is answered that is much larger than what
 * references may lead to. */
static const char *last_error(struct api_bed *bed, const char *calls)
{
    static char error[64];
    json_t *answer = bed_post(bed, calls, NULL);
    char *whole = json_dumps(answer, JSON_COMPACT);
    CHECK(whole && strlen(whole) < 2 * API_REFERRED_MAX);
    free(whole);
    const json_t *responses = json_object_get(answer, "methodResponses");
    const json_t *last = json_array_get(responses, json_array_size(responses) - 1);
    const json_t *type = json_object_get(json_array_get(last, 1), "type");
    snprintf(error, sizeof(error), "%s", json_is_string(type) ? json_string_value(type) : "none");
    json_decref(answer);
    return error;
}

/* Every call refers twice to the whole one before; or to nothing, found by a long search. */
static void check_references_have_a_bound(void)
{
    struct api_bed bed;
    bed_open(&bed);
    char *calls = NULL;
    size_t len = 0;
    FILE *out = open_memstream(&calls, &len);
    fprintf(out, "[[\"Core/echo\",{\"a\":\"%01000d\"},\"0\"]", 0);
    for (int i = 1; i < API_CALLS_MAX; i++) {
        fprintf(out, ",[\"Core/echo\",{");
        for (int twice = 0; twice < 2; twice++) {
            fprintf(out, "%s\"#x%d\":{\"resultOf\":\"%d\",\"name\":\"Core/echo\",\"path\":\"\"}",
                    twice ? "," : "", twice, i - 1);
        }
        fprintf(out, "},\"%d\"]", i);
        if (i == 4) {
            fflush(out);
            CHECK(strcmp(last_error(&bed, text("%s]", calls)), "none") == 0);
        }
    }
    fprintf(out, "]");
    fclose(out);
    /* The call over the limit is refused, and so is every later reference. */
    CHECK(strcmp(last_error(&bed, calls), "requestTooLarge") == 0);
    free(calls);

    enum { EMPTY = 100000, TIMES = 20 };
    out = open_memstream(&calls, &len);
    fprintf(out, "[[\"Core/echo\",{\"e\":[[]");
    for (int i = 1; i < EMPTY; i++) {
        fprintf(out, ",[]");
    }
    fprintf(out, "]},\"0\"],[\"Core/echo\",{\"a\":1");
    for (int i = 0; i < TIMES; i++) {
        fprintf(out, ",\"#x%d\":{\"resultOf\":\"0\",\"name\":\"Core/echo\",\"path\":\"/e/*/*\"}",
                i);
    }
    fprintf(out, "},\"1\"]]");
    fclose(out);
    CHECK(strcmp(last_error(&bed, calls), "requestTooLarge") == 0);
    free(calls);
    bed_close(&bed);
}

/* There is no account but the caller's. */
static void check_account_id(void)
{
    struct api_bed bed;
    bed_open(&bed);
    EXPECT(&bed, "x:Domain/query", "{" ACCOUNT ",\"limit\":1}",
           "[\"x:Domain/query\",{" ACCOUNT ",\"queryState\":\"1\",\"canCalculateChanges\":false,"
           "\"position\":0,\"ids\":[]}]");
    EXPECT(&bed, "x:Domain/query", "{\"accountId\":\"b\"}",
           "[\"error\",{\"type\":\"accountNotFound\",\"description\":\"the account of this caller "
           "is 'd333333'; leave it out\"}]");
    EXPECT(&bed, "x:Domain/set", "{\"accountId\":1,\"create\":{\"a\":{\"name\":\"a.example\"}}}",
           "[\"error\",{\"type\":\"invalidArguments\",\"description\":\"'accountId' has to be a "
           "string\"}]");
    bed_close(&bed);
}

/* Destroys by the result of a query, and creations that refer to each other. */
static void check_order_in_call(void)
{
    struct api_bed bed;
    bed_open(&bed);
    char domain[OBJECT_ID_TEXT_MAX + 1];
    bed_create(&bed, "Domain", "{\"name\":\"a.example\"}", domain);
    json_t *answer =
        bed_post(&bed,
                 "[[\"x:Domain/query\",{},\"q\"],[\"x:Domain/set\",{\"#destroy\":{\"resultOf\":"
                 "\"q\",\"name\":\"x:Domain/query\",\"path\":\"/ids\"}},\"s\"]]",
                 NULL);
    expect_json(json_array_get(json_array_get(json_object_get(answer, "methodResponses"), 1), 1),
                text("{" ACCOUNT ",\"destroyed\":[\"%s\"]}", domain), __FILE__, __LINE__);
    json_decref(answer);
    bed_create(&bed, "Domain", "{\"name\":\"b.example\"}", domain);
    answer = bed_post(&bed, "[[\"x:Domain/set\",{\"destroy\":[\"#b\"]},\"s\"]]",
                      text("{\"b\":\"%s\"}", domain));
    expect_json(json_array_get(json_array_get(json_object_get(answer, "methodResponses"), 0), 1),
                text("{" ACCOUNT ",\"destroyed\":[\"%s\"]}", domain), __FILE__, __LINE__);
    json_decref(answer);
    bed_close(&bed);
}

/* What prepare refuses: one object is picked out, or nothing of the call happens. */
static void check_prepare(void)
{
    static const char create[] = "{\"create\":{\"a\":{\"name\":\"a.example\"},\"b\":{\"name\":"
                                 "\"b.example\"}}}";
    struct api_bed bed;
    bed_open(&bed);
    bed.refuse_name = "b.example";
    json_t *result = bed_call(&bed, "x:Domain/set", create);
    const json_t *reply = json_array_get(result, 1);
    CHECK(json_is_string(
        json_object_get(json_object_get(json_object_get(reply, "created"), "a"), "id")));
    expect_json(json_object_get(reply, "notCreated"),
                "{\"b\":{\"type\":\"validationFailed\",\"description\":\"name: does not "
                "compile\",\"properties\":[\"name\"],\"validationErrors\":[{\"type\":\"Invalid\","
                "\"property\":\"name\",\"value\":\"does not compile\"}]}}",
                __FILE__, __LINE__);
    json_decref(result);
    CHECK(bed.prepared == 2 && bed.discarded == 1 && bed.published == 1 && bed.last_count == 1);
    CHECK(store_generation(bed.store) == 2);
    bed_close(&bed);

    bed_open(&bed);
    bed.refuse_name = "b.example";
    bed.refuse_unknown = true;
    result = bed_call(&bed, "x:Domain/set", create);
    reply = json_array_get(result, 1);
    CHECK(json_object_size(json_object_get(reply, "notCreated")) == 2);
    CHECK(json_object_get(reply, "created") == NULL);
    CHECK(store_generation(bed.store) == 1 && bed.published == 0 && bed.discarded == 1);
    json_decref(result);
    bed.refuse_name = NULL;
    bed.publish_result = MX_ERR_TIMEOUT;
    result = bed_call(&bed, "x:Domain/set", create);
    CHECK(strcmp(json_string_value(json_array_get(result, 0)), "error") == 0);
    reply = json_array_get(result, 1);
    CHECK(strcmp(json_string_value(json_object_get(reply, "type")), "serverPartialFail") == 0);
    CHECK(strcmp(json_string_value(json_object_get(reply, "description")),
                 "The changes are stored, but not in force everywhere yet: core 3 is behind") == 0);
    /* The client learns the ids of what is stored. */
    CHECK(json_object_size(json_object_get(reply, "created")) == 2);
    CHECK(json_is_string(
        json_object_get(json_object_get(json_object_get(reply, "created"), "b"), "id")));
    json_decref(result);
    CHECK(store_generation(bed.store) == 2 && bed.published == 1);
    /* Nothing changes: nothing is compiled or published, the generation stays. */
    bed.publish_result = MX_OK;
    EXPECT(&bed, "x:SystemSettings/set", "{\"update\":{\"singleton\":{\"maxConnections\":8192}}}",
           "[\"x:SystemSettings/set\",{" ACCOUNT ",\"updated\":{\"singleton\":null}}]");
    CHECK(bed.published == 1 && store_generation(bed.store) == 2);
    bed_close(&bed);
}

/* A core that is behind an earlier change: said at once and once, instead of tried again. */
static void check_core_behind(void)
{
    static const mx_err results[] = {MX_ERR_AGAIN, MX_ERR_TIMEOUT, MX_ERR_NOMEM};
    for (size_t i = 0; i < mx_countof(results); i++) {
        struct api_bed bed;
        bed_open(&bed);
        bed.prepare_result = results[i];
        EXPECT(&bed, "x:Domain/set", "{\"create\":{\"a\":{\"name\":\"a.example\"}}}",
               "[\"error\",{\"type\":\"serverUnavailable\",\"description\":\"core 3 is behind; "
               "nothing was changed\"}]");
        CHECK(bed.prepared == 1 && bed.published == 0 && store_generation(bed.store) == 1);
        bed_close(&bed);
    }
}

/* A call with as many objects as are allowed, one more, and a mass of bad ones. */
static void check_many(void)
{
    struct api_bed bed;
    bed_open(&bed);
    for (int extra = 1; extra >= 0; extra--) {
        char *args = NULL;
        size_t len = 0;
        FILE *out = open_memstream(&args, &len);
        fprintf(out, "{\"create\":{");
        for (int i = 0; i < API_OBJECTS_SET + extra; i++) {
            fprintf(out, "%s\"n%d\":{\"name\":\"d%d.example\"}", i ? "," : "", i, i);
        }
        fprintf(out, "}}");
        fclose(out);
        json_t *result = bed_call(&bed, "x:Domain/set", args);
        const json_t *reply = json_array_get(result, 1);
        if (extra) {
            expect_json(reply,
                        "{\"type\":\"requestTooLarge\",\"description\":\"more than 500 objects in "
                        "one call\"}",
                        __FILE__, __LINE__);
        } else {
            CHECK(json_object_size(json_object_get(reply, "created")) == API_OBJECTS_SET);
        }
        json_decref(result);
        free(args);
    }
    CHECK(store_generation(bed.store) == 2 && bed.last_count == API_OBJECTS_SET);
    bed_close(&bed);
}

static void check_patches(void)
{
    struct api_bed bed;
    char id[OBJECT_ID_TEXT_MAX + 1];
    char user[OBJECT_ID_TEXT_MAX + 1];
    bed_open(&bed);
    bed_create(&bed, "Domain", "{\"name\":\"a.example\"}", id);
    bed_create(&bed, "Account",
               text("{\"@type\":\"User\",\"name\":\"ann\",\"domainId\":\"%s\",\"aliases\":{\"0\":{"
                    "\"name\":\"x\",\"domainId\":\"%s\"}}}",
                    id, id),
               user);
    EXPECT(&bed, "x:Account/set",
           text("{\"update\":{\"%s\":{\"aliases/1\":{\"name\":\"y\",\"domainId\":\"%s\"},"
                "\"aliases/0/enabled\":false,\"@type\":\"User\"}}}",
                user, id),
           text("[\"x:Account/set\",{" ACCOUNT ",\"updated\":{\"%s\":null}}]", user));
    EXPECT(&bed, "x:SystemSettings/set",
           "{\"update\":{\"singleton\":{\"proxyTrustedNetworks/203.0.113.0~124\":true}}}",
           "[\"x:SystemSettings/set\",{" ACCOUNT ",\"updated\":{\"singleton\":null}}]");
    EXPECT(&bed, "x:Account/get", text("{\"ids\":[\"%s\"]}", user),
           text("[\"x:Account/get\",{" ACCOUNT
                ",\"list\":[{\"id\":\"%s\",\"@type\":\"User\",\"name\":\"ann\",\"domainId\":\"%s\","
                "\"emailAddress\":\"ann@a.example\",\"description\":null,\"aliases\":{\"0\":{"
                "\"enabled\":false,\"name\":\"x\",\"domainId\":\"%s\",\"description\":null},"
                "\"1\":{\"enabled\":true,\"name\":\"y\",\"domainId\":\"%s\",\"description\":null}},"
                "\"credentials\":{},\"roles\":{\"@type\":\"User\"},\"permissions\":{\"@type\":"
                "\"Inherit\"}}],\"notFound\":[]}]",
                user, id, id, id));
    EXPECT(&bed, "x:SystemSettings/get", "{\"properties\":[\"proxyTrustedNetworks\"]}",
           "[\"x:SystemSettings/get\",{" ACCOUNT ",\"list\":[{\"id\":\"singleton\","
           "\"proxyTrustedNetworks\":{\"203.0.113.0/24\":true}}],\"notFound\":[]}]");
    bed_close(&bed);
}

int main(void)
{
    check_commands();
    check_get();
    check_methods();
    check_set_errors();
    check_singletons();
    check_creation_ids();
    check_back_references();
    check_references_have_a_bound();
    check_account_id();
    check_order_in_call();
    check_prepare();
    check_core_behind();
    check_many();
    check_patches();
    return report("check_api_objects");
}
