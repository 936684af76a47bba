/* Plans: order, references, matching, refusals that change nothing. */
#include "tests/admin/support.h"

#define BASE                                                                                       \
    "{\"@type\":\"create\",\"object\":\"Domain\",\"value\":{\"d1\":{\"name\":\"example.org\","     \
    "\"allowRelaying\":true},\"d2\":{\"name\":\"example.net\",\"aliases\":{\"example.com\":true}}" \
    "}}\n"                                                                                         \
    "{\"@type\":\"create\",\"object\":\"Account\",\"value\":{\"u1\":{\"@type\":\"User\",\"name\":" \
    "\"alice\",\"domainId\":\"#d1\",\"aliases\":{\"0\":{\"name\":\"a.smith\",\"domainId\":\"#"     \
    "d2\"}}},"                                                                                     \
    "\"u2\":{\"@type\":\"User\",\"name\":\"bob\",\"domainId\":\"#d1\"}}}\n"                        \
    "{\"@type\":\"create\",\"object\":\"MtaRoute\",\"value\":{\"r1\":{\"@type\":\"Relay\","        \
    "\"name\":"                                                                                    \
    "\"source\",\"address\":\"192.0.2.25\"}}}\n"                                                   \
    "{\"@type\":\"update\",\"object\":\"MtaOutboundStrategy\",\"value\":{\"route\":{\"match\":{"   \
    "\"0\":{\"if\":\"is_local_address(rcpt)\",\"then\":\"'local'\"},\"1\":{\"if\":"                \
    "\"is_local_domain(rcpt_domain)\",\"then\":\"'source'\"}},\"else\":\"'mx'\"}}}\n"              \
    "{\"@type\":\"update\",\"object\":\"SystemSettings\",\"value\":{\"defaultDomainId\":\"#d1\"}}" \
    "\n"
#define BASE_SUMMARY "created 5, updated 2, destroyed 0, unchanged 0; generation 2\n"

struct refusal {
    const char *plan, *expected; /* all of what is printed */
};

static const struct refusal refusals[] = {
    {"nonsense\n", "error: line 1: is not JSON: '[' or '{' expected near 'nonsense' (at byte 8)\n"
                   "1 error; nothing was changed\n"},
    {"[]\n", "error: line 1: must be a JSON object\n1 error; nothing was changed\n"},
    {"\n\n{\"@type\":\"drop\"}\n",
     "error: line 3, field @type: must be 'create', 'update', 'upsert', 'reconcile' or 'destroy'\n"
     "1 error; nothing was changed\n"},
    {"{\"@type\":\"create\",\"object\":\"Foo\",\"value\":{\"a\":{}}}\n",
     "error: line 1, field object: there is no type 'Foo' in ringmx\n"
     "1 error; nothing was changed\n"},
    {"{\"@type\":\"create\",\"object\":\"Tenant\",\"value\":{\"a\":{}}}\n",
     "error: line 1, field object: 'Tenant' is not supported by ringmx\n"
     "1 error; nothing was changed\n"},
    {"{\"@type\":\"create\",\"object\":\"Domain\",\"values\":{}}\n",
     "error: line 1, Domain: 'values' is not a member of the operation create\n"
     "error: line 1, Domain, field value: must map names to objects: {\"name\": {...}}\n"
     "2 errors; nothing was changed\n"},
    {"{\"@type\":\"create\",\"object\":\"Domain\",\"scope\":{},\"value\":{\"a\":{\"name\":\"x."
     "example\"}}}\n",
     "error: line 1, Domain: 'scope' is not a member of the operation create\n"
     "1 error; nothing was changed\n"},
    {"{\"@type\":\"upsert\",\"object\":\"SystemSettings\",\"value\":{\"a\":{}}}\n",
     "error: line 1, SystemSettings: is a singleton: only 'update' applies to it\n"
     "1 error; nothing was changed\n"},
    {"{\"@type\":\"create\",\"object\":\"Domain\",\"value\":{\"#\":{},\"a\":1}}\r\n",
     "error: line 1, Domain, field value: holds an object without a name\n"
     "error: line 1, Domain 'a': must be an object\n2 errors; nothing was changed\n"},
    {"{\"@type\":\"update\",\"object\":\"SystemSettings\",\"id\":\"b\",\"value\":1}\n",
     "error: line 1, SystemSettings, field id: must be absent or 'singleton'\n"
     "error: line 1, SystemSettings, field value: must be an object\n"
     "2 errors; nothing was changed\n"},
    {"{\"@type\":\"upsert\",\"object\":\"Domain\",\"scope\":1,\"matchOn\":\"*\",\"value\":{\"a\":{"
     "\"name\":\"x.example\"}}}\n",
     "error: line 1, Domain, field scope: must be an object\n1 error; nothing was changed\n"},
    {"{\"@type\":\"destroy\",\"object\":\"Domain\",\"value\":1}\n",
     "error: line 1, Domain, field value: must be an object that selects what to destroy\n"
     "1 error; nothing was changed\n"},
    {"{\"@type\":\"destroy\",\"object\":1}\n",
     "error: line 1, field object: must be the name of a type\n1 error; nothing was changed\n"},
    {"{\"@type\":\"destroy\",\"object\":\"SystemSettings\"}\n",
     "error: line 1, SystemSettings: is a singleton: only 'update' applies to it\n"
     "1 error; nothing was changed\n"},
    {"{\"@type\":\"reconcile\",\"object\":\"Account\",\"value\":{}}\n",
     "error: line 1, Account, field matchOn: is required: objects of this type have no name to "
     "match by\n1 error; nothing was changed\n"},
    {"{\"@type\":\"upsert\",\"object\":\"Domain\",\"matchOn\":[],\"value\":{\"a\":{\"name\":\"x."
     "example\"}}}\n",
     "error: line 1, Domain, field matchOn: must be a list of property names, or \"*\"\n"
     "1 error; nothing was changed\n"},
    {"{\"@type\":\"upsert\",\"object\":\"Domain\",\"matchOn\":[\"colour\"],\"value\":{\"a\":{"
     "\"name\":"
     "\"x.example\"}}}\n",
     "error: line 1, Domain, field matchOn: 'colour' is not a property of Domain\n"
     "1 error; nothing was changed\n"},
    {"{\"@type\":\"upsert\",\"object\":\"Domain\",\"scope\":{\"isEnabled\":true},\"value\":{\"a\":{"
     "\"name\":"
     "\"x.example\",\"isEnabled\":false}}}\n",
     "error: line 1, Domain 'a', field isEnabled: is outside the operation's own scope: it would "
     "be made again every time\n1 error; nothing was changed\n"},
    {"{\"@type\":\"upsert\",\"object\":\"Domain\",\"value\":{\"a\":{\"name\":\"x.example\"},\"b\":{"
     "\"name\":"
     "\"X.Example\"}}}\n",
     "error: line 1, Domain 'b': matches the same object as 'a' of this operation\n"
     "1 error; nothing was changed\n"},
    {"{\"@type\":\"upsert\",\"object\":\"Domain\",\"value\":{\"a\":{}}}\n",
     "error: line 1, Domain 'a', field name: is missing: existing objects are matched by it\n"
     "1 error; nothing was changed\n"},
    {"{\"@type\":\"upsert\",\"object\":\"MtaRoute\",\"value\":{\"a\":{\"name\":\"x\"}}}\n",
     "error: line 1, MtaRoute 'a', field @type: is missing or unknown: must be one of 'Local', "
     "'Mx', 'Relay'\n1 error; nothing was changed\n"},
    /* names and references */
    {"{\"@type\":\"create\",\"object\":\"Domain\",\"value\":{\"a\":{\"name\":\"x.example\"}}}\n"
     "{\"@type\":\"create\",\"object\":\"Domain\",\"value\":{\"#a\":{\"name\":\"y.example\"}}}\n",
     "error: line 2, Domain 'a': the name is taken by line 1\n1 error; nothing was changed\n"},
    {"{\"@type\":\"create\",\"object\":\"Account\",\"value\":{\"u\":{\"@type\":\"User\",\"name\":"
     "\"x\","
     "\"domainId\":\"#d\"}}}\n"
     "{\"@type\":\"create\",\"object\":\"Domain\",\"value\":{\"d\":{\"name\":\"x.example\"}}}\n"
     "{\"@type\":\"update\",\"object\":\"Domain\",\"id\":\"#e\",\"value\":{}}\n"
     "{\"@type\":\"update\",\"object\":\"Domain\",\"id\":\"b\",\"value\":{}}\n"
     "{\"@type\":\"update\",\"object\":\"Domain\",\"value\":{}}\n",
     "error: line 1, Account 'u', field domainId: refers to '#d': it is made only later, by line "
     "2\n"
     "error: line 3, Domain '#e', field id: no operation of this plan makes it\n"
     "error: line 4, Domain 'b': there is no such Domain\n"
     "error: line 5, Domain, field id: is required: an id, or '#' and a name of this plan\n"
     "4 errors; nothing was changed\n"},
    /* what depends on a refused object is not reported again */
    {"{\"@type\":\"create\",\"object\":\"Domain\",\"value\":{\"d\":{\"name\":\"bad\"}}}\n"
     "{\"@type\":\"create\",\"object\":\"Account\",\"value\":{\"u\":{\"@type\":\"User\",\"name\":"
     "\"x\","
     "\"domainId\":\"#d\"},\"v\":{\"@type\":\"User\",\"name\":\"\",\"domainId\":\"#d\"}}}\n"
     "{\"@type\":\"update\",\"object\":\"Domain\",\"id\":\"#d\",\"value\":{}}\n",
     "error: line 1, Domain 'd', field name: 'bad' is not a full domain name: it has no dot\n"
     "error: line 2, Account 'v', field name: may not be empty\n"
     "2 errors; nothing was changed\n"},
    /* uniqueness */
    {"{\"@type\":\"create\",\"object\":\"Domain\",\"value\":{\"a\":{\"name\":\"EXAMPLE.com\"},"
     "\"b\":{\"name\":"
     "\"x.example\",\"aliases\":{\"example.org\":true}},\"c\":{\"name\":\"y.example\",\"aliases\":{"
     "\"y.example\":true}}}}\n",
     "error: line 1, Domain 'a', field name: 'example.com' is in use (Domain example.net)\n"
     "error: line 1, Domain 'b', field aliases/example.org: 'example.org' is in use (Domain "
     "example.org)\n"
     "error: line 1, Domain 'c', field aliases/y.example: is the name of the domain itself\n"
     "3 errors; nothing was changed\n"},
    {"{\"@type\":\"upsert\",\"object\":\"Domain\",\"value\":{\"d1\":{\"name\":\"example.org\"},"
     "\"d2\":{\"name\":"
     "\"example.net\"}}}\n"
     "{\"@type\":\"create\",\"object\":\"Account\",\"value\":{\"a\":{\"@type\":\"User\",\"name\":"
     "\"ALICE\","
     "\"domainId\":\"#d1\"},\"b\":{\"@type\":\"User\",\"name\":\"a.smith\",\"domainId\":\"#d2\"},"
     "\"c\":{"
     "\"@type\":\"User\",\"name\":\"x\",\"domainId\":\"#d1\",\"aliases\":{\"0\":{\"name\":\"Bob\","
     "\"domainId\":\"#d1\"}}},\"d\":{\"@type\":\"User\",\"name\":\"y\",\"domainId\":\"#d1\","
     "\"aliases\":{"
     "\"0\":{\"name\":\"z\",\"domainId\":\"#d1\"},\"1\":{\"name\":\"Z\",\"domainId\":\"#d1\"}}}}}"
     "\n",
     "error: line 2, Account 'a', field name: the address is in use by an account (Account "
     "alice@example.org)\n"
     "error: line 2, Account 'b', field name: the address is in use as an alias of an account "
     "(Account alice@example.org)\n"
     "error: line 2, Account 'c', field aliases/0/name: the address is in use by an account "
     "(Account bob@example.org)\n"
     "error: line 2, Account 'd', field aliases/1/name: the account has this address twice\n"
     "4 errors; nothing was changed\n"},
    {"{\"@type\":\"create\",\"object\":\"MtaRoute\",\"value\":{\"a\":{\"@type\":\"Mx\",\"name\":"
     "\"local\"}}}\n",
     "error: line 1, MtaRoute 'a', field name: 'local' is in use (MtaRoute local)\n"
     "1 error; nothing was changed\n"},
    /* links */
    {"{\"@type\":\"destroy\",\"object\":\"Domain\"}\n",
     "error: line 1, Domain 'example.org': is used by Account alice@example.org, Account "
     "bob@example.org, SystemSettings\n"
     "error: line 1, Domain 'example.net': is used by Account alice@example.org\n"
     "2 errors; nothing was changed\n"},
    {"{\"@type\":\"update\",\"object\":\"SystemSettings\",\"value\":{\"defaultDomainId\":\"zz\","
     "\"defaultCertificateId\":\"b\"}}\n",
     "error: line 1, SystemSettings, field defaultDomainId: refers to a Domain that does not "
     "exist\n"
     "error: line 1, SystemSettings, field defaultCertificateId: refers to a Certificate that does "
     "not exist\n2 errors; nothing was changed\n"},
    /* what does not compile as a whole */
    {"{\"@type\":\"destroy\",\"object\":\"MtaRoute\",\"value\":{\"name\":\"source\"}}\n",
     "error: MtaOutboundStrategy, field route: names the route 'source', which does not exist\n"
     "1 error; nothing was changed\n"},
    {"{\"@type\":\"update\",\"object\":\"MtaOutboundStrategy\",\"value\":{\"route/"
     "else\":\"'nowhere'\"}}\n",
     "error: line 1, MtaOutboundStrategy, field route: names the route 'nowhere', which does not "
     "exist\n1 error; nothing was changed\n"},
    {"{\"@type\":\"create\",\"object\":\"NetworkListener\",\"value\":{\"l\":{\"name\":\"two\","
     "\"bind\":{"
     "\"127.0.0.1:26\":true,\"[::]:25\":true}}}}\n",
     "error: line 1, NetworkListener, field bind of 'two': the listener 'smtp' has [::]:25 "
     "already\n1 error; nothing was changed\n"},
    {"{\"@type\":\"create\",\"object\":\"Certificate\",\"value\":{\"c\":{\"certificate\":{\"@"
     "type\":\"File\","
     "\"filePath\":\"/nonexistent/"
     "cert.pem\"},\"privateKey\":{\"@type\":\"Text\",\"secret\":\"x\"}},"
     "\"e\":{\"certificate\":{\"@type\":\"EnvironmentVariable\",\"variableName\":\"RINGMX_NOT_"
     "SET\"},"
     "\"privateKey\":{\"@type\":\"Text\",\"secret\":\"x\"}}}}\n",
     "error: line 1, Certificate 'c', field certificate: cannot read /nonexistent/cert.pem: not "
     "found\n"
     "error: line 1, Certificate 'e', field certificate: the environment variable RINGMX_NOT_SET "
     "is not set\n2 errors; nothing was changed\n"},
    {"{\"@type\":\"destroy\",\"object\":\"Domain\",\"value\":{\"colour\":1,\"name\":\"a b\"}}\n",
     "error: line 1, Domain, field value/colour: is not a property that can be compared\n"
     "error: line 1, Domain, field name: 'a b' is not a domain name: a space is not allowed\n"
     "2 errors; nothing was changed\n"},
};

static void check_refusals(void)
{
    struct scratch scratch;
    scratch_open(&scratch);
    apply_good(&scratch, BASE, BASE_SUMMARY);
    char *before = dump_registry(&scratch);
    for (size_t i = 0; i < mx_countof(refusals); i++) {
        struct applied applied = apply_plan(&scratch, refusals[i].plan, false);
        CHECK(applied.code == 1);
        CHECK_TEXT(applied.text, refusals[i].expected);
        free(applied.text);
    }
    char *after = dump_registry(&scratch);
    CHECK_TEXT(after, before);
    free(before);
    free(after);
    scratch_close(&scratch);
}

/* A plan that is good but for one line, wherever that line is, changes nothing. */
static void check_every_position(void)
{
    static const char *const good[] = {
        "{\"@type\":\"create\",\"object\":\"Domain\",\"value\":{\"n1\":{\"name\":\"new.example\"}}}"
        "\n",
        "{\"@type\":\"create\",\"object\":\"Account\",\"value\":{\"n2\":{\"@type\":\"User\","
        "\"name\":\"n\","
        "\"domainId\":\"#n1\"}}}\n",
        "{\"@type\":\"update\",\"object\":\"MtaStageData\",\"value\":{\"binaryMime\":true}}\n",
        "{\"@type\":\"destroy\",\"object\":\"Account\",\"value\":{\"name\":\"bob\"}}\n",
    };
    static const char bad[] =
        "{\"@type\":\"create\",\"object\":\"Domain\",\"value\":{\"x\":{\"name\":\"\"}}}\n";
    struct scratch scratch;
    scratch_open(&scratch);
    apply_good(&scratch, BASE, BASE_SUMMARY);
    char *before = dump_registry(&scratch);
    for (size_t position = 0; position <= mx_countof(good); position++) {
        char plan[4096] = "";
        size_t len = 0;
        for (size_t i = 0; i <= mx_countof(good); i++) {
            const char *line = i == position ? bad : good[i - (i > position)];
            len += (size_t)snprintf(plan + len, sizeof(plan) - len, "%s", line);
        }
        struct applied applied = apply_plan(&scratch, plan, false);
        char expected[256];
        snprintf(expected, sizeof(expected),
                 "error: line %zu, Domain 'x', field name: may not be empty\n"
                 "1 error; nothing was changed\n",
                 position + 1);
        CHECK(applied.code == 1);
        CHECK_TEXT(applied.text, expected);
        free(applied.text);
        char *after = dump_registry(&scratch);
        CHECK_TEXT(after, before);
        free(after);
    }
    free(before);
    scratch_close(&scratch);
}

static void check_many_errors(void)
{
    struct scratch scratch;
    char *plan = NULL;
    size_t len = 0;
    FILE *out = open_memstream(&plan, &len);
    for (int i = 0; i < 250; i++) {
        fprintf(out, "{\"@type\":\"create\",\"object\":\"Domain\",\"value\":{\"d%d\":{}}}\n", i);
    }
    fclose(out);
    scratch_open(&scratch);
    struct applied applied = apply_plan(&scratch, plan, false);
    CHECK(applied.code == 1);
    CHECK_HAS(applied.text, "error: line 100, Domain 'd99', field name: is required\n"
                            "error: 150 more errors\n250 errors; nothing was changed\n");
    free(applied.text);
    free(plan);
    scratch_close(&scratch);
}

static void check_dry_run(void)
{
    struct scratch scratch;
    scratch_open(&scratch);
    struct applied applied = apply_plan(&scratch, BASE, true);
    CHECK(applied.code == 0);
    CHECK_TEXT(applied.text, "line 1: create Domain example.org as #d1\n"
                             "line 1: create Domain example.net as #d2\n"
                             "line 2: create Account alice@example.org as #u1\n"
                             "line 2: create Account bob@example.org as #u2\n"
                             "line 3: create MtaRoute source as #r1\n"
                             "line 4: update MtaOutboundStrategy: route\n"
                             "line 5: update SystemSettings: defaultDomainId\n"
                             "dry run: " BASE_SUMMARY);
    free(applied.text);
    CHECK(access(scratch.data, F_OK) != 0); /* not even the folder */
    apply_good(&scratch, BASE, BASE_SUMMARY);
    char *before = dump_registry(&scratch);
    applied = apply_plan(&scratch,
                         "{\"@type\":\"update\",\"object\":\"SystemSettings\",\"value\":{"
                         "\"defaultDomainId\":null,\"maxConnections\":5}}\n"
                         "{\"@type\":\"destroy\",\"object\":\"Account\"}\n",
                         true);
    CHECK_TEXT(applied.text,
               "line 2: destroy Account alice@example.org\n"
               "line 2: destroy Account bob@example.org\n"
               "line 1: update SystemSettings: defaultDomainId, maxConnections\n"
               "dry run: created 0, updated 1, destroyed 2, unchanged 0; generation 3\n");
    free(applied.text);
    char *after = dump_registry(&scratch);
    CHECK_TEXT(after, before);
    free(before);
    free(after);
    scratch_close(&scratch);
}

/* Destroys run first, the last line first; so a teardown is written parents first. */
static void check_order(void)
{
    struct scratch scratch;
    scratch_open(&scratch);
    apply_good(&scratch, BASE, BASE_SUMMARY);
    apply_good(&scratch,
               "{\"@type\":\"update\",\"object\":\"SystemSettings\",\"value\":{\"defaultDomainId\":"
               "null}}\n",
               "created 0, updated 1, destroyed 0, unchanged 0; generation 3\n");
    apply_good(&scratch,
               "{\"@type\":\"create\",\"object\":\"Domain\",\"value\":{\"d\":{\"name\":\"example."
               "org\"}}}\n"
               "{\"@type\":\"destroy\",\"object\":\"Domain\"}\n"
               "{\"@type\":\"destroy\",\"object\":\"Account\",\"value\":{\"@type\":\"User\"}}\n"
               "{\"@type\":\"update\",\"object\":\"Domain\",\"id\":\"#d\",\"value\":{"
               "\"description\":\"new\"}}\n",
               "created 1, updated 1, destroyed 4, unchanged 0; generation 4\n");
    CHECK(count_rows(&scratch, "SELECT count(*) FROM domains") == 1);
    CHECK(count_rows(&scratch, "SELECT count(*) FROM domain_names") == 1);
    CHECK(count_rows(&scratch, "SELECT count(*) FROM accounts") == 0);
    CHECK(count_rows(&scratch, "SELECT count(*) FROM addresses") == 0);
    /* A log row per change: before and after. */
    CHECK(count_rows(&scratch, "SELECT count(*) FROM changes WHERE generation = 4") == 6);
    CHECK(count_rows(&scratch, "SELECT count(*) FROM changes WHERE generation = 4 AND after IS "
                               "NULL AND before LIKE '%\"name\":%' AND who = 'test' AND time_ms > "
                               "1700000000000") == 4);
    scratch_close(&scratch);
}

static void check_upsert(void)
{
    static const char plan[] =
        "{\"@type\":\"upsert\",\"object\":\"Domain\",\"value\":{\"d1\":{\"name\":\"Example.ORG\","
        "\"description\":\"one\"}}}\n"
        "{\"@type\":\"upsert\",\"object\":\"Account\",\"matchOn\":[\"name\",\"domainId\"],"
        "\"value\":{"
        "\"a\":{\"@type\":\"User\",\"name\":\"Alice\",\"domainId\":\"#d1\",\"description\":\"x\"},"
        "\"c\":{\"@type\":\"User\",\"name\":\"carol\",\"domainId\":\"#d1\"}}}\n"
        "{\"@type\":\"upsert\",\"object\":\"MtaRoute\",\"scope\":{\"@type\":\"Relay\"},\"value\":{"
        "\"r\":{\"name\":\"source\",\"port\":2525}}}\n";
    struct scratch scratch;
    scratch_open(&scratch);
    apply_good(&scratch, BASE, BASE_SUMMARY);
    apply_good(&scratch, plan, "created 1, updated 3, destroyed 0, unchanged 0; generation 3\n");
    apply_good(&scratch, plan, "created 0, updated 0, destroyed 0, unchanged 4; generation 3\n");
    CHECK(count_rows(&scratch, "SELECT count(*) FROM objects WHERE label = 'source' AND json LIKE "
                               "'%\"address\":\"192.0.2.25\",\"port\":2525%'") == 1);
    /* alice kept what the plan did not name */
    CHECK(count_rows(&scratch, "SELECT count(*) FROM addresses WHERE local = 'a.smith'") == 1);
    /* by a property that is not unique, through a scan; ambiguous when two match */
    apply_good(
        &scratch,
        "{\"@type\":\"upsert\",\"object\":\"Account\",\"matchOn\":[\"description\"],\"value\":{"
        "\"q\":{\"@type\":\"User\",\"description\":\"x\",\"name\":\"alice2\"}}}\n",
        "created 0, updated 1, destroyed 0, unchanged 0; generation 4\n");
    struct applied applied =
        apply_plan(&scratch,
                   "{\"@type\":\"upsert\",\"object\":\"Account\",\"matchOn\":[\"description\"],"
                   "\"value\":{\"q\":{"
                   "\"@type\":\"User\",\"description\":null,\"name\":\"z\"}}}\n",
                   false);
    CHECK_TEXT(applied.text, "error: line 1, Account 'q': several existing objects match; name "
                             "more properties in matchOn\n1 error; nothing was changed\n");
    free(applied.text);
    scratch_close(&scratch);
}

static void check_reconcile(void)
{
    struct scratch scratch;
    scratch_open(&scratch);
    apply_good(&scratch, BASE, BASE_SUMMARY);
    apply_good(
        &scratch,
        "{\"@type\":\"reconcile\",\"object\":\"MtaRoute\",\"matchOn\":[\"name\"],\"scope\":{"
        "\"@type\":\"Relay\"},\"value\":{\"r\":{\"name\":\"new\",\"address\":\"h.example\"}}}\n"
        "{\"@type\":\"update\",\"object\":\"MtaOutboundStrategy\",\"value\":{\"route\":{\"else\":"
        "\"'new'\"}}}\n",
        "created 1, updated 1, destroyed 1, unchanged 0; generation 3\n");
    CHECK(count_rows(&scratch, "SELECT count(*) FROM objects WHERE type = 'MtaRoute'") == 3);
    /* an account that another line of the plan touches stays */
    apply_good(
        &scratch,
        "{\"@type\":\"upsert\",\"object\":\"Domain\",\"value\":{\"d\":{\"name\":\"example.org\"}}}"
        "\n"
        "{\"@type\":\"upsert\",\"object\":\"Account\",\"matchOn\":[\"name\",\"domainId\"],"
        "\"value\":{"
        "\"k\":{\"@type\":\"User\",\"name\":\"bob\",\"domainId\":\"#d\"}}}\n"
        "{\"@type\":\"reconcile\",\"object\":\"Account\",\"matchOn\":[\"name\",\"domainId\"],"
        "\"scope\":{\"domainId\":\"#d\"},\"value\":{\"n\":{\"@type\":\"User\",\"name\":\"dave\"}}}"
        "\n",
        "created 1, updated 0, destroyed 1, unchanged 2; generation 4\n");
    CHECK(count_rows(&scratch, "SELECT count(*) FROM accounts WHERE local IN ('bob', 'dave')") ==
          2);
    CHECK(count_rows(&scratch, "SELECT count(*) FROM accounts") == 2);
    scratch_close(&scratch);
}

static void check_command(void)
{
    static const struct {
        const char *args[6];
        const char *text;
    } bad[] = {
        {{"apply"}, "error: --data is missing\n"},
        {{"apply", "--data"}, "error: --data needs a folder\n"},
        {{"apply", "--data", "x"}, "error: the plan is missing\n"},
        {{"apply", "--data", "x", "--frob"}, "error: unknown option --frob\n"},
        {{"apply", "--data", "x", "a", "b"}, "error: more than one plan\n"},
        {{"apply", "--data", "x", "--explain"}, "error: --explain needs a file\n"},
        {{"apply", "--data", "x", "--explain", "f", "a"}, "error: --explain is for --dry-run\n"},
    };
    for (size_t i = 0; i < mx_countof(bad); i++) {
        char *argv[6];
        int argc = 0;
        while (argc < 6 && bad[i].args[argc]) {
            argv[argc] = strdup(bad[i].args[argc]);
            argc++;
        }
        char *text = NULL;
        size_t len = 0;
        FILE *out = open_memstream(&text, &len);
        CHECK(plan_apply_command(argc, argv, out, out) == PLAN_EXIT_USAGE);
        fclose(out);
        CHECK_HAS(text, bad[i].text);
        CHECK_HAS(text,
                  "usage: ringmx apply --data DIR [--dry-run [--explain FILE]] plan.ndjson\n");
        free(text);
        while (argc > 0) {
            free(argv[--argc]);
        }
    }
}

/* Bytes of a good plan changed, removed and doubled: never a crash, and an error is always said. */
enum { MUTATIONS = 1500 };

static uint64_t next_random(uint64_t *state)
{
    *state = *state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return *state >> 33;
}

static void mutate(char *plan, uint64_t *state)
{
    static const char bytes[] = "{}[]\":,#/~ntrue0-9@x\\\n";
    size_t changes = 1 + next_random(state) % 4;
    for (size_t i = 0; i < changes; i++) {
        size_t len = strlen(plan);
        size_t at = next_random(state) % len;
        size_t span = mx_min_size(1 + next_random(state) % 8, len - at);
        switch (next_random(state) % 3) {
        case 0:
            plan[at] = bytes[next_random(state) % (sizeof(bytes) - 1)];
            break;
        case 1:
            memmove(plan + at, plan + at + span, len - at - span + 1);
            break;
        default:
            memmove(plan + at + span, plan + at, len - at + 1);
            break;
        }
    }
}

static void check_mutations(void)
{
    struct scratch scratch;
    uint64_t state = 20261124;
    int refused = 0;
    scratch_open(&scratch);
    for (int i = 0; i < MUTATIONS; i++) {
        char plan[sizeof(BASE) + 64] = BASE;
        uint64_t seed = state;
        mutate(plan, &state);
        struct applied applied = apply_plan(&scratch, plan, true);
        bool said = applied.code == 0 ? strstr(applied.text, "dry run: created ") != NULL
                                      : strstr(applied.text, "error: ") != NULL &&
                                            strstr(applied.text, "nothing was changed\n") != NULL;
        if (!said) {
            failures++;
            fprintf(stderr, "seed %llu: code %d\n%s\n", (unsigned long long)seed, applied.code,
                    applied.text);
        }
        refused += applied.code != 0;
        free(applied.text);
    }
    CHECK(refused > MUTATIONS / 2);
    CHECK(access(scratch.data, F_OK) != 0);
    scratch_close(&scratch);
}

int main(void)
{
    check_refusals();
    check_every_position();
    check_many_errors();
    check_dry_run();
    check_order();
    check_upsert();
    check_reconcile();
    check_command();
    check_mutations();
    return report("plan");
}
