/* What accounts and API keys may do, and who may change that. */
#include "tests/admin/auth_support.h"

#include "admin/access.h"
#include "admin/api_key.h"

static void check_permission_names(void)
{
    struct permission_set all = permission_all();
    int count = 0;
    for (int i = 0; i < PERMISSION_BITS; i++) {
        if (permission_has(&all, i)) {
            uint8_t name[PERMISSION_NAME_MAX];
            struct writer w = writer_init(name, sizeof name);
            put_permission(&w, i);
            CHECK(!w.overflow && permission_find(writer_slice(&w)) == i);
            count++;
        }
    }
    int expected = 0;
    for (uint32_t i = 0; i < reg_type_count; i++) {
        expected += reg_types[i].singleton ? 2 : 5;
        expected += reg_types[i].variant_prefix ? (int)reg_types[i].shape.variant_count : 0;
    }
    CHECK(count == expected);
    CHECK(permission_find(SLICE_LITERAL("actionReloadSettings")) >= 0);
    static const char *const none[] = {"",
                                       "action",
                                       "actionFlyToTheMoon",
                                       "sys",
                                       "sysDomain",
                                       "sysdomainGet",
                                       "DomainGet",
                                       "sysDomainGets",
                                       "sysSystemSettingsCreate",
                                       "sysSecurityDestroy"};
    for (size_t i = 0; i < mx_countof(none); i++) {
        CHECK(permission_find(slice_of_text(none[i])) == -1);
    }
}

static void sign_in(struct world *w)
{
    CHECK(try_basic(w, "ann@example.org", ANN_SECRET) == AUTH_OK);
}

static void check_roles(void)
{
    struct world w;
    uint64_t base = 0;
    uint64_t top = 0;
    world_open(&w);
    CHECK_TEXT(create(&w, "Role",
                      json_of("{\"description\":\"base\",\"enabledPermissions\":{"
                              "\"sysDomainGet\":true,\"sysDomainUpdate\":true}}"),
                      &base),
               "");
    CHECK_TEXT(create(&w, "Role",
                      json_of("{\"description\":\"top\",\"enabledPermissions\":{"
                              "\"sysAccountGet\":true},\"disabledPermissions\":{"
                              "\"sysDomainUpdate\":true},\"roleIds\":{\"%s\":true}}",
                              id_text(base).text),
                      &top),
               "");
    CHECK_TEXT(update(&w, "Account", w.ann,
                      json_of("{\"roles\":{\"@type\":\"Custom\",\"roleIds\":{\"%s\":true}}}",
                              id_text(top).text)),
               "");
    sign_in(&w);
    CHECK(auth_allows(&w.caller, "sysAccountGet") && auth_allows(&w.caller, "sysDomainGet"));
    CHECK(!auth_allows(&w.caller, "sysDomainUpdate")); /* disabled wins over inherited */
    CHECK(!auth_allows(&w.caller, "sysApiKeyCreate")); /* Custom is instead of User */

    /* also over what the account itself enables */
    CHECK_TEXT(update(&w, "Account", w.ann,
                      json_of("{\"permissions\":{\"@type\":\"Merge\",\"enabledPermissions\":{"
                              "\"sysDomainUpdate\":true,\"sysRoleGet\":true},"
                              "\"disabledPermissions\":{\"sysAccountGet\":true}}}")),
               "");
    sign_in(&w);
    CHECK(auth_allows(&w.caller, "sysRoleGet") && auth_allows(&w.caller, "sysDomainGet"));
    CHECK(!auth_allows(&w.caller, "sysDomainUpdate") && !auth_allows(&w.caller, "sysAccountGet"));
    CHECK_TEXT(update(&w, "Account", w.ann,
                      json_of("{\"permissions\":{\"@type\":\"Replace\",\"enabledPermissions\":{"
                              "\"sysRoleGet\":true,\"sysRoleQuery\":true},"
                              "\"disabledPermissions\":{\"sysRoleQuery\":true}}}")),
               "");
    sign_in(&w);
    CHECK(auth_allows(&w.caller, "sysRoleGet") && !auth_allows(&w.caller, "sysRoleQuery"));
    CHECK(!auth_allows(&w.caller, "sysDomainGet"));

    /* a change of a role counts at once */
    CHECK_TEXT(update(&w, "Account", w.ann, json_of("{\"permissions\":{\"@type\":\"Inherit\"}}")),
               "");
    CHECK_TEXT(update(&w, "Role", base, json_of("{\"enabledPermissions/sysDomainGet\":null}")), "");
    sign_in(&w);
    CHECK(!auth_allows(&w.caller, "sysDomainGet"));

    CHECK_TEXT(update(&w, "Role", base, json_of("{\"roleIds/%s\":true}", id_text(top).text)),
               "invalidProperties roleIds: leads back to the role");
    CHECK_HAS(update(&w, "Role", base, json_of("{\"enabledPermissions/sysNoneGet\":true}")),
              "'sysNoneGet' is not a permission of ringmx");
    CHECK_HAS(update(&w, "Role", base, json_of("{\"roleIds/b\":true}")), "invalidForeignKey");
    CHECK_HAS(destroy(&w, "Role", base), "objectIsLinked : is used by Role top");
    CHECK_HAS(destroy(&w, "Role", top), "objectIsLinked : is used by Account ann@example.org");
    CHECK_TEXT(update(&w, "Account", w.ann, json_of("{\"roles\":{\"@type\":\"User\"}}")), "");
    CHECK_TEXT(destroy(&w, "Role", top), "");
    CHECK_TEXT(destroy(&w, "Role", base), "");
    world_close(&w);
}

/* Who has signed in last. */
static struct access_caller caller_of(const struct world *w)
{
    return (struct access_caller){
        .permissions = w->caller.permissions, .account = w->caller.account, .key = w->caller.key};
}

static const char *check_wish(struct world *w, const struct store_wish *wish)
{
    const struct access_caller caller = caller_of(w);
    struct set_errors errors;
    errors.count = 0;
    first_error[0] = '\0';
    CHECK(access_check_change(w->store, &caller, wish, &errors) == MX_OK);
    if (errors.count) {
        CHECK(errors.items[0].type == SET_FORBIDDEN);
        snprintf(first_error, sizeof first_error, "%s%s%s", errors.items[0].property,
                 errors.items[0].property[0] ? ": " : "", errors.items[0].text);
    }
    return first_error;
}

static const char *check_change(struct world *w, const char *type, json_t *before, json_t *after)
{
    struct store_wish wish = {.type = type_of(type), .before = before, .after = after};
    const char *error = check_wish(w, &wish);
    json_decref(before);
    json_decref(after);
    return error;
}

static json_t *account_with(const char *secret, const char *roles)
{
    return json_of("{\"@type\":\"User\",\"credentials\":{\"0\":{\"secret\":\"%s\"}},\"roles\":%s,"
                   "\"permissions\":{\"@type\":\"Inherit\"}}",
                   secret, roles);
}

#define USER "{\"@type\":\"User\"}"

#define ADMIN "{\"@type\":\"Admin\"}"

/* Nobody makes himself or others more than he is. */
static void check_grants(void)
{
    struct world w;
    world_open(&w);
    CHECK_TEXT(update(&w, "Account", w.ann,
                      json_of("{\"permissions\":{\"@type\":\"Merge\",\"enabledPermissions\":{"
                              "\"sysAccountUpdate\":true,\"sysRoleUpdate\":true}}}")),
               "");
    sign_in(&w);
    CHECK_TEXT(check_change(&w, "Account", NULL, account_with("x", USER)), "");
    CHECK_TEXT(check_change(&w, "Account", account_with("x", USER), account_with("y", USER)), "");
    CHECK_HAS(check_change(&w, "Account", account_with("x", USER), account_with("x", ADMIN)),
              "this would give permissions that you do not have: sysDomainGet, ");
    /* the password of an administrator, and his role */
    CHECK_HAS(check_change(&w, "Account", account_with("x", ADMIN), account_with("y", ADMIN)),
              "the account has permissions that you do not have");
    CHECK_HAS(check_change(&w, "Account", account_with("x", ADMIN), account_with("x", USER)),
              "the account has permissions that you do not have");
    CHECK_TEXT(check_change(&w, "Account", account_with("x", ADMIN), account_with("x", ADMIN)), "");
    CHECK_HAS(check_change(&w, "Account", account_with("x", ADMIN), NULL),
              "the account has permissions that you do not have");
    CHECK_TEXT(check_change(&w, "Account", account_with("x", USER), NULL), "");
    json_t *renamed = account_with("x", ADMIN);
    json_object_set_new(renamed, "name", json_string("other"));
    CHECK_HAS(check_change(&w, "Account", account_with("x", ADMIN), renamed),
              "the account has permissions that you do not have");
    json_t *described = account_with("x", ADMIN);
    json_object_set_new(described, "description", json_string("other"));
    CHECK_TEXT(check_change(&w, "Account", account_with("x", ADMIN), described), "");
    /* What every user has is not looked at: who has not even that may set passwords of users. */
    CHECK_TEXT(update(&w, "Account", w.ann,
                      json_of("{\"permissions\":{\"@type\":\"Replace\",\"enabledPermissions\":{"
                              "\"sysAccountUpdate\":true,\"sysRoleUpdate\":true}}}")),
               "");
    sign_in(&w);
    CHECK(!auth_allows(&w.caller, "sysApiKeyCreate"));
    CHECK_TEXT(check_change(&w, "Account", account_with("x", USER), account_with("y", USER)), "");
    CHECK_TEXT(check_change(&w, "Account", NULL, account_with("x", USER)), "");
    CHECK_HAS(
        check_change(&w, "Role", NULL, json_of("{\"enabledPermissions\":{\"sysDomainGet\":true}}")),
        "sysDomainGet");
    CHECK_HAS(check_change(&w, "Role", json_of("{\"disabledPermissions\":{\"sysDomainGet\":true}}"),
                           json_of("{\"disabledPermissions\":{}}")),
              "sysDomainGet");
    CHECK_TEXT(check_change(&w, "Role", NULL,
                            json_of("{\"enabledPermissions\":{\"sysAccountUpdate\":true}}")),
               "");
    w.caller.permissions = permission_all();
    CHECK_TEXT(check_change(&w, "Account", account_with("x", USER), account_with("y", ADMIN)), "");
    world_close(&w);
}

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

/* Makes a key of ann's and signs in with it. */
static uint64_t use_key(struct world *w, const char *limits)
{
    struct set_errors errors;
    char secret[API_KEY_TEXT_MAX];
    uint64_t id = 0;
    json_t *body = json_of("{\"description\":\"x\"%s%s}", limits[0] ? "," : "", limits);
    errors.count = 0;
    begin(w);
    mx_err err = api_key_create(w->store, &id, secret, w->ann, body, &errors);
    json_decref(body);
    CHECK_TEXT(end(w, err, &errors), "");
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

static const char *check_role(struct world *w, uint64_t id, const char *before, const char *after)
{
    json_t *old = json_of("%s", before), *now = after ? json_of("%s", after) : NULL;
    struct store_wish wish = {type_of("Role"), id, old, now, false};
    const char *error = check_wish(w, &wish);
    json_decref(old);
    json_decref(now);
    return error;
}

#define DOMAINS "{\"enabledPermissions\":{\"sysDomainGet\":true}}"
#define NOTHING "{\"enabledPermissions\":{}}"

/* Who has rights on Roles takes nothing from those who may do more than he. */
static void check_roles_of_the_stronger(void)
{
    struct world w;
    uint64_t weak = 0, between = 0, bob = 0;
    world_open(&w);
    CHECK_TEXT(update(&w, "Account", w.ann,
                      json_of("{\"permissions\":{\"@type\":\"Merge\",\"enabledPermissions\":{"
                              "\"sysRoleUpdate\":true,\"sysDomainGet\":true}}}")),
               "");
    CHECK_TEXT(create(&w, "Role",
                      json_of("{\"description\":\"weak\",\"enabledPermissions\":{"
                              "\"sysDomainGet\":true}}"),
                      &weak),
               "");
    CHECK_TEXT(create(&w, "Role",
                      json_of("{\"description\":\"between\",\"roleIds\":{\"%s\":true}}",
                              id_text(weak).text),
                      &between),
               "");
    sign_in(&w);
    CHECK_TEXT(check_role(&w, weak, DOMAINS, NOTHING), "");
    CHECK_TEXT(check_role(&w, weak, DOMAINS, NULL), "");
    /* What she does not have she neither takes away nor removes. */
    CHECK_TEXT(check_role(&w, weak, "{\"enabledPermissions\":{\"sysDomainUpdate\":true}}", NOTHING),
               "the role has permissions that you do not have: sysDomainUpdate");
    CHECK_TEXT(check_role(&w, weak, "{\"enabledPermissions\":{\"sysDomainUpdate\":true}}", NULL),
               "the role has permissions that you do not have: sysDomainUpdate");

    /* bob has it, by another role, and may do more by himself. */
    CHECK_TEXT(
        create(&w, "Account",
               json_of("{\"@type\":\"User\",\"name\":\"bob\",\"domainId\":\"%s\",\"roles\":"
                       "{\"@type\":\"Custom\",\"roleIds\":{\"%s\":true}},\"permissions\":{"
                       "\"@type\":\"Merge\",\"enabledPermissions\":{\"sysDomainUpdate\":true}"
                       "}}",
                       id_text(w.domain).text, id_text(between).text),
               &bob),
        "");
    static const char *const changes[] = {
        NOTHING, DOMAINS, "{\"disabledPermissions\":{\"sysDomainUpdate\":true}}",
        "{\"description\":\"other\",\"enabledPermissions\":{\"sysDomainGet\":true}}"};
    for (size_t i = 0; i < mx_countof(changes); i++) {
        CHECK_TEXT(check_role(&w, weak, DOMAINS, changes[i]),
                   "an account that has this role has permissions that you do not have: "
                   "sysDomainUpdate");
    }
    CHECK_TEXT(update(&w, "Account", bob, json_of("{\"permissions\":{\"@type\":\"Inherit\"}}")),
               "");
    CHECK_TEXT(check_role(&w, weak, DOMAINS, NOTHING), "");
    w.caller.permissions = permission_all();
    CHECK_TEXT(check_role(&w, weak, DOMAINS, NOTHING), "");
    world_close(&w);
}

static mx_err guard(void *arg, const struct store_wish *wish, struct set_errors *errors)
{
    struct world *w = arg;
    const struct access_caller caller = caller_of(w);
    return access_check_change(w->store, &caller, wish, errors);
}

/* Setting a password that is there already changes nothing; who may not change the account does not
 * learn by that, or by anything else, whether his guess is right. */
static void check_guess_of_a_password(void)
{
    struct world w;
    uint64_t bob = 0;
    char *hash = NULL;
    world_open(&w);
    CHECK_TEXT(
        create(&w, "Account",
               json_of("{\"@type\":\"User\",\"name\":\"bob\",\"domainId\":\"%s\","
                       "\"credentials\":{\"0\":{\"@type\":\"Password\",\"secret\":\"the word "
                       "of bob\"}}}",
                       id_text(w.domain).text),
               &bob),
        "");
    CHECK_TEXT(update(&w, "Account", w.ann, json_of("{\"roles\":{\"@type\":\"Admin\"}}")), "");
    json_t *ann = NULL;
    CHECK(store_get(w.store, &ann, type_of("Account"), w.ann) == MX_OK);
    hash = strdup(json_string_value(
        json_object_get(json_object_get(json_object_get(ann, "credentials"), "0"), "secret")));
    json_decref(ann);
    CHECK(try_basic(&w, "bob@example.org", "the word of bob") == AUTH_OK);
    permission_add(&w.caller.permissions, permission_of(type_of("Account"), PERMISSION_UPDATE));
    store_guard(w.store, guard, &w);
    /* right, wrong, what sealing would refuse (it has not come so far), and the very hash */
    const char *const guesses[] = {ANN_SECRET, ANN_SECRET "x", "short", "{SSHA}c2FsdA==", hash};
    for (size_t i = 0; i < mx_countof(guesses); i++) {
        CHECK_TEXT(
            update(&w, "Account", w.ann, json_of("{\"credentials/0/secret\":\"%s\"}", guesses[i])),
            "forbidden : the account has permissions that you do not have: sysDomainGet, "
            "sysDomainQuery, sysDomainCreate, sysDomainUpdate, sysDomainDestroy");
    }
    /* The mask says nothing of it; and his own he may set again. */
    CHECK_TEXT(update(&w, "Account", w.ann,
                      json_of("{\"description\":\"x\",\"credentials/0/secret\":\"****\"}")),
               "");
    uint64_t generation = store_generation(w.store);
    CHECK_TEXT(
        update(&w, "Account", bob, json_of("{\"credentials/0/secret\":\"the word of bob\"}")), "");
    CHECK(store_generation(w.store) == generation);
    CHECK_HAS(update(&w, "Account", bob, json_of("{\"credentials/0/secret\":\"short\"}")),
              "is too weak");
    store_guard(w.store, NULL, NULL);
    CHECK_TEXT(update(&w, "Account", w.ann, json_of("{\"credentials/0/secret\":\"%s\"}", hash)),
               "");
    CHECK(store_generation(w.store) == generation);
    free(hash);
    world_close(&w);
}

int main(void)
{
    check_permission_names();
    check_roles();
    check_grants();
    check_keys_of_keys();
    check_keys_prolong_nothing();
    check_keys_make_no_passwords();
    check_roles_of_the_stronger();
    check_guess_of_a_password();
    return report("access");
}
