/* The documents around JMAP, sign-in, and errors of whole requests. */
#include "tests/admin/api_support.h"

static void run(struct api_bed *bed, const struct api_request *request, struct api_answer *answer)
{
    api_run(bed->api, request, answer);
}

static void check_status(struct api_bed *bed, const char *method, const char *path,
                         unsigned expected)
{
    struct api_request request = bed_request(method, path, "");
    struct api_answer answer;
    run(bed, &request, &answer);
    if (answer.status != expected) {
        failures++;
        fprintf(stderr, "%s %s: expected %u, was %u\n", method, path, expected, answer.status);
    }
    answer_done(&answer);
}

static void check_options(struct api_bed *bed, const char *path, const char *allowed)
{
    struct api_request request = bed_request("OPTIONS", path, "");
    struct api_answer answer;
    run(bed, &request, &answer);
    CHECK(answer.status == 204 && answer.len == 0);
    CHECK_TEXT(answer.allow, allowed);
    answer_done(&answer);
}

static void check_paths(struct api_bed *bed)
{
    check_options(bed, "/jmap", "POST, OPTIONS");
    check_options(bed, "/api/schema", "GET, HEAD, OPTIONS");
    check_status(bed, "GET", "/jmap", 405);
    check_status(bed, "POST", "/jmap/session", 405);
    check_status(bed, "GET", "/jmap/sessions", 404);
    check_status(bed, "GET", "/api/schemas", 404);
    check_status(bed, "GET", "/", 404);
    check_status(bed, "GET", "", 404);
    struct api_request request = bed_request("GET", "/.well-known/jmap", "");
    struct api_answer answer;
    run(bed, &request, &answer);
    CHECK(answer.status == 307 && answer.len == 0);
    CHECK_TEXT(answer.location, "/jmap/session");
    CHECK_TEXT(answer.cache_control, "no-cache");
    answer_done(&answer);
}

static void check_sign_in(struct api_bed *bed)
{
    static const char *const paths[][2] = {{"POST", "/jmap"},       {"POST", "/jmap/"},
                                           {"GET", "/api/schema"},  {"GET", "/api/schema/x"},
                                           {"GET", "/api/account"}, {"GET", "/jmap/session"}};
    static const struct {
        const char *authorization;
        unsigned status;
        uint32_t retry_after_s;
    } cases[] = {{"Basic wrong", 401, 0},
                 {"Basic blocked", 403, 0},
                 {"Basic often", 429, API_RETRY_AFTER_S},
                 {"Basic unknown", 503, 0}};
    for (size_t p = 0; p < mx_countof(paths); p++) {
        for (size_t i = 0; i < mx_countof(cases); i++) {
            struct api_request request = bed_request(paths[p][0], paths[p][1], "{}");
            request.authorization = slice_of_text(cases[i].authorization);
            struct api_answer answer;
            run(bed, &request, &answer);
            CHECK(answer.status == cases[i].status);
            CHECK_TEXT(answer.content_type, "application/problem+json");
            CHECK(answer.retry_after_s == cases[i].retry_after_s);
            answer_done(&answer);
        }
    }
    struct api_request request = bed_request("POST", "/jmap", "{}");
    request.authorization = SLICE_EMPTY;
    struct api_answer answer;
    run(bed, &request, &answer);
    CHECK(answer.status == 401);
    json_t *body = answer_json(&answer);
    expect_json(body,
                "{\"type\":\"about:blank\",\"status\":401,\"title\":\"Unauthorized\","
                "\"detail\":\"You have to authenticate first.\"}",
                __FILE__, __LINE__);
    json_decref(body);
    answer_done(&answer);
}

static json_t *session(struct api_bed *bed, const char *authorization, const char *host, bool tls)
{
    struct api_request request = bed_request("GET", "/jmap/session", "");
    struct api_answer answer;
    request.authorization = slice_of_text(authorization);
    request.host = slice_of_text(host);
    request.tls = tls;
    run(bed, &request, &answer);
    CHECK(answer.status == 200);
    CHECK_TEXT(answer.content_type, "application/json; charset=utf-8");
    json_t *body = answer_json(&answer);
    answer_done(&answer);
    return body;
}

static void check_url(struct api_bed *bed, const char *host, bool tls, const char *expected)
{
    json_t *body = session(bed, "Basic good", host, tls);
    CHECK_TEXT(json_string_value(json_object_get(body, "apiUrl")), expected);
    json_decref(body);
}

static void check_session(struct api_bed *bed)
{
    json_t *body = session(bed, "Basic good", "mx.example.org", false);
    expect_json(json_object_get(json_object_get(body, "capabilities"), "urn:ietf:params:jmap:core"),
                "{\"maxSizeUpload\":0,\"maxConcurrentUpload\":1,\"maxSizeRequest\":10000000,"
                "\"maxConcurrentRequests\":4,\"maxCallsInRequest\":16,\"maxObjectsInGet\":500,"
                "\"maxObjectsInSet\":500,\"collationAlgorithms\":[]}",
                __FILE__, __LINE__);
    expect_json(json_object_get(body, "accounts"),
                "{\"d333333\":{\"name\":\"admin\",\"isPersonal\":true,\"isReadOnly\":false,"
                "\"accountCapabilities\":{\"urn:stalwart:jmap\":{}}}}",
                __FILE__, __LINE__);
    CHECK_TEXT(json_string_value(json_object_get(body, "username")), "admin");
    json_decref(body);
    body = session(bed, "", "mx.example.org", false);
    expect_json(json_object_get(body, "accounts"), "{}", __FILE__, __LINE__);
    expect_json(json_object_get(body, "primaryAccounts"), "{}", __FILE__, __LINE__);
    json_decref(body);
    check_url(bed, "mx.example.org:8080", false, "http://mx.example.org:8080/jmap/");
    check_url(bed, "[2001:db8::1]", true, "https://[2001:db8::1]/jmap/");
    /* A host that could lead elsewhere is not repeated. */
    check_url(bed, "evil/../x", true, "/jmap/");
    check_url(bed, "a\"b", true, "/jmap/");
    check_url(bed, "user@host", true, "/jmap/");
    check_url(bed, "", true, "/jmap/");
    struct api_bed other;
    bed_open_with(&other, SLICE_LITERAL(" https://mx.example.net/admin/ "), NULL, 0);
    check_url(&other, "mx.example.org", false, "https://mx.example.net/admin/jmap/");
    bed_close(&other);
}

static void check_account(struct api_bed *bed)
{
    struct api_request request = bed_request("GET", "/api/account", "");
    struct api_answer answer;
    bed->lacks = "sysDomainDestroy";
    run(bed, &request, &answer);
    bed->lacks = NULL;
    CHECK(answer.status == 200);
    char *text = strndup((const char *)answer.body, answer.len);
    CHECK_HAS(text, "\"sysDomainCreate\"");
    CHECK_HAS(text, "\"sysSystemSettingsUpdate\"");
    CHECK(strstr(text, "sysDomainDestroy") == NULL);
    CHECK(strstr(text, "sysSystemSettingsCreate") == NULL);
    CHECK_HAS(text, "\"edition\":\"oss\",\"locale\":\"en_US\"");
    free(text);
    answer_done(&answer);
}

/* Requests that are refused as a whole. */
static void check_request_errors(struct api_bed *bed)
{
    static const struct {
        const char *body, *type, *part;
    } cases[] = {
        {"", "notRequest", "no body"},
        {"{", "notRequest", "line"},
        {"[]", "notRequest", "object"},
        {"{\"using\":[],\"using\":[],\"methodCalls\":[]}", "notRequest", "uplicate"},
        {"{\"methodCalls\":[]}", "notRequest", "using"},
        {"{\"using\":[\"urn:x\"],\"methodCalls\":[]}", "notRequest", "capability"},
        {"{\"using\":[]}", "notRequest", "methodCalls"},
        {"{\"using\":[],\"methodCalls\":{}}", "notRequest", "methodCalls"},
        {"{\"using\":[],\"methodCalls\":[[\"a\",{}]]}", "notRequest", "method call"},
        {"{\"using\":[],\"methodCalls\":[[\"a\",[],\"c\"]]}", "notRequest", "method call"},
        {"{\"using\":[],\"methodCalls\":[],\"createdIds\":[]}", "notRequest", "createdIds"},
        {"{\"using\":[],\"methodCalls\":[],\"createdIds\":{\"a\":1}}", "notRequest", "createdIds"},
    };
    for (size_t i = 0; i < mx_countof(cases); i++) {
        struct api_request request = bed_request("POST", "/jmap", cases[i].body);
        struct api_answer answer;
        run(bed, &request, &answer);
        char *text = strndup((const char *)answer.body, answer.len);
        CHECK(answer.status == 400);
        CHECK_TEXT(answer.content_type, "application/problem+json");
        CHECK_HAS(text, cases[i].type);
        CHECK_HAS(text, cases[i].part);
        free(text);
        answer_done(&answer);
    }
}

static void expect_refused(struct api_bed *bed, const char *type, struct slice body,
                           const char *part)
{
    struct api_request request = bed_request("POST", "/jmap", "");
    struct api_answer answer;
    request.content_type = slice_of_text(type);
    request.body = body;
    run(bed, &request, &answer);
    char *text = strndup((const char *)answer.body, answer.len);
    CHECK(answer.status == 400);
    CHECK_HAS(text, part);
    free(text);
    answer_done(&answer);
}

static void check_bounds(struct api_bed *bed)
{
    expect_refused(bed, "text/plain", SLICE_LITERAL("{}"), "error:notJSON");
    expect_refused(bed, "", SLICE_LITERAL("{}"), "error:notJSON");
    expect_refused(bed, "application/json; charset=utf-8", SLICE_LITERAL("{}"), "error:notRequest");
    size_t len = API_BODY_MAX + 1;
    char *large = malloc(len);
    memset(large, ' ', len);
    expect_refused(bed, "application/json", slice_of(large, len), "\"limit\":\"maxSizeRequest\"");
    memset(large, '[', len);
    expect_refused(bed, "application/json", slice_of(large, len - 1), "nested deeper");
    free(large);
    char calls[2048] = "{\"using\":[],\"methodCalls\":[";
    for (int i = 0; i <= API_CALLS_MAX; i++) {
        snprintf(calls + strlen(calls), sizeof(calls) - strlen(calls), "%s[\"Core/echo\",{},\"c\"]",
                 i ? "," : "");
    }
    snprintf(calls + strlen(calls), sizeof(calls) - strlen(calls), "]}");
    expect_refused(bed, "application/json", slice_of_text(calls),
                   "\"limit\":\"maxCallsInRequest\"");
    /* Brackets inside of strings are no nesting. */
    char deep[300] = "[[\"Core/echo\",{\"a\":\"";
    memset(deep + strlen(deep), '[', API_DEPTH_MAX + 10);
    strcat(deep, "\\\"[\"},\"c\"]]");
    json_t *answer = bed_post(bed, deep, NULL);
    CHECK(json_array_size(json_object_get(answer, "methodResponses")) == 1);
    json_decref(answer);
}

int main(void)
{
    struct api_bed bed;
    bed_open(&bed);
    check_paths(&bed);
    check_sign_in(&bed);
    check_session(&bed);
    check_account(&bed);
    check_request_errors(&bed);
    check_bounds(&bed);
    bed_close(&bed);
    return report("check_api_http");
}
