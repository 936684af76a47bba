/* API keys: what they are good for, and for how long. */
#include "tests/admin/auth_support.h"

#include "admin/api_key.h"

static const char *make_key(struct world *w, uint64_t account, json_t *body, uint64_t *out_id,
                            char secret[API_KEY_TEXT_MAX])
{
    struct set_errors errors;
    errors.count = 0;
    begin(w);
    mx_err err = api_key_create(w->store, out_id, secret, account, body, &errors);
    json_decref(body);
    return end(w, err, &errors);
}

static void check_api_keys(void)
{
    struct world w;
    uint64_t id = 0;
    char secret[API_KEY_TEXT_MAX];
    world_open(&w);
    CHECK_TEXT(update(&w, "Account", w.ann, json_of("{\"roles\":{\"@type\":\"Admin\"}}")), "");
    CHECK_TEXT(make_key(&w, w.ann,
                        json_of("{\"description\":\"backup\",\"allowedIps\":{\"192.0.2.1\":true},"
                                "\"expiresAt\":\"2026-11-26T12:00:01Z\"}"),
                        &id, secret),
               "");
    CHECK(strncmp(secret, "API_", 4) == 0 && strlen(secret) > 40);
    CHECK(try_bearer(&w, secret) == AUTH_OK);
    CHECK_TEXT(w.caller.name, "ann@example.org");
    CHECK(w.caller.account == w.ann && auth_allows(&w.caller, "sysDomainUpdate"));

    json_t *shown = NULL;
    CHECK(object_show(w.store, &shown, type_of("ApiKey"), id) == MX_OK);
    CHECK_TEXT(json_string_value(json_object_get(shown, "secret")), "****");
    CHECK_TEXT(json_string_value(json_object_get(shown, "createdAt")), "2026-11-26T12:00:00.000Z");
    CHECK_TEXT(json_string_value(json_object_get(shown, "accountId")), id_text(w.ann).text);
    json_decref(shown);

    /* wrong in one character, or not a key at all */
    size_t last = strlen(secret) - 2;
    secret[last] = secret[last] == 'A' ? 'B' : 'A';
    CHECK(try_bearer(&w, secret) == AUTH_REFUSED);
    CHECK_TEXT(w.verdict.reason, "unknown API key");
    CHECK_HAS(create(&w, "ApiKey", json_of("{\"description\":\"x\"}"), NULL), "forbidden");
    CHECK_HAS(update(&w, "ApiKey", id, json_of("{\"secret\":\"****\"}")), "is set by the server");
    CHECK_HAS(update(&w, "ApiKey", id, json_of("{\"accountId\":\"b\"}")), "is set by the server");
    CHECK_HAS(make_key(&w, 7, json_of("{\"description\":\"x\"}"), &id, secret), "forbidden");
    world_close(&w);
}

static void check_key_limits(void)
{
    struct world w;
    uint64_t ids[API_KEYS_MAX + 1];
    char secrets[API_KEYS_MAX + 1][API_KEY_TEXT_MAX];
    world_open(&w);
    CHECK_TEXT(update(&w, "Account", w.ann, json_of("{\"roles\":{\"@type\":\"Admin\"}}")), "");
    for (int i = 0; i < API_KEYS_MAX; i++) {
        CHECK_TEXT(make_key(&w, w.ann, json_of("{\"description\":\"%d\"}", i), &ids[i], secrets[i]),
                   "");
    }
    CHECK_HAS(make_key(&w, w.ann, json_of("{\"description\":\"x\"}"), &ids[5], secrets[5]),
              "overQuota : the account has 5 API keys already");

    CHECK_TEXT(update(&w, "ApiKey", ids[0], json_of("{\"expiresAt\":\"2026-11-26T11:59:59Z\"}")),
               "");
    CHECK(try_bearer(&w, secrets[0]) == AUTH_REFUSED);
    CHECK_TEXT(w.verdict.reason, "expired");
    CHECK_TEXT(update(&w, "ApiKey", ids[1], json_of("{\"allowedIps\":{\"2001:db8::/32\":true}}")),
               "");
    CHECK(try_bearer(&w, secrets[1]) == AUTH_REFUSED);
    CHECK_TEXT(update(&w, "ApiKey", ids[2],
                      json_of("{\"permissions\":{\"@type\":\"Disable\",\"permissions\":{"
                              "\"sysDomainGet\":true}}}")),
               "");
    CHECK(try_bearer(&w, secrets[2]) == AUTH_OK);
    CHECK(!auth_allows(&w.caller, "sysDomainGet") && auth_allows(&w.caller, "sysDomainUpdate"));
    CHECK_TEXT(update(&w, "ApiKey", ids[3],
                      json_of("{\"permissions\":{\"@type\":\"Replace\",\"permissions\":{"
                              "\"sysDomainGet\":true}}}")),
               "");
    CHECK(try_bearer(&w, secrets[3]) == AUTH_OK);
    CHECK(auth_allows(&w.caller, "sysDomainGet") && !auth_allows(&w.caller, "sysDomainUpdate"));
    /* never more than the account */
    CHECK_TEXT(update(&w, "Account", w.ann, json_of("{\"roles\":{\"@type\":\"User\"}}")), "");
    CHECK(try_bearer(&w, secrets[3]) == AUTH_OK && !auth_allows(&w.caller, "sysDomainGet"));

    CHECK_TEXT(destroy(&w, "ApiKey", ids[4]), "");
    CHECK(try_bearer(&w, secrets[4]) == AUTH_REFUSED);
    /* The keys go with the credentials, and so with the account. */
    CHECK_TEXT(update(&w, "Account", w.ann, json_of("{\"credentials\":{}}")), "");
    CHECK(try_bearer(&w, secrets[3]) == AUTH_REFUSED);
    bool has = true;
    CHECK(store_has(w.store, &has, type_of("ApiKey"), ids[3]) == MX_OK && !has);
    world_close(&w);
}

int main(void)
{
    check_api_keys();
    check_key_limits();
    return report("api_keys");
}
