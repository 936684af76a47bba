/* A scratch store with an api on it: request texts in, answers out as JSON. */
#pragma once

#include "tests/admin/support.h"

#include "admin/api.h"

#include <zlib.h>

/* What the hooks of the bed do and have seen. */
struct api_bed {
    struct store *store;
    struct api *api;
    const char *lacks;       /* the caller lacks this permission; NULL = has all */
    const char *refuse_name; /* prepare refuses an object with this name */
    bool refuse_unknown;     /* and does not say which one it is */
    mx_err prepare_result;   /* unless MX_OK: of every prepare */
    mx_err publish_result;
    unsigned prepared, discarded, published;
    size_t last_count; /* changes of the last prepare */
};

static inline bool bed_may(void *arg, const char *permission)
{
    struct api_bed *bed = arg;
    return !bed->lacks || strcmp(bed->lacks, permission) != 0;
}

static inline enum api_sign_in bed_authenticate(void *arg, struct slice authorization,
                                                const struct netaddr *peer,
                                                struct api_caller *out_caller)
{
    (void)peer;
    if (slice_equal(authorization, SLICE_LITERAL("Basic blocked"))) {
        return API_BLOCKED;
    }
    if (slice_equal(authorization, SLICE_LITERAL("Basic often"))) {
        return API_SLOW_DOWN;
    }
    if (slice_equal(authorization, SLICE_LITERAL("Basic unknown"))) {
        return API_UNKNOWN;
    }
    if (!slice_equal(authorization, SLICE_LITERAL("Basic good"))) {
        return API_REFUSED;
    }
    *out_caller =
        (struct api_caller){.name = "admin", .account_id = "d333333", .arg = arg, .may = bed_may};
    return API_SIGNED_IN;
}

static inline mx_err bed_prepare(void *arg, const struct object_change *changes, size_t count,
                                 struct api_problem *problem)
{
    struct api_bed *bed = arg;
    bed->prepared++;
    bed->last_count = count;
    if (bed->prepare_result) {
        snprintf(problem->text, sizeof(problem->text), "core 3 is behind");
        return bed->prepare_result;
    }
    for (size_t i = 0; i < count; i++) {
        const char *name = json_string_value(json_object_get(changes[i].after, "name"));
        if (bed->refuse_name && name && strcmp(name, bed->refuse_name) == 0) {
            snprintf(problem->text, sizeof(problem->text), "does not compile");
            snprintf(problem->property, sizeof(problem->property), "name");
            problem->change = bed->refuse_unknown ? API_ANY_CHANGE : i;
            return MX_ERR_INVALID;
        }
    }
    return MX_OK;
}

static inline void bed_discard(void *arg)
{
    ((struct api_bed *)arg)->discarded++;
}

static inline mx_err bed_publish(void *arg, const struct object_change *changes, size_t count,
                                 struct api_problem *problem)
{
    struct api_bed *bed = arg;
    (void)changes;
    CHECK(count == bed->last_count);
    bed->published++;
    if (bed->publish_result) {
        snprintf(problem->text, sizeof(problem->text), "core 3 is behind");
    }
    return bed->publish_result;
}

static inline void bed_open_with(struct api_bed *bed, struct slice public_url,
                                 const struct api_foreign *foreign, size_t foreign_count)
{
    struct config_problem problem;
    *bed = (struct api_bed){0};
    if (store_open_scratch(&bed->store, &problem)) {
        fprintf(stderr, "%s\n", problem.text);
        exit(2);
    }
    struct api_conf conf = {.store = bed->store,
                            .public_url = public_url,
                            .arg = bed,
                            .authenticate = bed_authenticate,
                            .prepare = bed_prepare,
                            .discard = bed_discard,
                            .publish = bed_publish,
                            .foreign = foreign,
                            .foreign_count = foreign_count};
    if (api_new(&bed->api, &conf)) {
        exit(2);
    }
}

static inline void bed_open(struct api_bed *bed)
{
    bed_open_with(bed, SLICE_EMPTY, NULL, 0);
}

static inline void bed_close(struct api_bed *bed)
{
    api_free(bed->api);
    store_close(bed->store);
}

static inline struct api_request bed_request(const char *method, const char *path, const char *body)
{
    return (struct api_request){.method = slice_of_text(method),
                                .path = slice_of_text(path),
                                .host = SLICE_LITERAL("mx.example.org:8080"),
                                .authorization = SLICE_LITERAL("Basic good"),
                                .content_type = SLICE_LITERAL("application/json"),
                                .body = slice_of_text(body)};
}

static inline void answer_done(struct api_answer *answer)
{
    if (!answer->is_static) {
        free(answer->body);
    }
}

/* The body of an answer; a new reference. */
static inline json_t *answer_json(const struct api_answer *answer)
{
    json_error_t error;
    json_t *body = json_loadb((const char *)answer->body, answer->len, 0, &error);
    if (!body) {
        failures++;
        fprintf(stderr, "not JSON: %s\n", error.text);
    }
    return body;
}

/* Runs method calls, given as the text of the array; gives the whole answer. */
static inline json_t *bed_post(struct api_bed *bed, const char *calls, const char *created)
{
    char *body = NULL;
    size_t len = 0;
    FILE *out = open_memstream(&body, &len);
    fprintf(out,
            "{\"using\":[\"urn:ietf:params:jmap:core\",\"urn:stalwart:jmap\"],"
            "\"methodCalls\":%s",
            calls);
    if (created) {
        fprintf(out, ",\"createdIds\":%s", created);
    }
    fprintf(out, "}");
    fclose(out);
    struct api_request request = bed_request("POST", "/jmap", body);
    struct api_answer answer;
    api_run(bed->api, &request, &answer);
    json_t *json = answer_json(&answer);
    if (answer.status != 200) {
        failures++;
        fprintf(stderr, "status %u for %s\n", answer.status, body);
    }
    answer_done(&answer);
    free(body);
    return json;
}

/* One method call: ["x:Domain/get", {...}]; gives the response's name and arguments as
 * [name, {...}]. */
static inline json_t *bed_call(struct api_bed *bed, const char *method, const char *args)
{
    char *calls = NULL;
    size_t len = 0;
    FILE *out = open_memstream(&calls, &len);
    fprintf(out, "[[\"%s\",%s,\"c0\"]]", method, args);
    fclose(out);
    json_t *answer = bed_post(bed, calls, NULL);
    json_t *response = json_array_get(json_object_get(answer, "methodResponses"), 0);
    CHECK(json_array_size(response) == 3);
    json_t *result = json_pack("[O,O]", json_array_get(response, 0), json_array_get(response, 1));
    json_decref(answer);
    free(calls);
    return result;
}

/* A call and its expected response as [name, {...}]. */
#define EXPECT(bed, method, args, expected) \
    expect_call((bed), (method), (args), (expected), __FILE__, __LINE__)

static inline void expect_json(const json_t *actual, const char *expected, const char *file,
                               int line)
{
    json_error_t error;
    json_t *want = json_loads(expected, JSON_DECODE_ANY, &error);
    if (!want || !json_equal(actual, want)) {
        char *text = json_dumps(actual, JSON_ENCODE_ANY);
        failures++;
        fprintf(stderr, "%s:%d: expected:\n%s%s\nbut was:\n%s\n", file, line, expected,
                want ? "" : " (not JSON)", text ? text : "nothing");
        free(text);
    }
    json_decref(want);
}

static inline void expect_call(struct api_bed *bed, const char *method, const char *args,
                               const char *expected, const char *file, int line)
{
    json_t *result = bed_call(bed, method, args);
    expect_json(result, expected, file, line);
    json_decref(result);
}

/* The id of what a create with the creation id n0 made, into id. */
static inline void bed_create(struct api_bed *bed, const char *type, const char *body,
                              char id[OBJECT_ID_TEXT_MAX + 1])
{
    char *args = NULL;
    size_t len = 0;
    char method[64];
    FILE *out = open_memstream(&args, &len);
    fprintf(out, "{\"create\":{\"n0\":%s}}", body);
    fclose(out);
    snprintf(method, sizeof(method), "x:%s/set", type);
    json_t *result = bed_call(bed, method, args);
    const json_t *created = json_object_get(json_array_get(result, 1), "created");
    const char *text = json_string_value(json_object_get(json_object_get(created, "n0"), "id"));
    if (!text) {
        char *shown = json_dumps(result, 0);
        failures++;
        fprintf(stderr, "not created: %s: %s\n", args, shown);
        free(shown);
    }
    snprintf(id, OBJECT_ID_TEXT_MAX + 1, "%s", text ? text : "");
    json_decref(result);
    free(args);
}
