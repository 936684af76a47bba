/* API keys over the API: the secret is shown once, and nobody has another account's keys. */
#include "tests/admin/api_support.h"

#include "admin/api_key.h"

struct owner_bed {
    struct api_bed bed;
    char caller[OBJECT_ID_TEXT_MAX + 1];
};

static bool may_all(void *arg, const char *permission)
{
    (void)arg;
    (void)permission;
    return true;
}

/* Everybody who asks is `caller`. */
static enum api_sign_in sign_in(void *arg, struct slice authorization, const struct netaddr *peer,
                                struct api_caller *out_caller)
{
    struct owner_bed *bed = arg;
    (void)authorization;
    (void)peer;
    *out_caller = (struct api_caller){.name = "somebody", .may = may_all};
    snprintf(out_caller->account_id, sizeof out_caller->account_id, "%s", bed->caller);
    return API_SIGNED_IN;
}

static void be(struct owner_bed *bed, const char *account)
{
    snprintf(bed->caller, sizeof bed->caller, "%s", account);
}

static void open_bed(struct owner_bed *bed)
{
    struct config_problem problem;
    *bed = (struct owner_bed){0};
    be(bed, API_NO_ACCOUNT);
    CHECK(store_open_scratch(&bed->bed.store, &problem) == MX_OK);
    struct api_conf conf = {.store = bed->bed.store, .arg = bed, .authenticate = sign_in};
    CHECK(api_new(&bed->bed.api, &conf) == MX_OK);
}

static char text_buf[4096];

static const char *text(const char *format, ...) MX_PRINTF(1, 2);

static const char *text(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    vsnprintf(text_buf, sizeof text_buf, format, args);
    va_end(args);
    return text_buf;
}

static void make_account(struct owner_bed *bed, const char *name, const char *domain,
                         char id[OBJECT_ID_TEXT_MAX + 1])
{
    char body[512];
    snprintf(body, sizeof body,
             "{\"@type\":\"User\",\"name\":\"%s\",\"domainId\":\"%s\",\"credentials\":{\"0\":{"
             "\"@type\":\"Password\",\"secret\":\"a secret of %s\"}}}",
             name, domain, name);
    bed_create(&bed->bed, "Account", body, id);
}

/* Creates a key as the caller; gives its id and secret. */
static void make_key(struct owner_bed *bed, char id[OBJECT_ID_TEXT_MAX + 1],
                     char secret[API_KEY_TEXT_MAX])
{
    json_t *result =
        bed_call(&bed->bed, "x:ApiKey/set", "{\"create\":{\"k\":{\"description\":\"d\"}}}");
    json_t *made = json_object_get(json_object_get(json_array_get(result, 1), "created"), "k");
    const char *shown = json_string_value(json_object_get(made, "secret"));
    const char *id_shown = json_string_value(json_object_get(made, "id"));
    CHECK(shown && strncmp(shown, "API_", 4) == 0 && id_shown);
    snprintf(secret, API_KEY_TEXT_MAX, "%s", shown ? shown : "");
    snprintf(id, OBJECT_ID_TEXT_MAX + 1, "%s", id_shown ? id_shown : "");
    json_decref(result);
}

static void check_mine(struct owner_bed *bed, const char *mine, const char *theirs)
{
    char expected[512];
    char args[512];
    snprintf(args, sizeof args, "{\"ids\":[\"%s\",\"%s\"],\"properties\":[\"secret\"]}", mine,
             theirs);
    snprintf(expected, sizeof expected,
             "[\"x:ApiKey/get\",{\"accountId\":\"%s\",\"list\":[{\"id\":\"%s\",\"secret\":"
             "\"****\"}],\"notFound\":[\"%s\"]}]",
             bed->caller, mine, theirs);
    EXPECT(&bed->bed, "x:ApiKey/get", args, expected);
    snprintf(expected, sizeof expected,
             "[\"x:ApiKey/get\",{\"accountId\":\"%s\",\"list\":[{\"id\":\"%s\"}],"
             "\"notFound\":[]}]",
             bed->caller, mine);
    EXPECT(&bed->bed, "x:ApiKey/get", "{\"properties\":[\"id\"]}", expected);

    json_t *result = bed_call(&bed->bed, "x:ApiKey/query", "{\"calculateTotal\":true}");
    json_t *reply = json_array_get(result, 1);
    CHECK(json_integer_value(json_object_get(reply, "total")) == 1);
    const char *found = json_string_value(json_array_get(json_object_get(reply, "ids"), 0));
    CHECK_TEXT(found ? found : "nothing", mine);
    json_decref(result);
}

static void check_refused(struct owner_bed *bed, const char *args, const char *member,
                          const char *id)
{
    json_t *result = bed_call(&bed->bed, "x:ApiKey/set", args);
    json_t *error = json_object_get(json_object_get(json_array_get(result, 1), member), id);
    const char *type = json_string_value(json_object_get(error, "type"));
    CHECK_TEXT(type ? type : "done", "notFound");
    json_decref(result);
}

static void check_owners(void)
{
    struct owner_bed bed;
    char domain[OBJECT_ID_TEXT_MAX + 1];
    char ann[OBJECT_ID_TEXT_MAX + 1];
    char bob[OBJECT_ID_TEXT_MAX + 1];
    char keys[2][OBJECT_ID_TEXT_MAX + 1];
    char secrets[2][API_KEY_TEXT_MAX];
    open_bed(&bed);
    bed_create(&bed.bed, "Domain", "{\"name\":\"a.example\"}", domain);
    make_account(&bed, "ann", domain, ann);
    make_account(&bed, "bob", domain, bob);

    /* Without an account there are no keys to make, but all can be seen. */
    json_t *result =
        bed_call(&bed.bed, "x:ApiKey/set", "{\"create\":{\"k\":{\"description\":\"d\"}}}");
    char *answer = json_dumps(result, 0);
    CHECK_HAS(answer, "\"forbidden\"");
    free(answer);
    json_decref(result);

    be(&bed, ann);
    make_key(&bed, keys[0], secrets[0]);
    be(&bed, bob);
    make_key(&bed, keys[1], secrets[1]);
    check_mine(&bed, keys[1], keys[0]);
    be(&bed, ann);
    check_mine(&bed, keys[0], keys[1]);
    check_refused(&bed, text("{\"update\":{\"%s\":{\"description\":\"mine\"}}}", keys[1]),
                  "notUpdated", keys[1]);
    check_refused(&bed, text("{\"destroy\":[\"%s\"]}", keys[1]), "notDestroyed", keys[1]);
    EXPECT(&bed.bed, "x:ApiKey/query", "{\"anchor\":\"b\"}",
           "[\"error\",{\"type\":\"anchorNotFound\",\"description\":\"'anchor' is not an id of a "
           "result\"}]");

    be(&bed, API_NO_ACCOUNT);
    result = bed_call(&bed.bed, "x:ApiKey/query", "{\"calculateTotal\":true}");
    CHECK(json_integer_value(json_object_get(json_array_get(result, 1), "total")) == 2);
    json_decref(result);
    result = bed_call(&bed.bed, "x:ApiKey/set", text("{\"destroy\":[\"%s\"]}", keys[1]));
    CHECK(json_array_size(json_object_get(json_array_get(result, 1), "destroyed")) == 1);
    json_decref(result);

    json_t *key = NULL;
    uint64_t id = 0, account = 0;
    CHECK(api_key_find(bed.bed.store, &key, &id, &account, slice_of_text(secrets[1])) ==
          MX_ERR_NOTFOUND);
    CHECK(api_key_find(bed.bed.store, &key, &id, &account, slice_of_text(secrets[0])) == MX_OK);
    json_decref(key);
    bed_close(&bed.bed);
}

int main(void)
{
    check_owners();
    return report("api_owner");
}
