/* Calls with passwords: worked out one at a time, with other requests in between; nothing is seen
 * of the call before its end. */
#include "tests/admin/api_support.h"

#include "admin/password.h"
#include "admin/secret_memo.h"

#define SECRET "correct horse battery"
#define OTHER "gcmkbranhbwppe2d"

static void begin(struct api_bed *bed, const char *calls, struct api_answer *answer)
{
    char *body = NULL;
    size_t len = 0;
    FILE *out = open_memstream(&body, &len);
    fprintf(out, "{\"using\":[],\"methodCalls\":%s}", calls);
    fclose(out);
    struct api_request request = bed_request("POST", "/jmap", body);
    api_begin(bed->api, &request, answer);
    free(body); /* nothing of the request is needed any more */
}

/* The arguments of the first response; an error's type as {"error": ...}. */
static json_t *finish(struct api_answer *answer)
{
    CHECK(answer->work == NULL && answer->status == 200);
    json_t *whole = answer_json(answer);
    json_t *first = json_array_get(json_object_get(whole, "methodResponses"), 0);
    json_t *args = json_incref(json_array_get(first, 1));
    json_decref(whole);
    answer_done(answer);
    return args;
}

/* Steps until it is answered; another request is answered between any two. */
static unsigned steps(struct api_bed *bed, struct api_answer *answer)
{
    unsigned count = 0;
    while (answer->work) {
        uint64_t generation = store_generation(bed->store);
        json_t *other = bed_call(bed, "x:Account/query", "{\"calculateTotal\":true}");
        CHECK(json_is_integer(json_object_get(json_array_get(other, 1), "total")));
        json_decref(other);
        CHECK(store_generation(bed->store) == generation);
        api_continue(answer, false);
        count++;
    }
    return count;
}

static int64_t accounts(struct api_bed *bed)
{
    json_t *answer = bed_call(bed, "x:Account/query", "{\"calculateTotal\":true}");
    int64_t total = json_integer_value(json_object_get(json_array_get(answer, 1), "total"));
    json_decref(answer);
    return total;
}

static char *hash_of(struct api_bed *bed, const char *id)
{
    uint64_t number = 0;
    json_t *object = NULL;
    CHECK(object_id_parse(&number, slice_of_text(id)) == MX_OK);
    CHECK(store_get(bed->store, &object, reg_type_find(SLICE_LITERAL("Account")), number) == MX_OK);
    json_t *list = json_object_get(object, "credentials");
    const char *hash = json_string_value(json_object_get(json_object_get(list, "0"), "secret"));
    char *copy = strdup(hash ? hash : "");
    json_decref(object);
    return copy;
}

static char *create_call(const char *domain, unsigned count)
{
    char *calls = NULL;
    size_t len = 0;
    FILE *out = open_memstream(&calls, &len);
    fprintf(out, "[[\"x:Account/set\",{\"create\":{");
    for (unsigned i = 0; i < count; i++) {
        fprintf(out,
                "%s\"n%u\":{\"@type\":\"User\",\"name\":\"u%u\",\"domainId\":\"%s\","
                "\"credentials\":{\"0\":{\"@type\":\"Password\",\"secret\":\"" SECRET "\"}}}",
                i ? "," : "", i, i, domain);
    }
    fprintf(out, "}},\"0\"]]");
    fclose(out);
    return calls;
}

static void check_create(struct api_bed *bed, const char *domain,
                         char ids[2][OBJECT_ID_TEXT_MAX + 1])
{
    struct api_answer answer;
    char *calls = create_call(domain, 2);
    begin(bed, calls, &answer);
    CHECK(answer.work != NULL && accounts(bed) == 0);
    CHECK(steps(bed, &answer) == 2);
    json_t *args = finish(&answer);
    json_t *created = json_object_get(args, "created");
    for (unsigned i = 0; i < 2; i++) {
        const char *key = i ? "n1" : "n0";
        snprintf(ids[i], sizeof(ids[i]), "%s",
                 json_string_value(json_object_get(json_object_get(created, key), "id")));
    }
    char *hashes[2] = {hash_of(bed, ids[0]), hash_of(bed, ids[1])};
    CHECK(strcmp(hashes[0], hashes[1]) != 0); /* each has a salt of its own */
    for (unsigned i = 0; i < 2; i++) {
        CHECK(password_verify(hashes[i], SLICE_LITERAL(SECRET)));
        free(hashes[i]);
    }
    json_decref(args);
    free(calls);
}

/* One question says that it is the same; another password takes one more. */
static void check_update(struct api_bed *bed, const char *id)
{
    static const char *const secrets[] = {SECRET, OTHER};
    char *before = hash_of(bed, id);
    for (unsigned i = 0; i < 2; i++) {
        char calls[512];
        struct api_answer answer;
        uint64_t generation = store_generation(bed->store);
        snprintf(
            calls, sizeof(calls),
            "[[\"x:Account/set\",{\"update\":{\"%s\":{\"credentials/0/secret\":\"%s\"}}},\"0\"]]",
            id, secrets[i]);
        begin(bed, calls, &answer);
        CHECK(steps(bed, &answer) == 1 + i);
        json_t *args = finish(&answer);
        CHECK(json_object_get(json_object_get(args, "updated"), id) != NULL);
        json_decref(args);
        CHECK(store_generation(bed->store) == generation + i);
        char *after = hash_of(bed, id);
        CHECK((strcmp(before, after) == 0) == (i == 0));
        CHECK(password_verify(after, slice_of_text(secrets[i])));
        free(after);
    }
    free(before);
}

/* The object is changed by another call in between: what was worked out for its old hash is not
 * taken for the new one. */
static void check_change_between(struct api_bed *bed, const char *id)
{
    char calls[512];
    struct api_answer answer;
    snprintf(calls, sizeof(calls),
             "[[\"x:Account/set\",{\"update\":{\"%s\":{\"credentials/0/secret\":\"" SECRET
             "\"}}},\"0\"]]",
             id);
    begin(bed, calls, &answer); /* does OTHER's hash fit? */
    char patch[512];
    snprintf(patch, sizeof(patch), "{\"update\":{\"%s\":{\"credentials/0/secret\":\"%s\"}}}", id,
             "eight words are more than enough");
    json_decref(bed_call(bed, "x:Account/set", patch));
    steps(bed, &answer);
    json_decref(finish(&answer));
    char *after = hash_of(bed, id);
    CHECK(password_verify(after, SLICE_LITERAL(SECRET)));
    free(after);
}

static void check_stopping(struct api_bed *bed, const char *domain)
{
    struct api_answer answer;
    uint64_t generation = store_generation(bed->store);
    char calls[1024];
    snprintf(
        calls, sizeof(calls),
        "[[\"x:Account/set\",{\"create\":{\"s\":{\"@type\":\"User\",\"name\":\"s\",\"domainId\":"
        "\"%s\",\"credentials\":{\"0\":{\"@type\":\"Password\",\"secret\":\"" SECRET
        "\"}}}}},\"0\"]]",
        domain);
    begin(bed, calls, &answer);
    api_continue(&answer, true);
    json_t *args = finish(&answer);
    CHECK_TEXT(json_string_value(json_object_get(args, "type")), "serverUnavailable");
    CHECK_TEXT(json_string_value(json_object_get(args, "description")),
               "the server is stopping; nothing was changed");
    json_decref(args);
    CHECK(store_generation(bed->store) == generation);
}

static void check_bound(void)
{
    struct secret_memo *memo = secret_memo_new(false);
    char hash[PASSWORD_HASH_MAX];
    bool fits = false;
    for (unsigned i = 0; i < SECRET_MEMO_MAX; i++) {
        CHECK(secret_memo_hash(memo, SLICE_LITERAL(SECRET), hash) == MX_OK); /* each once */
    }
    CHECK(secret_memo_hash(memo, SLICE_LITERAL(SECRET), hash) == MX_ERR_LIMIT);
    CHECK(secret_memo_fits(memo, hash, SLICE_LITERAL(SECRET), &fits) == MX_ERR_LIMIT);
    secret_memo_begin(memo);
    CHECK(secret_memo_hash(memo, SLICE_LITERAL(SECRET), hash) == MX_OK);
    CHECK(secret_memo_wants(memo));
    secret_memo_free(memo);
}

/* Who may not is told so before anything is worked out. */
static void check_forbidden(struct api_bed *bed, const char *domain)
{
    struct api_answer answer;
    char *calls = create_call(domain, 2);
    bed->lacks = "sysAccountCreate";
    begin(bed, calls, &answer);
    json_t *args = finish(&answer);
    CHECK_TEXT(json_string_value(json_object_get(args, "type")), "forbidden");
    json_decref(args);
    bed->lacks = NULL;
    free(calls);
}

static void check_assumptions(void)
{
    struct secret_memo *memo = secret_memo_new(true);
    char hash[PASSWORD_HASH_MAX];
    bool fits = false;
    CHECK(secret_memo_hash(memo, SLICE_LITERAL(SECRET), hash) == MX_OK);
    CHECK(password_is_hash(slice_of_text(hash)) && !secret_memo_wants(memo));
    CHECK(secret_memo_fits(memo, hash, SLICE_LITERAL(SECRET), &fits) == MX_OK && !fits);
    CHECK(!secret_memo_wants(memo));
    secret_memo_free(memo);
}

int main(void)
{
    struct api_bed bed;
    char domain[OBJECT_ID_TEXT_MAX + 1];
    char ids[2][OBJECT_ID_TEXT_MAX + 1];
    bed_open(&bed);
    bed_create(&bed, "Domain", "{\"name\":\"a.example\"}", domain);
    check_create(&bed, domain, ids);
    check_update(&bed, ids[0]);
    check_change_between(&bed, ids[0]);
    check_stopping(&bed, domain);
    check_bound();
    check_forbidden(&bed, domain);
    check_assumptions();
    bed_close(&bed);
    return report("api_passwords");
}
