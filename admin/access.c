#include "admin/access.h"

#include "admin/object_id.h"
#include "core/check.h"

#include <string.h>

enum { NAMED_MAX = 5 };

/* What is enabled and disabled on the way through roles. */
struct gathering {
    struct store *store;
    struct permission_set enabled, disabled;
    uint64_t roles[ACCESS_ROLES_MAX]; /* met, each once; the first `done` are gathered */
    uint32_t count, done;
    bool too_many;
};

static const char *variant_of(const json_t *object)
{
    const char *name = json_string_value(json_object_get(object, "@type"));
    return name ? name : "";
}

static struct permission_set set_of(const json_t *names)
{
    struct permission_set set = {0};
    const char *name;
    json_t *yes;
    json_object_foreach((json_t *)(uintptr_t)names, name, yes)
    {
        int permission = permission_find(slice_of_text(name));
        if (permission >= 0) {
            permission_add(&set, permission);
        }
    }
    return set;
}

/* The two sets of a Role, or of an account's permissions. */
static void gather_lists(struct gathering *g, const json_t *holder)
{
    struct permission_set enabled = set_of(json_object_get(holder, "enabledPermissions"));
    struct permission_set disabled = set_of(json_object_get(holder, "disabledPermissions"));
    permission_join(&g->enabled, &enabled);
    permission_join(&g->disabled, &disabled);
}

static void meet_roles(struct gathering *g, const json_t *ids)
{
    const char *text;
    json_t *yes;
    json_object_foreach((json_t *)(uintptr_t)ids, text, yes)
    {
        uint64_t id = 0;
        MX_ASSERT(object_id_parse(&id, slice_of_text(text)) == MX_OK);
        bool known = false;
        for (uint32_t i = 0; i < g->count; i++) {
            known = known || g->roles[i] == id;
        }
        if (!known && g->count == ACCESS_ROLES_MAX) {
            g->too_many = true;
        } else if (!known) {
            g->roles[g->count++] = id;
        }
    }
}

static mx_err gather_roles(struct gathering *g)
{
    const struct reg_type *type = reg_type_find(SLICE_LITERAL("Role"));
    while (g->done < g->count) {
        json_t *role = NULL;
        mx_err err = store_get(g->store, &role, type, g->roles[g->done++]);
        if (err == MX_ERR_NOTFOUND) {
            continue; /* a link that is refused elsewhere gives nothing */
        }
        if (err) {
            return err;
        }
        gather_lists(g, role);
        meet_roles(g, json_object_get(role, "roleIds"));
        json_decref(role);
    }
    return MX_OK;
}

static struct permission_set of_user(void)
{
    const struct reg_type *keys = reg_type_find(SLICE_LITERAL("ApiKey"));
    struct permission_set set = {0};
    for (unsigned verb = 0; verb < PERMISSION_VERBS; verb++) {
        permission_add(&set, permission_of(keys, verb));
    }
    return set;
}

static struct permission_set result_of(const struct gathering *g)
{
    struct permission_set set = g->enabled;
    permission_remove(&set, &g->disabled);
    return g->too_many ? (struct permission_set){0} : set;
}

mx_err access_of_account(struct store *store, struct permission_set *out, const json_t *account)
{
    const json_t *roles = json_object_get(account, "roles");
    const json_t *own = json_object_get(account, "permissions");
    struct gathering g = {.store = store};
    mx_err err = MX_OK;
    if (strcmp(variant_of(own), "Replace") == 0) {
        gather_lists(&g, own);
        *out = result_of(&g);
        return MX_OK;
    }
    if (strcmp(variant_of(roles), "Admin") == 0) {
        g.enabled = permission_all();
    } else if (strcmp(variant_of(roles), "User") == 0) {
        g.enabled = of_user();
    } else {
        meet_roles(&g, json_object_get(roles, "roleIds"));
        err = gather_roles(&g);
    }
    gather_lists(&g, own); /* Inherit has none */
    *out = result_of(&g);
    return err;
}

void access_of_key(struct permission_set *set, const json_t *key)
{
    const json_t *own = json_object_get(key, "permissions");
    struct permission_set named = set_of(json_object_get(own, "permissions"));
    if (strcmp(variant_of(own), "Disable") == 0) {
        permission_remove(set, &named);
    } else if (strcmp(variant_of(own), "Replace") == 0) {
        permission_intersect(set, &named);
    }
}

mx_err access_check_role(struct store *store, uint64_t id, const json_t *role,
                         struct set_errors *errors)
{
    struct gathering g = {.store = store};
    meet_roles(&g, json_object_get(role, "roleIds"));
    mx_err err = gather_roles(&g);
    for (uint32_t i = 0; i < g.count; i++) {
        if (g.roles[i] == id) {
            set_error_add(errors, SET_INVALID_PROPERTIES, "roleIds", "leads back to the role");
            return err;
        }
    }
    if (g.too_many) {
        set_error_add(errors, SET_INVALID_PROPERTIES, "roleIds", "leads to more than %d roles",
                      ACCESS_ROLES_MAX);
    }
    return err;
}

/* Changes by a caller ---------------------------------------------------------------------- */

static void refuse_missing(const struct permission_set *caller, struct permission_set wanted,
                           const char *what, struct set_errors *errors)
{
    permission_remove(&wanted, caller);
    if (permission_is_empty(&wanted)) {
        return;
    }
    char names[NAMED_MAX * (PERMISSION_NAME_MAX + 2)];
    struct writer w = writer_init(names, sizeof names);
    put_permissions(&w, &wanted, NAMED_MAX);
    set_error_add(errors, SET_FORBIDDEN, NULL, "%s permissions that you do not have: %.*s", what,
                  (int)w.len, names);
}

static bool same_member(const json_t *before, const json_t *after, const char *name)
{
    json_t *old = json_object_get(before, name), *now = json_object_get(after, name);
    return old == now || json_equal(old, now); /* absent is as absent */
}

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

/* before, after: NULL when it is new, or goes. */
static mx_err check_account(struct store *store, const struct permission_set *caller,
                            const json_t *before, const json_t *after, struct set_errors *errors)
{
    struct permission_set set;
    struct permission_set common = of_user(); /* what every user has is nothing to give or take */
    mx_err err = MX_OK;
    if (before && after && same_access(before, after)) {
        return MX_OK;
    }
    uint32_t refused = errors->count;
    if (before) {
        err = access_of_account(store, &set, before);
        permission_remove(&set, &common);
        if (!err) {
            refuse_missing(caller, set, "the account has", errors);
        }
    }
    if (!err && after && errors->count == refused) {
        err = access_of_account(store, &set, after);
        permission_remove(&set, &common);
        if (!err) {
            refuse_missing(caller, set, "this would give", errors);
        }
    }
    return err;
}

/* Anything that a role enables or no longer disables. */
static mx_err check_role(struct store *store, const struct permission_set *caller,
                         const json_t *before, const json_t *after, struct set_errors *errors)
{
    struct gathering g = {.store = store};
    struct permission_set old = set_of(json_object_get(before, "enabledPermissions"));
    struct permission_set given = set_of(json_object_get(after, "enabledPermissions"));
    struct permission_set freed = set_of(json_object_get(before, "disabledPermissions"));
    struct permission_set kept = set_of(json_object_get(after, "disabledPermissions"));
    permission_remove(&given, &old);
    permission_remove(&freed, &kept);
    permission_join(&given, &freed);
    if (!before || !same_member(before, after, "roleIds")) {
        /* A role left out may have disabled something. */
        meet_roles(&g, json_object_get(before, "roleIds"));
        mx_err err = gather_roles(&g);
        if (err) {
            return err;
        }
        permission_join(&given, &g.disabled);
        g = (struct gathering){.store = store};
        meet_roles(&g, json_object_get(after, "roleIds"));
        err = gather_roles(&g);
        if (err) {
            return err;
        }
        permission_join(&given, &g.enabled);
    }
    refuse_missing(caller, given, "this would give", errors);
    return MX_OK;
}

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

/* What its account may do and the caller may not: he has a lesser key of it. */
static mx_err check_key(struct store *store, const struct permission_set *caller,
                        const json_t *before, const json_t *after, struct set_errors *errors)
{
    struct permission_set old = {0}, given;
    mx_err err = before ? access_with_key(store, &old, before) : MX_OK;
    err = err ? err : access_with_key(store, &given, after);
    if (!err) {
        permission_remove(&given, &old);
        refuse_missing(caller, given, "this would give", errors);
    }
    return err;
}

mx_err access_check_change(struct store *store, const struct permission_set *caller,
                           const struct reg_type *type, const json_t *before, const json_t *after,
                           struct set_errors *errors)
{
    if (type->storage == REG_IN_ACCOUNTS) {
        return check_account(store, caller, before, after, errors);
    }
    if (after && strcmp(type->shape.name, "Role") == 0) {
        return check_role(store, caller, before, after, errors);
    }
    if (after && strcmp(type->shape.name, "ApiKey") == 0) {
        return check_key(store, caller, before, after, errors);
    }
    return MX_OK;
}
