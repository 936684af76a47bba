#include "admin/access_private.h"

#include "admin/object_id.h"
#include "core/check.h"

#include <string.h>

static const char *variant_of(const json_t *object)
{
    const char *name = json_string_value(json_object_get(object, "@type"));
    return name ? name : "";
}

struct permission_set access_names(const json_t *names)
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

void access_gather_lists(struct access_gathering *g, const json_t *holder)
{
    struct permission_set enabled = access_names(json_object_get(holder, "enabledPermissions"));
    struct permission_set disabled = access_names(json_object_get(holder, "disabledPermissions"));
    permission_join(&g->enabled, &enabled);
    permission_join(&g->disabled, &disabled);
}

void access_meet_roles(struct access_gathering *g, const json_t *ids)
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

mx_err access_gather_roles(struct access_gathering *g)
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
        access_gather_lists(g, role);
        access_meet_roles(g, json_object_get(role, "roleIds"));
        json_decref(role);
    }
    return MX_OK;
}

struct permission_set access_of_user(void)
{
    const struct reg_type *keys = reg_type_find(SLICE_LITERAL("ApiKey"));
    struct permission_set set = {0};
    for (unsigned verb = 0; verb < PERMISSION_VERBS; verb++) {
        permission_add(&set, permission_of(keys, verb));
    }
    return set;
}

struct permission_set access_result(const struct access_gathering *g)
{
    struct permission_set set = g->enabled;
    permission_remove(&set, &g->disabled);
    return g->too_many ? (struct permission_set){0} : set;
}

mx_err access_gather_account(struct access_gathering *g, const json_t *account)
{
    const json_t *roles = json_object_get(account, "roles");
    const json_t *own = json_object_get(account, "permissions");
    mx_err err = MX_OK;
    if (strcmp(variant_of(own), "Replace") == 0) {
        access_gather_lists(g, own);
        return MX_OK;
    }
    if (strcmp(variant_of(roles), "Admin") == 0) {
        g->enabled = permission_all();
    } else if (strcmp(variant_of(roles), "User") == 0) {
        g->enabled = access_of_user();
    } else {
        access_meet_roles(g, json_object_get(roles, "roleIds"));
        err = access_gather_roles(g);
    }
    access_gather_lists(g, own); /* Inherit has none */
    return err;
}

mx_err access_of_account(struct store *store, struct permission_set *out, const json_t *account)
{
    struct access_gathering g = {.store = store};
    mx_err err = access_gather_account(&g, account);
    *out = access_result(&g);
    return err;
}

void access_of_key(struct permission_set *set, const json_t *key)
{
    const json_t *own = json_object_get(key, "permissions");
    struct permission_set named = access_names(json_object_get(own, "permissions"));
    if (strcmp(variant_of(own), "Disable") == 0) {
        permission_remove(set, &named);
    } else if (strcmp(variant_of(own), "Replace") == 0) {
        permission_intersect(set, &named);
    }
}

mx_err access_check_role(struct store *store, uint64_t id, const json_t *role,
                         struct set_errors *errors)
{
    struct access_gathering g = {.store = store};
    access_meet_roles(&g, json_object_get(role, "roleIds"));
    mx_err err = access_gather_roles(&g);
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
