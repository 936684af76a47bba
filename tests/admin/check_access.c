/* What accounts and API keys may do, and who may change that. */
#include "tests/admin/auth_support.h"

#include "admin/access.h"

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

static const char *check_change(struct world *w, const char *type, json_t *before, json_t *after)
{
    struct set_errors errors;
    errors.count = 0;
    first_error[0] = '\0';
    CHECK(access_check_change(w->store, &w->caller.permissions, type_of(type), before, after,
                              &errors) == MX_OK);
    if (errors.count) {
        snprintf(first_error, sizeof first_error, "%s", errors.items[0].text);
    }
    json_decref(before);
    json_decref(after);
    return first_error;
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
    CHECK_TEXT(check_change(&w, "ApiKey", key_of(w.ann, INHERIT), key_of(w.ann, INHERIT)), "");
    CHECK_TEXT(check_change(&w, "ApiKey", key_of(w.ann, INHERIT), NULL), "");
    world_close(&w);
}

int main(void)
{
    check_permission_names();
    check_roles();
    check_grants();
    check_keys_of_keys();
    return report("access");
}
