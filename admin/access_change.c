#include "admin/access_private.h"
#include "admin/object_id.h"
#include "core/check.h"
#include "core/netaddr.h"
#include "core/timefmt.h"

#include <stdio.h>
#include <string.h>

enum { NAMED_MAX = 5 };

/* A change on its way through the rules. */
struct review {
    struct store *store;
    const struct access_caller *caller;
    const struct store_wish *wish;
    struct set_errors *errors;
};

static void refuse_missing(const struct review *r, struct permission_set wanted, const char *what)
{
    permission_remove(&wanted, &r->caller->permissions);
    if (permission_is_empty(&wanted)) {
        return;
    }
    char names[NAMED_MAX * (PERMISSION_NAME_MAX + 2)];
    struct writer w = writer_init(names, sizeof names);
    put_permissions(&w, &wanted, NAMED_MAX);
    set_error_add(r->errors, SET_FORBIDDEN, NULL, "%s permissions that you do not have: %.*s", what,
                  (int)w.len, names);
}

static bool same_member(const json_t *before, const json_t *after, const char *name)
{
    json_t *old = json_object_get(before, name), *now = json_object_get(after, name);
    return old == now || json_equal(old, now); /* absent is as absent */
}

/* How far a credential reaches --------------------------------------------------------------- */

/* What the caller has signed in with, a new reference; NULL: it has no limits. MX_ERR_NOTFOUND: it
 * was an API key that an earlier call has removed. */
static mx_err own_credential(const struct review *r, json_t **out_credential)
{
    json_t *account = NULL;
    *out_credential = NULL;
    if (r->caller->key != 0) {
        return store_get(r->store, out_credential, reg_type_find(SLICE_LITERAL("ApiKey")),
                         r->caller->key);
    }
    if (r->caller->account == 0) {
        return MX_OK;
    }
    mx_err err =
        store_get(r->store, &account, reg_type_find(SLICE_LITERAL("Account")), r->caller->account);
    const json_t *list = json_object_get(account, "credentials");
    *out_credential = json_incref(json_object_get(list, "0")); /* an account has one at most */
    json_decref(account);
    return err == MX_ERR_NOTFOUND ? MX_OK : err;
}

static int64_t end_of(const json_t *credential)
{
    const char *text = json_string_value(json_object_get(credential, "expiresAt"));
    int64_t end_ms = 0;
    return text == NULL                                  ? INT64_MAX
           : rfc3339_parse(&end_ms, slice_of_text(text)) ? INT64_MIN
                                                         : end_ms;
}

static bool network_is_in(const char *text, const json_t *networks)
{
    struct netmask inner, outer;
    const char *name;
    json_t *yes;
    bool inside = false;
    if (netmask_parse(&inner, slice_of_text(text))) {
        return false;
    }
    json_object_foreach((json_t *)(uintptr_t)networks, name, yes)
    {
        inside = inside || (netmask_parse(&outer, slice_of_text(name)) == MX_OK &&
                            outer.bits <= inner.bits && netmask_contains(&outer, &inner.addr));
    }
    return inside;
}

/* An empty set is everywhere. */
static bool networks_are_in(const json_t *networks, const json_t *own)
{
    const char *name;
    json_t *yes;
    bool inside = json_object_size(own) == 0 || json_object_size(networks) > 0;
    json_object_foreach((json_t *)(uintptr_t)networks, name, yes)
    {
        inside = inside && (json_object_size(own) == 0 || network_is_in(name, own));
    }
    return inside;
}

static bool ends_within(const json_t *credential, const json_t *own)
{
    return end_of(credential) <= end_of(own);
}

static bool is_within(const json_t *credential, const json_t *own)
{
    return ends_within(credential, own) &&
           networks_are_in(json_object_get(credential, "allowedIps"),
                           json_object_get(own, "allowedIps"));
}

/* credential reaches no further than own; path is the place of credential, empty or with a slash at
 * its end, or NULL: it is in another object. */
static void refuse_beyond(const struct review *r, const json_t *own, const json_t *credential,
                          const char *path, const char *what)
{
    char property[SET_PROPERTY_MAX];
    if (!ends_within(credential, own)) {
        (void)snprintf(property, sizeof property, "%sexpiresAt", path ? path : "");
        set_error_add(r->errors, SET_FORBIDDEN, path ? property : NULL,
                      "%s good for longer than what you have signed in with (until %s)", what,
                      json_string_value(json_object_get(own, "expiresAt")));
    } else if (!is_within(credential, own)) {
        (void)snprintf(property, sizeof property, "%sallowedIps", path ? path : "");
        set_error_add(r->errors, SET_FORBIDDEN, path ? property : NULL,
                      "%s good from more addresses than what you have signed in with", what);
    }
}

/* False: it is gone, and that is said; or the store failed. */
static bool has_own(const struct review *r, json_t **out_own, mx_err *out_err)
{
    *out_err = own_credential(r, out_own);
    if (*out_err == MX_ERR_NOTFOUND) {
        *out_err = MX_OK;
        set_error_add(r->errors, SET_FORBIDDEN, NULL,
                      "the API key that you have signed in with is gone");
        return false;
    }
    return *out_err == MX_OK;
}

/* Accounts ---------------------------------------------------------------------------------- */

/* Who it is and what it may do; the rest is about its mail. */
static bool same_access(const json_t *before, const json_t *after)
{
    static const char *const members[] = {"name", "domainId", "credentials", "roles",
                                          "permissions"};
    for (size_t i = 0; i < mx_countof(members); i++) {
        if (!same_member(before, after, members[i])) {
            return false;
        }
    }
    return true;
}

/* What the account may do beyond what every user may, which is nothing to give or take. */
static mx_err strength_of(const struct review *r, struct permission_set *out, const json_t *account)
{
    struct permission_set common = access_of_user();
    mx_err err = access_of_account(r->store, out, account);
    permission_remove(out, &common);
    return err;
}

/* An API key makes no password that outlasts it, of an account that may do anything. */
static void check_passwords(const struct review *r, const json_t *own, const json_t *account)
{
    const char *key;
    json_t *credential;
    json_object_foreach(json_object_get(account, "credentials"), key, credential)
    {
        char path[SET_PROPERTY_MAX / 2];
        (void)snprintf(path, sizeof path, "credentials/%s/", key);
        refuse_beyond(r, own, credential, path, "this password would be");
    }
}

/* Does the account have the role, by whatever way? */
static mx_err has_role(struct access_gathering *g, const json_t *account, uint64_t role,
                       bool *out_has)
{
    mx_err err = access_gather_account(g, account);
    *out_has = false;
    for (uint32_t i = 0; i < g->count; i++) {
        *out_has = *out_has || g->roles[i] == role;
    }
    return err;
}

struct key_search {
    const struct review *review;
    const json_t *own;      /* what the caller has signed in with */
    uint64_t account, role; /* of this account, or of all that have the role; the other is 0 */
};

static mx_err is_sought(const struct key_search *search, uint64_t id, bool *out_is)
{
    struct store *store = search->review->store;
    struct access_gathering g = {.store = store};
    json_t *account = NULL;
    *out_is = id == search->account;
    if (search->role == 0) {
        return MX_OK;
    }
    mx_err err = store_get(store, &account, reg_type_find(SLICE_LITERAL("Account")), id);
    err = err ? err : has_role(&g, account, search->role, out_is);
    json_decref(account);
    return err == MX_ERR_NOTFOUND ? MX_OK : err;
}

static mx_err check_its_key(void *arg, uint64_t id, json_t *key)
{
    const struct key_search *search = arg;
    const struct review *r = search->review;
    const char *text = json_string_value(json_object_get(key, "accountId"));
    uint64_t account = 0;
    uint32_t refused = r->errors->count;
    bool sought = false;
    (void)id;
    if (is_within(key, search->own) || object_id_parse(&account, slice_of_text(text))) {
        return MX_OK;
    }
    mx_err err = is_sought(search, account, &sought);
    if (err || !sought) {
        return err;
    }
    refuse_beyond(r, search->own, key, NULL, "an API key of the account is");
    if (r->errors->count > refused && refused < SET_ERRORS_MAX) {
        r->errors->items[refused].object =
            (struct set_object){reg_type_find(SLICE_LITERAL("Account")), account};
    }
    return MX_ERR_EXISTS; /* one is enough */
}

/* Nor does it give anything to an account that has a key which does. */
static mx_err check_keys_of(const struct key_search *search)
{
    mx_err err = store_each(search->review->store, reg_type_find(SLICE_LITERAL("ApiKey")),
                            check_its_key, (void *)(uintptr_t)search);
    return err == MX_ERR_EXISTS ? MX_OK : err;
}

/* Of an account that may do what set has, and could do what had has before. */
static mx_err check_reach(const struct review *r, const struct permission_set *had,
                          struct permission_set set)
{
    const struct store_wish *wish = r->wish;
    json_t *own = NULL;
    mx_err err = MX_OK;
    permission_remove(&set, had);
    bool gains = !permission_is_empty(&set);
    bool signs_in_so_far =
        wish->before && !wish->has_hash && same_member(wish->before, wish->after, "credentials");
    if (r->caller->key == 0 || (!gains && signs_in_so_far) || !has_own(r, &own, &err)) {
        return err;
    }
    uint32_t refused = r->errors->count;
    check_passwords(r, own, wish->after);
    if (gains && wish->before && r->errors->count == refused) {
        err = check_keys_of(&(struct key_search){r, own, wish->id, 0});
    }
    json_decref(own);
    return err;
}

static mx_err check_account(const struct review *r)
{
    const json_t *before = r->wish->before, *after = r->wish->after;
    struct permission_set had = {0}, set;
    mx_err err = MX_OK;
    if (before && after && !r->wish->has_hash && same_access(before, after)) {
        return MX_OK;
    }
    uint32_t refused = r->errors->count;
    if (before) {
        err = strength_of(r, &had, before);
        if (!err) {
            refuse_missing(r, had, "the account has");
        }
    }
    if (!err && after && r->errors->count == refused) {
        err = strength_of(r, &set, after);
        if (!err) {
            refuse_missing(r, set, "this would give");
        }
        if (!err && !permission_is_empty(&set)) {
            err = check_reach(r, &had, set);
        }
    }
    return err;
}

/* Roles ------------------------------------------------------------------------------------- */

/* Anything that a role enables or no longer disables. */
static mx_err check_given(const struct review *r)
{
    const json_t *before = r->wish->before, *after = r->wish->after;
    struct access_gathering g = {.store = r->store};
    struct permission_set old = access_names(json_object_get(before, "enabledPermissions"));
    struct permission_set given = access_names(json_object_get(after, "enabledPermissions"));
    struct permission_set freed = access_names(json_object_get(before, "disabledPermissions"));
    struct permission_set kept = access_names(json_object_get(after, "disabledPermissions"));
    permission_remove(&given, &old);
    permission_remove(&freed, &kept);
    permission_join(&given, &freed);
    if (!before || !same_member(before, after, "roleIds")) {
        /* A role left out may have disabled something. */
        access_meet_roles(&g, json_object_get(before, "roleIds"));
        mx_err err = access_gather_roles(&g);
        if (err) {
            return err;
        }
        permission_join(&given, &g.disabled);
        g = (struct access_gathering){.store = r->store};
        access_meet_roles(&g, json_object_get(after, "roleIds"));
        err = access_gather_roles(&g);
        if (err) {
            return err;
        }
        permission_join(&given, &g.enabled);
    }
    refuse_missing(r, given, "this would give");
    return MX_OK;
}

struct holder_search {
    const struct review *review;
    uint64_t role;
    const json_t *own; /* what the caller has signed in with */
};

/* The account may do more than the caller: one is enough. */
static mx_err refuse_stronger(const struct review *r, const struct access_gathering *g, uint64_t id,
                              const char *what)
{
    struct permission_set set = access_result(g), common = access_of_user();
    permission_remove(&set, &common);
    uint32_t refused = r->errors->count;
    refuse_missing(r, set, what);
    struct set_error *error = r->errors->count > refused ? &r->errors->items[refused] : NULL;
    if (error) {
        error->object = (struct set_object){reg_type_find(SLICE_LITERAL("Account")), id};
    }
    return error ? MX_ERR_EXISTS : MX_OK;
}

/* Does the account have the role, and more than the caller? */
static mx_err check_holder(void *arg, uint64_t id, json_t *account)
{
    struct holder_search *search = arg;
    struct access_gathering g = {.store = search->review->store};
    bool has;
    mx_err err = has_role(&g, account, search->role, &has);
    return err || !has
               ? err
               : refuse_stronger(search->review, &g, id, "an account that has this role has");
}

/* Who gets more by the role does not have it for longer than the caller. */
static mx_err check_holder_reach(void *arg, uint64_t id, json_t *account)
{
    const struct holder_search *search = arg;
    const struct review *r = search->review;
    struct access_gathering g = {.store = r->store};
    uint32_t refused = r->errors->count;
    const char *key;
    json_t *credential;
    bool has;
    mx_err err = has_role(&g, account, search->role, &has);
    if (err || !has) {
        return err;
    }
    json_object_foreach(json_object_get(account, "credentials"), key, credential)
    {
        refuse_beyond(r, search->own, credential, NULL, "the password of an account with it is");
    }
    if (r->errors->count > refused && refused < SET_ERRORS_MAX) {
        r->errors->items[refused].object =
            (struct set_object){reg_type_find(SLICE_LITERAL("Account")), id};
        err = MX_ERR_EXISTS;
    }
    return err;
}

static mx_err gather_role(const struct review *r, struct access_gathering *g, const json_t *role)
{
    *g = (struct access_gathering){.store = r->store};
    access_gather_lists(g, role);
    access_meet_roles(g, json_object_get(role, "roleIds"));
    return access_gather_roles(g);
}

/* An API key gives nothing to accounts that outlast it, by a role that they have either. */
static mx_err check_role_reach(const struct review *r)
{
    struct access_gathering old, now;
    struct permission_set common = access_of_user();
    json_t *own = NULL;
    if (r->caller->key == 0 || !r->wish->before || !r->wish->after) {
        return MX_OK;
    }
    mx_err err = gather_role(r, &old, r->wish->before);
    err = err ? err : gather_role(r, &now, r->wish->after);
    if (err) {
        return err;
    }
    permission_remove(&now.enabled, &old.enabled);
    permission_remove(&old.disabled, &now.disabled);
    permission_join(&now.enabled, &old.disabled);
    permission_remove(&now.enabled, &common);
    if (permission_is_empty(&now.enabled) || !has_own(r, &own, &err)) {
        return err;
    }
    struct holder_search search = {r, r->wish->id, own};
    uint32_t refused = r->errors->count;
    err = store_each_with_roles(r->store, check_holder_reach, &search);
    if (!err && r->errors->count == refused) {
        err = check_keys_of(&(struct key_search){r, own, 0, r->wish->id});
    }
    json_decref(own);
    return err == MX_ERR_EXISTS ? MX_OK : err;
}

/* Nobody may do more than he. */
static bool has_all(const struct access_caller *caller)
{
    struct permission_set beyond = permission_all();
    permission_remove(&beyond, &caller->permissions);
    return permission_is_empty(&beyond);
}

static mx_err check_role(const struct review *r)
{
    struct access_gathering g;
    uint32_t refused = r->errors->count;
    mx_err err = check_role_reach(r);
    if (err || r->errors->count > refused || has_all(r->caller)) {
        return err;
    }
    err = r->wish->after ? check_given(r) : MX_OK;
    if (err || !r->wish->before || r->errors->count > refused) {
        return err;
    }
    err = gather_role(r, &g, r->wish->before);
    if (!err) {
        refuse_missing(r, access_result(&g), "the role has");
    }
    if (!err && r->errors->count == refused) {
        struct holder_search search = {.review = r, .role = r->wish->id};
        err = store_each_with_roles(r->store, check_holder, &search);
    }
    return err == MX_ERR_EXISTS ? MX_OK : err;
}

/* Domains ----------------------------------------------------------------------------------- */

static mx_err check_member(void *arg, uint64_t id, json_t *account)
{
    const struct review *r = arg;
    struct access_gathering g = {.store = r->store};
    mx_err err = access_gather_account(&g, account);
    return err ? err : refuse_stronger(r, &g, id, "an account in this domain has");
}

/* Who signs in by the domain's name would have another login, or none. */
static mx_err check_domain(const struct review *r)
{
    const json_t *before = r->wish->before, *after = r->wish->after;
    bool touches = before && after &&
                   !(same_member(before, after, "name") && same_member(before, after, "isEnabled"));
    if (!touches || has_all(r->caller)) {
        return MX_OK;
    }
    struct review review = *r;
    mx_err err = store_each_in_domain(r->store, r->wish->id, check_member, &review);
    return err == MX_ERR_EXISTS ? MX_OK : err;
}

/* API keys ---------------------------------------------------------------------------------- */

static mx_err access_with_key(struct store *store, struct permission_set *out, const json_t *key)
{
    const json_t *owner = json_object_get(key, "accountId");
    uint64_t id = 0;
    json_t *account = NULL;
    *out = (struct permission_set){0};
    mx_err err = object_id_parse(&id, slice_of_text(json_string_value(owner)));
    err = err ? err : store_get(store, &account, reg_type_find(SLICE_LITERAL("Account")), id);
    err = err ? err : access_of_account(store, out, account);
    json_decref(account);
    access_of_key(out, key);
    return err == MX_ERR_NOTFOUND ? MX_OK : err;
}

/* Its account may do more than the caller, who has a lesser key of it. */
static mx_err refuse_more(const struct review *r, const json_t *key, const char *what)
{
    struct permission_set set;
    mx_err err = access_with_key(r->store, &set, key);
    if (!err) {
        refuse_missing(r, set, what);
    }
    return err;
}

/* With a password, a key is one's own whatever its limits: it can be narrowed and removed. */
static mx_err check_key(const struct review *r)
{
    const json_t *before = r->wish->before, *after = r->wish->after;
    json_t *own = NULL;
    mx_err err;
    uint32_t refused = r->errors->count;
    if (!has_own(r, &own, &err)) {
        return err;
    }
    if (before) {
        err = refuse_more(r, before, "the key has");
    }
    if (!err && before && r->caller->key != 0) {
        refuse_beyond(r, own, before, "", "the key is");
    }
    if (!err && after && r->errors->count == refused) {
        err = refuse_more(r, after, "this would give");
        if (!err && !(before && is_within(after, before))) {
            refuse_beyond(r, own, after, "", "the key would be");
        }
    }
    json_decref(own);
    return err;
}

mx_err access_check_change(struct store *store, const struct access_caller *caller,
                           const struct store_wish *wish, struct set_errors *errors)
{
    const struct review review = {store, caller, wish, errors};
    if (wish->type->storage == REG_IN_ACCOUNTS) {
        return check_account(&review);
    }
    if (wish->type->storage == REG_IN_DOMAINS) {
        return check_domain(&review);
    }
    if (strcmp(wish->type->shape.name, "Role") == 0) {
        return check_role(&review);
    }
    if (strcmp(wish->type->shape.name, "ApiKey") == 0) {
        return check_key(&review);
    }
    return MX_OK;
}
