/* Expressions of objects are compiled: what is wrong is found with its place. */
#include "tests/admin/validate_support.h"

static void check_expressions(void)
{
    static const struct object_case bad[] = {
        {"MtaOutboundStrategy", "{\"route\":{\"else\":\"no_such_thing\"}}",
         "route/else: at position "},
        {"MtaOutboundStrategy",
         "{\"route\":{\"match\":{\"4\":{\"if\":\"is_local_domain(\",\"then\":\"'x'\"}},\"else\":\"'"
         "mx'\"}}",
         "route/match/0/if: at position "},
        {"MtaOutboundStrategy", "{\"route\":{\"else\":\"rcpt_domain\"}}",
         "route: every result must be the name of one MtaRoute in quotes"},
        {"MtaInboundSession", "{\"timeout\":{\"else\":\"'5m'\"}}",
         "timeout: must be a duration such as 5m\n"},
        {"MtaInboundSession", "{\"timeout\":{\"else\":\"local_port\"}}",
         "timeout: every result must be a duration such as 5m: a computed one"},
        {"MtaInboundSession", "{\"timeout\":{\"else\":\"rcpt\"}}",
         "timeout/else: at position 0: unknown or unavailable name"},
        {"MtaStageData",
         "{\"maxMessageSize\":{\"match\":{\"0\":{\"if\":\"is_tls\",\"then\":\"5\"}},\"else\":"
         "\"5000\"}}",
         "maxMessageSize: must be 1024 to 1099511627776\n"},
    };
    for (size_t i = 0; i < mx_countof(bad); i++) {
        struct set_errors errors;
        errors.count = 0;
        json_t *body = parse(bad[i].body);
        json_t *normal = object_normalize(type_of(bad[i].type), body, NULL, &errors);
        char *text = errors_text(&errors);
        CHECK(!normal && errors.count == 1);
        CHECK_HAS(text, bad[i].expected);
        free(text);
        json_decref(normal);
        json_decref(body);
    }
}

int main(void)
{
    check_expressions();
    return report("expressions of objects");
}
