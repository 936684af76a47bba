/* What accounts may do, and who may change that. */
#include "tests/admin/access_support.h"

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

static const char *check_role(struct world *w, uint64_t id, const char *before, const char *after)
{
    return check_change_of(w, "Role", id, json_of("%s", before),
                           after ? json_of("%s", after) : NULL);
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

static const char *check_domain(struct world *w, const char *before, const char *after)
{
    return check_change_of(w, "Domain", w->domain, json_of("{%s}", before), json_of("{%s}", after));
}

#define ORG "\"name\":\"example.org\",\"isEnabled\":true"
#define NET "\"name\":\"example.net\",\"isEnabled\":true"
#define OFF "\"name\":\"example.org\",\"isEnabled\":false"

/* Nor does who has rights on Domains shut them out. */
static void check_domains_of_the_stronger(void)
{
    static const char stronger[] = "an account in this domain has permissions that you do not have";
    struct world w;
    uint64_t bob = 0, other = 0;
    world_open(&w);
    CHECK_TEXT(create(&w, "Domain", json_of("{\"name\":\"other.example\"}"), &other), "");
    CHECK_TEXT(create(&w, "Account",
                      json_of("{\"@type\":\"User\",\"name\":\"bob\",\"domainId\":\"%s\",\"roles\":"
                              "{\"@type\":\"Admin\"}}",
                              id_text(other).text),
                      &bob),
               "");
    CHECK_TEXT(update(&w, "Account", w.ann,
                      json_of("{\"permissions\":{\"@type\":\"Merge\",\"enabledPermissions\":{"
                              "\"sysDomainUpdate\":true}}}")),
               "");
    sign_in(&w);
    CHECK_TEXT(check_domain(&w, ORG, NET), ""); /* only she is in it */
    CHECK_TEXT(update(&w, "Account", bob, json_of("{\"domainId\":\"%s\"}", id_text(w.domain).text)),
               "");
    CHECK_HAS(check_domain(&w, ORG, NET), stronger);
    CHECK_HAS(check_domain(&w, ORG, OFF), stronger);
    CHECK_HAS(check_domain(&w, OFF, ORG), stronger);
    CHECK_TEXT(check_domain(&w, ORG, ORG ",\"allowRelaying\":true"), "");
    /* by what he may do himself, and by a role */
    CHECK_TEXT(
        update(&w, "Account", bob,
               json_of("{\"roles\":{\"@type\":\"User\"},\"permissions\":{\"@type\":\"Merge\","
                       "\"enabledPermissions\":{\"sysRoleGet\":true}}}")),
        "");
    CHECK_HAS(check_domain(&w, ORG, NET), ": sysRoleGet");
    CHECK_TEXT(update(&w, "Account", bob, json_of("{\"permissions\":{\"@type\":\"Inherit\"}}")),
               "");
    CHECK_TEXT(check_domain(&w, ORG, NET), "");
    w.caller.permissions = permission_all();
    CHECK_TEXT(update(&w, "Account", bob, json_of("{\"roles\":{\"@type\":\"Admin\"}}")), "");
    CHECK_TEXT(check_domain(&w, ORG, NET), "");
    world_close(&w);
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
    check_roles_of_the_stronger();
    check_domains_of_the_stronger();
    check_guess_of_a_password();
    return report("access");
}
