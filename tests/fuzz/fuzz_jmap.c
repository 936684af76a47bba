/* Requests of the management API on a small registry: no crash, always an answer that is JSON, and
 * the configuration stays whole. The first byte chooses whether the input is a whole request or
 * the arguments of a method. */
#include "fuzz.h"

#include "admin/api.h"
#include "admin/audit.h"

#include <jansson.h>

static struct store *store;
static struct api *api;
static uint64_t generation; /* of a fresh registry */

static bool may(void *arg, const char *permission)
{
    (void)arg;
    (void)permission;
    return true;
}

static enum api_sign_in authenticate(void *arg, struct slice authorization,
                                     const struct netaddr *peer, struct api_caller *out_caller)
{
    (void)arg;
    (void)authorization;
    (void)peer;
    *out_caller = (struct api_caller){.name = "fuzz", .account_id = "b", .may = may};
    return API_SIGNED_IN;
}

/* Every change has a line, which is one. */
static void changed(void *arg, const struct api_caller *caller, const struct api_changed *change)
{
    struct log *log = arg;
    uint8_t text[LOG_TEXT_BYTES];
    struct writer w = writer_init(text, sizeof text);
    audit_write(log, caller, change, store_generation(store));
    FUZZ_CHECK(log_take(log, &w) && !w.overflow);
    FUZZ_CHECK(slice_find(writer_slice(&w), '\n') == w.len - 1);
}

static json_t *post(struct slice body)
{
    struct api_request request = {.method = SLICE_LITERAL("POST"),
                                  .path = SLICE_LITERAL("/jmap"),
                                  .authorization = SLICE_LITERAL("x"),
                                  .content_type = SLICE_LITERAL("application/json"),
                                  .body = body};
    struct api_answer answer;
    api_run(api, &request, &answer);
    FUZZ_CHECK(answer.status == 200 || answer.status == 400);
    json_t *json = json_loadb((const char *)answer.body, answer.len, 0, NULL);
    FUZZ_CHECK(json_is_object(json));
    if (!answer.is_static) {
        free(answer.body);
    }
    return json;
}

/* Every run begins with the same registry. */
static void make(void)
{
    static const char fill[] =
        "{\"using\":[],\"methodCalls\":[[\"x:Domain/set\",{\"create\":{\"d\":{\"name\":"
        "\"a.example\"}}},\"0\"],[\"x:Account/set\",{\"create\":{\"u\":{\"@type\":\"User\","
        "\"name\":\"ann\",\"domainId\":\"#d\"}}},\"1\"]]}";
    struct config_problem problem;
    FUZZ_CHECK(store_open_scratch(&store, &problem) == MX_OK);
    static struct log log;
    FUZZ_CHECK(log.lines != NULL || log_init(&log, -1, LOG_INFO) == MX_OK);
    struct api_conf conf = {
        .store = store, .arg = &log, .authenticate = authenticate, .changed = changed};
    FUZZ_CHECK(api_new(&api, &conf) == MX_OK);
    json_decref(post(slice_of_text(fill)));
    generation = store_generation(store);
}

static void drop(void)
{
    api_free(api);
    store_close(store);
    api = NULL;
}

/* Whatever the request did, every object can be read. */
static void check_all(void)
{
    for (uint32_t i = 0; i < reg_type_count; i++) {
        if (reg_types[i].storage == REG_ELSEWHERE) {
            continue;
        }
        char body[200];
        int len =
            snprintf(body, sizeof(body), "{\"using\":[],\"methodCalls\":[[\"x:%s/get\",{},\"0\"]]}",
                     reg_types[i].shape.name);
        json_t *answer = post(slice_of(body, (size_t)len));
        json_t *response = json_array_get(json_object_get(answer, "methodResponses"), 0);
        FUZZ_CHECK(strcmp(json_string_value(json_array_get(response, 0)), "error") != 0);
        json_decref(answer);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct fuzz_source source = {slice_of(data, size)};
    uint8_t way = fuzz_byte(&source);
    static const char *const verbs[] = {"get", "query", "set"};
    if (!api) {
        make();
    }
    if (way == '{') {
        json_decref(post(slice_of(data, size)));
    } else {
        char *body = NULL;
        size_t len = 0;
        FILE *out = open_memstream(&body, &len);
        fprintf(out, "{\"using\":[],\"methodCalls\":[[\"x:%s/%s\",",
                reg_types[way / 3 % reg_type_count].shape.name, verbs[way % 3]);
        (void)fwrite(source.left.ptr, 1, source.left.len, out);
        fprintf(out, ",\"0\"]]}");
        fclose(out);
        json_decref(post(slice_of(body, len)));
        free(body);
    }
    check_all();
    if (store_generation(store) != generation) {
        drop();
    }
    return 0;
}
