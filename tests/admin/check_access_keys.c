/* What API keys may do, and who may make, change and remove them. */
#include "tests/admin/access_support.h"

#include "admin/api_key.h"

static json_t *key_of(uint64_t account, const char *permissions)
{
    return json_of("{\"description\":\"x\",\"accountId\":\"%s\",\"permissions\":{%s}}",
                   id_text(account).text, permissions);
}

#define INHERIT "\"@type\":\"Inherit\""

#define KEYS_ONLY                                                                          \
    "\"@type\":\"Replace\",\"permissions\":{\"sysApiKeyCreate\":true,\"sysApiKeyUpdate\":" \
    "true}"

/* Who has a key that may do little makes none that may do more, of it or beside it. */
static void check_keys_of_keys(void)
{
    struct world w;
    world_open(&w);
    CHECK_TEXT(update(&w, "Account", w.ann, json_of("{\"roles\":{\"@type\":\"Admin\"}}")), "");
    w.caller.permissions = permission_all();
    CHECK_TEXT(check_change(&w, "ApiKey", NULL, key_of(w.ann, INHERIT)), "");
    json_t *little = key_of(w.ann, KEYS_ONLY);
    access_of_key(&w.caller.permissions, little);
    json_decref(little);
    CHECK_TEXT(check_change(&w, "ApiKey", NULL, key_of(w.ann, KEYS_ONLY)), "");
    CHECK_HAS(check_change(&w, "ApiKey", NULL, key_of(w.ann, INHERIT)),
              "this would give permissions that you do not have: ");
    CHECK_HAS(check_change(&w, "ApiKey", key_of(w.ann, KEYS_ONLY), key_of(w.ann, INHERIT)),
              "this would give permissions that you do not have: ");
    /* One that may do more is not its to change. */
    CHECK_HAS(check_change(&w, "ApiKey", key_of(w.ann, INHERIT), key_of(w.ann, KEYS_ONLY)),
              "the key has permissions that you do not have: ");
    CHECK_HAS(check_change(&w, "ApiKey", key_of(w.ann, INHERIT), NULL),
              "the key has permissions that you do not have: ");
    CHECK_TEXT(check_change(&w, "ApiKey", key_of(w.ann, KEYS_ONLY), NULL), "");
    world_close(&w);
}

/* Makes a key of an account. */
static uint64_t make_key(struct world *w, uint64_t account, char out_secret[API_KEY_TEXT_MAX],
                         const char *limits)
{
    struct set_errors errors;
    uint64_t id = 0;
    json_t *body = json_of("{\"description\":\"x\"%s%s}", limits[0] ? "," : "", limits);
    errors.count = 0;
    begin(w);
    mx_err err = api_key_create(w->store, &id, out_secret, account, body, &errors);
    json_decref(body);
    CHECK_TEXT(end(w, err, &errors), "");
    return id;
}

/* Makes a key of ann's and signs in with it. */
static uint64_t use_key(struct world *w, const char *limits)
{
    char secret[API_KEY_TEXT_MAX];
    uint64_t id = make_key(w, w->ann, secret, limits);
    char header[API_KEY_TEXT_MAX + 16];
    snprintf(header, sizeof header, "Bearer %s", secret);
    CHECK(try_header(w, header) == AUTH_OK && w->caller.key == id);
    return id;
}

#define UNTIL_ONE "\"expiresAt\":\"2026-11-26T13:00:00Z\""
#define UNTIL_TWO "\"expiresAt\":\"2026-11-26T14:00:00Z\""
#define FROM_24 "\"allowedIps\":{\"192.0.2.0/24\":true}"
#define FROM_25 "\"allowedIps\":{\"192.0.2.0/25\":true,\"192.0.2.200\":true}"
#define FROM_23 "\"allowedIps\":{\"192.0.2.9\":true,\"192.0.2.0/23\":true}"
#define LONGER \
    "expiresAt: the key would be good for longer than what you have signed in with (until "
#define WIDER \
    "allowedIps: the key would be good from more addresses than what you have signed in with"

static const char *wish_key(struct world *w, const char *before, const char *after)
{
    json_t *old = NULL, *now = NULL;
    if (before) {
        old = key_of(w->ann, INHERIT);
        json_t *more = json_of("{%s}", before);
        json_object_update(old, more);
        json_decref(more);
    }
    if (after) {
        now = key_of(w->ann, INHERIT);
        json_t *more = json_of("{%s}", after);
        json_object_update(now, more);
        json_decref(more);
    }
    return check_change(w, "ApiKey", old, now);
}

/* A key that ends, or is good from some addresses only, makes neither of itself nor of others one
 * that ends later or is good from more. */
static void check_keys_prolong_nothing(void)
{
    struct world w;
    world_open(&w);
    CHECK_TEXT(update(&w, "Account", w.ann, json_of("{\"roles\":{\"@type\":\"Admin\"}}")), "");
    (void)use_key(&w, UNTIL_ONE);
    CHECK_HAS(wish_key(&w, UNTIL_ONE, UNTIL_TWO), LONGER);
    CHECK_HAS(wish_key(&w, UNTIL_ONE, ""), LONGER);
    CHECK_HAS(wish_key(&w, NULL, ""), LONGER);
    CHECK_HAS(wish_key(&w, NULL, FROM_24), LONGER);
    CHECK_TEXT(wish_key(&w, NULL, UNTIL_ONE), "");
    CHECK_TEXT(wish_key(&w, UNTIL_ONE, UNTIL_ONE "," FROM_24), "");
    CHECK_TEXT(wish_key(&w, UNTIL_ONE, "\"expiresAt\":\"2026-11-26T12:30:00Z\""), "");
    CHECK_TEXT(wish_key(&w, UNTIL_ONE, NULL), "");
    /* What goes beyond it is not its to shorten or to remove. */
    CHECK_HAS(wish_key(&w, UNTIL_TWO, UNTIL_ONE), "expiresAt: the key is good for longer");
    CHECK_HAS(wish_key(&w, UNTIL_TWO, NULL), "expiresAt: the key is good for longer");

    uint64_t narrow = use_key(&w, FROM_24);
    CHECK_HAS(wish_key(&w, FROM_24, ""), WIDER);
    CHECK_HAS(wish_key(&w, FROM_24, FROM_23), WIDER);
    CHECK_HAS(wish_key(&w, NULL, "\"allowedIps\":{\"2001:db8::1\":true}"), WIDER);
    CHECK_TEXT(wish_key(&w, FROM_24, FROM_25), "");
    CHECK_TEXT(wish_key(&w, NULL, FROM_24 "," UNTIL_ONE), "");
    CHECK_HAS(wish_key(&w, FROM_23, NULL), "allowedIps: the key is good from more addresses");

    /* Nor does it after it has gone: an earlier call of the same request has removed it. */
    CHECK_TEXT(destroy(&w, "ApiKey", narrow), "");
    CHECK_TEXT(wish_key(&w, NULL, FROM_25), "the API key that you have signed in with is gone");

    (void)use_key(&w, "");
    CHECK_TEXT(wish_key(&w, UNTIL_ONE, ""), "");
    /* A password that ends makes no key that does not. */
    sign_in(&w);
    CHECK_TEXT(wish_key(&w, NULL, ""), "");
    CHECK_TEXT(update(&w, "Account", w.ann,
                      json_of("{\"credentials/0/expiresAt\":"
                              "\"2026-11-26T13:00:00Z\"}")),
               "");
    CHECK_HAS(wish_key(&w, NULL, ""), LONGER);
    CHECK_TEXT(wish_key(&w, NULL, UNTIL_ONE), "");
    /* Her own that do she can narrow and revoke. */
    CHECK_TEXT(wish_key(&w, "", NULL), "");
    CHECK_TEXT(wish_key(&w, UNTIL_TWO, NULL), "");
    CHECK_TEXT(wish_key(&w, "", UNTIL_TWO), "");
    CHECK_TEXT(wish_key(&w, UNTIL_TWO, UNTIL_TWO "," FROM_24), "");
    CHECK_HAS(wish_key(&w, UNTIL_TWO, ""), LONGER);
    CHECK_HAS(wish_key(&w, UNTIL_TWO "," FROM_24, UNTIL_TWO), LONGER);
    CHECK_TEXT(wish_key(&w, UNTIL_TWO "," FROM_24, UNTIL_ONE), ""); /* as far as she goes */
    world_close(&w);
}

static json_t *account_limited(const char *limits, const char *roles)
{
    json_t *account = account_with("x", roles);
    json_t *more = json_of("{%s}", limits);
    json_object_update(json_object_get(json_object_get(account, "credentials"), "0"), more);
    json_decref(more);
    return account;
}

/* Nor by a password: of its own account, or of another that may do more than every user. */
static void check_keys_make_no_passwords(void)
{
    struct world w;
    world_open(&w);
    CHECK_TEXT(update(&w, "Account", w.ann, json_of("{\"roles\":{\"@type\":\"Admin\"}}")), "");
    (void)use_key(&w, UNTIL_ONE "," FROM_24);
    CHECK_HAS(check_change(&w, "Account", NULL, account_with("x", ADMIN)),
              "credentials/0/expiresAt: this password would be good for longer than");
    CHECK_HAS(check_change(&w, "Account", account_with("x", ADMIN), account_with("y", ADMIN)),
              "credentials/0/expiresAt: ");
    CHECK_HAS(check_change(&w, "Account", account_with("x", USER), account_with("x", ADMIN)),
              "credentials/0/expiresAt: ");
    CHECK_HAS(check_change(&w, "Account", NULL, account_limited(UNTIL_ONE, ADMIN)),
              "credentials/0/allowedIps: ");
    CHECK_TEXT(check_change(&w, "Account", NULL, account_limited(UNTIL_ONE "," FROM_25, ADMIN)),
               "");
    CHECK_TEXT(check_change(&w, "Account", NULL, account_with("x", USER)), "");
    CHECK_TEXT(check_change(&w, "Account", account_with("x", USER), account_with("y", USER)), "");
    (void)use_key(&w, "");
    CHECK_TEXT(check_change(&w, "Account", account_with("x", ADMIN), account_with("y", ADMIN)), "");
    world_close(&w);
}

/* A key gives nothing to accounts that outlast it: neither to one that has such a key, nor by a
 * role. What stays as it is, and what is taken, is fine. */
static void check_keys_give_nothing_that_lasts(void)
{
    struct world w;
    uint64_t bob = 0, role = 0, outer = 0, of_bob = 0;
    char secret[API_KEY_TEXT_MAX];
    world_open(&w);
    CHECK_TEXT(update(&w, "Account", w.ann, json_of("{\"roles\":{\"@type\":\"Admin\"}}")), "");
    CHECK_TEXT(
        create(&w, "Role", json_of("{\"description\":\"x\",\"enabledPermissions\":{}}"), &role),
        "");
    CHECK_TEXT(
        create(&w, "Role",
               json_of("{\"description\":\"y\",\"roleIds\":{\"%s\":true}}", id_text(role).text),
               &outer),
        "");
    CHECK_TEXT(create(&w, "Account",
                      json_of("{\"@type\":\"User\",\"name\":\"bob\",\"domainId\":\"%s\",\"roles\":"
                              "{\"@type\":\"Custom\",\"roleIds\":{\"%s\":true}}}",
                              id_text(w.domain).text, id_text(outer).text),
                      &bob),
               "");
    (void)use_key(&w, UNTIL_ONE);
    store_guard(w.store, guard, &w);
    static const char more[] = "{\"enabledPermissions\":{\"sysDomainGet\":true}}";
    static const char admin[] = "{\"roles\":{\"@type\":\"Admin\"}}";
    CHECK_TEXT(update(&w, "Role", role, json_of("%s", more)), "");
    CHECK_TEXT(update(&w, "Role", role, json_of("%s", "{\"enabledPermissions\":{}}")), "");

    /* by a key of his */
    store_guard(w.store, NULL, NULL);
    of_bob = make_key(&w, bob, secret, "");
    store_guard(w.store, guard, &w);
    CHECK_HAS(update(&w, "Account", bob, json_of("%s", admin)),
              "forbidden : an API key of the account is good for longer");
    CHECK_HAS(update(&w, "Role", role, json_of("%s", more)),
              "forbidden : an API key of the account is good for longer");
    store_guard(w.store, NULL, NULL);
    CHECK_TEXT(destroy(&w, "ApiKey", of_bob), "");

    /* by his password */
    CHECK_TEXT(update(&w, "Account", bob,
                      json_of("{\"credentials\":{\"0\":{\"@type\":\"Password\",\"secret\":\"the "
                              "word of bob\"}}}")),
               "");
    store_guard(w.store, guard, &w);
    CHECK_HAS(update(&w, "Account", bob, json_of("%s", admin)),
              "this password would be good for longer");
    CHECK_HAS(update(&w, "Role", role, json_of("%s", more)),
              "forbidden : the password of an account with it is good for longer");
    CHECK_TEXT(update(&w, "Role", role, json_of("{\"description\":\"z\"}")), "");

    /* A strong account whose way to sign in stays as it was. */
    CHECK_TEXT(update(&w, "Account", w.ann, json_of("{\"name\":\"anna\"}")), "");
    CHECK_TEXT(update(&w, "Account", w.ann,
                      json_of("{\"permissions\":{\"@type\":\"Merge\",\"disabledPermissions\":{"
                              "\"sysRoleGet\":true}}}")),
               "");
    store_guard(w.store, NULL, NULL);
    world_close(&w);
}

int main(void)
{
    check_keys_of_keys();
    check_keys_prolong_nothing();
    check_keys_make_no_passwords();
    check_keys_give_nothing_that_lasts();
    return report("API keys");
}
