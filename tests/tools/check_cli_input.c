/* What the user types, as JSON. */
#include "support.h"
#include "tools/cli/fail.h"
#include "tools/cli/input.h"

static json_t *properties;

static void make_properties(void)
{
    properties = json_loads(
        "{\"name\":{\"type\":{\"type\":\"string\",\"format\":\"string\"}},"
        "\"note\":{\"type\":{\"type\":\"string\",\"format\":\"string\",\"nullable\":true}},"
        "\"isEnabled\":{\"type\":{\"type\":\"boolean\"}},"
        "\"port\":{\"type\":{\"type\":\"number\",\"format\":\"unsignedInteger\"}},"
        "\"ratio\":{\"type\":{\"type\":\"number\",\"format\":\"float\"}},"
        "\"due\":{\"type\":{\"type\":\"utcDateTime\"}},"
        "\"kind\":{\"type\":{\"type\":\"enum\",\"enumName\":\"Kind\"}},"
        "\"domainId\":{\"type\":{\"type\":\"objectId\",\"objectName\":\"x:Domain\"}},"
        "\"route\":{\"type\":{\"type\":\"object\",\"objectName\":\"x:Expression\"}},"
        "\"list\":{\"type\":{\"type\":\"objectList\",\"objectName\":\"x:A\"}},"
        "\"set\":{\"type\":{\"type\":\"set\"}},\"map\":{\"type\":{\"type\":\"map\"}}}",
        0, NULL);
    CHECK(properties != NULL, "the properties");
}

/* expected NULL: refused, with that part in the reason. */
struct input_case {
    const char *text, *expected, *reason;
};

static void run(const struct input_case *cases, size_t count,
                bool (*input)(json_t *out, const char *text))
{
    for (size_t i = 0; i < count; i++) {
        json_t *out = json_object();
        fail("nothing");
        if (input(out, cases[i].text)) {
            check_json(out, cases[i].expected, cases[i].text);
            continue;
        }
        json_decref(out);
        CHECK(cases[i].expected == NULL, cases[i].text);
        CHECK(cases[i].reason != NULL && strstr(fail_text(), cases[i].reason) != NULL, fail_text());
    }
}

static bool as_create(json_t *out, const char *text)
{
    return input_field(out, text, properties, INPUT_CREATE);
}

static bool as_update(json_t *out, const char *text)
{
    return input_field(out, text, properties, INPUT_UPDATE);
}

static bool as_where(json_t *out, const char *text)
{
    return input_where(out, text, properties);
}

static void create_fields(void)
{
    static const struct input_case cases[] = {
        {"name=a", "{\"name\":\"a\"}"},
        {"NAME=a=b", "{\"name\":\"a=b\"}"},
        {"name=", "{\"name\":\"\"}"},
        {"name=true", "{\"name\":\"true\"}"},
        {"name=12", "{\"name\":\"12\"}"},
        {"\"name\"=x", "{\"name\":\"x\"}"},
        {"'name'=", "{\"name\":\"\"}"},
        {"@TYPE=User", "{\"@type\":\"User\"}"},
        {"note=null", "{\"note\":null}"},
        {"name=null", NULL, "null is not allowed"},
        {"isEnabled=true", "{\"isEnabled\":true}"},
        {"isEnabled=FALSE", "{\"isEnabled\":false}"},
        {"isEnabled=yes", NULL, "expected boolean"},
        {"port=25", "{\"port\":25}"},
        {"port=-1", "{\"port\":-1}"},
        {"port=+1", "{\"port\":1}"},
        {"port=", NULL, "expected integer"},
        {"port= 1", NULL, "expected integer"},
        {"port=1 ", NULL, "expected integer"},
        {"port=1.0", NULL, "expected integer"},
        {"port=0x10", NULL, "expected integer"},
        {"port=9223372036854775807", "{\"port\":9223372036854775807}"},
        {"port=9223372036854775808", NULL, "expected integer"},
        {"ratio=0.5", "{\"ratio\":0.5}"},
        {"ratio=1e400", NULL, "expected number"},
        {"ratio=nan", NULL, "expected number"},
        {"ratio=inf", NULL, "expected number"},
        {"due=2026-11-22T00:00:00Z", "{\"due\":\"2026-11-22T00:00:00Z\"}"},
        {"kind=smtp", "{\"kind\":\"smtp\"}"},
        {"domainId=b", "{\"domainId\":\"b\"}"},
        {"domainId=#d", "{\"domainId\":\"#d\"}"},
        {"route={\"else\":\"x\"}", "{\"route\":{\"else\":\"x\"}}"},
        {"name= [1]", "{\"name\":[1]}"},
        {"name={", NULL, "invalid JSON"},
        {"name={\"a\":1,\"a\":2}", NULL, "duplicate"},
        {"route=x", NULL, "takes a JSON value"},
        {"list=x", NULL, "takes a JSON value"},
        {"set=x", NULL, "takes a JSON value"},
        {"map=x", NULL, "takes a JSON value"},
        {"nam=x", NULL, "unknown field: nam"},
        {"set/a=true", NULL, "not a path"},
        {"name", NULL, "expected KEY=VALUE"},
        {"=x", NULL, "expected KEY=VALUE"},
        {"\"name=x", NULL, "expected \"KEY\"=VALUE"},
        {"\"name\"x", NULL, "expected \"KEY\"=VALUE"},
        {"\"\"=x", NULL, "expected \"KEY\"=VALUE"},
        {"name=\xff", NULL, "is not UTF-8"},
    };
    run(cases, mx_countof(cases), as_create);
}

static void update_fields(void)
{
    static const struct input_case cases[] = {
        {"name=null", "{\"name\":null}"},
        {"Set/A/b=true", "{\"set/A/b\":true}"},
        {"set/a=False", "{\"set/a\":false}"},
        {"set/a=null", "{\"set/a\":null}"},
        {"set/a=7", "{\"set/a\":7}"},
        {"set/a=1.5", "{\"set/a\":1.5}"},
        {"set/a=0x10", "{\"set/a\":\"0x10\"}"},
        {"set/a=nan", "{\"set/a\":\"nan\"}"},
        {"set/a=1.2.3.4", "{\"set/a\":\"1.2.3.4\"}"},
        {"set/a=", "{\"set/a\":\"\"}"},
        {"\"set/a=b\"=c", "{\"set/a=b\":\"c\"}"},
        {"port/x=5", "{\"port/x\":5}"},
        {"isEnabled=true", "{\"isEnabled\":true}"},
        {"sett/a=1", NULL, "unknown field: sett"},
    };
    run(cases, mx_countof(cases), as_update);
}

static void filters(void)
{
    static const struct input_case cases[] = {
        {"name=a", "{\"name\":\"a\"}"},
        {" Name =a ", "{\"name\":\"a \"}"},
        {"isEnabled=1", "{\"isEnabled\":true}"},
        {"isEnabled=No", "{\"isEnabled\":false}"},
        {"isEnabled=2", NULL, "expected boolean"},
        {"port=25", "{\"port\":25}"},
        {"port>25", "{\"portIsGreaterThan\":25}"},
        {"port>=25", "{\"portIsGreaterThanOrEqual\":25}"},
        {"port<25", "{\"portIsLessThan\":25}"},
        {"port<=25", "{\"portIsLessThanOrEqual\":25}"},
        {"due<=x", "{\"dueIsLessThanOrEqual\":\"x\"}"},
        {"other<=5", "{\"otherIsLessThanOrEqual\":\"5\"}"},
        {"other=5", "{\"other\":\"5\"}"},
        {"@type=User", "{\"@type\":\"User\"}"},
        {"name=a<b",
         "{\"name=aIsLessThan\":\"b\"}"}, /* operators are looked for in a fixed order */
        {"other=a>=b", "{\"other=aIsGreaterThanOrEqual\":\"b\"}"},
        {"name>a", NULL, "operator `>`"},
        {"port=x", NULL, "expected integer"},
        {"name", NULL, "invalid --where"},
        {"=a", NULL, "invalid --where"},
        {"", NULL, "invalid --where"},
    };
    run(cases, mx_countof(cases), as_where);
}

static void lists(void)
{
    static const struct input_case ids[] = {
        {"", "[]"},
        {" \n", "[]"},
        {"a", "[\"a\"]"},
        {"a,b", "[\"a\",\"b\"]"},
        {" a ,, b\n\tc,", "[\"a\",\"b\",\"c\"]"},
        {" [\"a\",\"b\"] ", "[\"a\",\"b\"]"},
        {"[]", "[]"},
        {"[a", "[\"[a\"]"},
    };
    for (size_t i = 0; i < mx_countof(ids); i++) {
        check_json(input_ids(ids[i].text), ids[i].expected, ids[i].text);
    }
    CHECK(input_ids("[1]") == NULL && strstr(fail_text(), "strings") != NULL, "numbers as ids");

    json_t *names = json_array();
    CHECK(input_names(names, " NAME, iD,@TYPE ,due", properties), "names");
    check_json(names, "[\"name\",\"id\",\"@type\",\"due\"]", "names");
    names = json_array();
    CHECK(!input_names(names, "name,", properties), "an empty name");
    CHECK(!input_names(names, "name,nam", properties), "an unknown name");
    CHECK_TEXT(fail_text(), "unknown field: nam", "an unknown name");
    json_decref(names);

    check_json(input_object(" {\"a\":1} "), "{\"a\":1}", "an object");
    check_json(input_object("[]"), NULL, "an array");
    check_json(input_object(""), NULL, "nothing");
}

int main(void)
{
    make_properties();
    create_fields();
    update_fields();
    filters();
    lists();
    json_decref(properties);
    return failures != 0;
}
