/* What accounts may do: a row only for those that differ from the default, so that mailboxes that
 * never sign in cost nothing. And notes. */
#include "admin/store_private.h"
#include "admin/validate.h"
#include "core/check.h"

#include <stdio.h>
#include <stdlib.h>

static const char *const members[] = {"credentials", "roles", "permissions"};

static mx_err damaged(struct store *store)
{
    snprintf(store->problem, sizeof(store->problem),
             "registry.db holds access rights that are not JSON");
    return MX_ERR_DAMAGED;
}

static const char *variant_of(const json_t *object, const char *member)
{
    const char *name = json_string_value(json_object_get(json_object_get(object, member), "@type"));
    return name ? name : "";
}

static json_t *variant_json(const char *name)
{
    json_t *object = json_object();
    json_object_set_new(object, "@type", json_string(name));
    return object;
}

mx_err store_access_read(struct store *store, json_t *object, struct slice text)
{
    if (text.len == 0) {
        json_object_set_new(object, "credentials", json_object());
        json_object_set_new(object, "roles", variant_json("User"));
        json_object_set_new(object, "permissions", variant_json("Inherit"));
        return MX_OK;
    }
    json_t *access = json_loadb((const char *)text.ptr, text.len, 0, NULL);
    mx_err err = access ? MX_OK : damaged(store);
    for (size_t i = 0; !err && i < mx_countof(members); i++) {
        json_t *value = json_object_get(access, members[i]);
        err = value ? MX_OK : damaged(store);
        json_object_set(object, members[i], value);
    }
    json_decref(access);
    return err;
}

static bool has_credential(const json_t *account)
{
    return json_object_size(json_object_get(account, "credentials")) > 0;
}

static bool is_plain(const json_t *account)
{
    return !has_credential(account) && strcmp(variant_of(account, "roles"), "User") == 0 &&
           strcmp(variant_of(account, "permissions"), "Inherit") == 0;
}

static mx_err put_access(struct store *store, uint64_t id, const json_t *after)
{
    json_t *access = json_object();
    for (size_t i = 0; i < mx_countof(members); i++) {
        json_object_set(access, members[i], json_object_get(after, members[i]));
    }
    char *text = json_dumps(access, JSON_COMPACT);
    json_decref(access);
    sqlite3_stmt *stmt;
    mx_err err = text ? store_statement(store, &stmt, STMT_ACCESS_PUT) : MX_ERR_NOMEM;
    if (!err) {
        bool administrator =
            has_credential(after) && strcmp(variant_of(after, "roles"), "Admin") == 0;
        bind_id(stmt, 1, id);
        (void)sqlite3_bind_int(stmt, 2, administrator);
        bind_slice(stmt, 3, slice_of_text(text));
        err = store_run(store, stmt);
    }
    free(text);
    return err;
}

mx_err store_access_write(struct store *store, uint64_t id, const json_t *before,
                          const json_t *after)
{
    if (after && !is_plain(after)) {
        return put_access(store, id, after);
    }
    if (!before || is_plain(before)) {
        return MX_OK;
    }
    sqlite3_stmt *stmt;
    mx_err err = store_statement(store, &stmt, STMT_ACCESS_DELETE);
    if (err) {
        return err;
    }
    bind_id(stmt, 1, id);
    return store_run(store, stmt);
}

mx_err store_has_administrator(struct store *store, bool *out_has)
{
    sqlite3_stmt *stmt;
    mx_err err = store_statement(store, &stmt, STMT_ACCESS_ADMIN);
    bool row = false;
    err = err ? err : store_step(store, stmt, &row);
    if (!err) {
        (void)sqlite3_reset(stmt);
        *out_has = row;
    }
    return err;
}

/* Roles ------------------------------------------------------------------------------------ */

mx_err store_each_with_roles(struct store *store, store_object_fn each, void *arg)
{
    sqlite3_stmt *stmt = NULL;
    mx_err err = store_statement(store, &stmt, STMT_ACCESS_ROLES);
    bool row = true;
    while (!err) {
        err = store_step(store, stmt, &row);
        if (err || !row) {
            break;
        }
        json_t *account = variant_json("User");
        err = store_access_read(store, account, column_slice(stmt, 1));
        err = err ? err : each(arg, (uint64_t)sqlite3_column_int64(stmt, 0), account);
        json_decref(account);
    }
    if (stmt) {
        (void)sqlite3_reset(stmt);
    }
    return err;
}

struct role_search {
    const struct reg_type *role;
    uint64_t id;
    bool found;
    struct set_object *out;
    uint32_t count, max;
};

static bool match_role(void *arg, const char *path, const struct reg_type *type, uint64_t id)
{
    struct role_search *search = arg;
    (void)path;
    search->found = type == search->role && id == search->id;
    return !search->found;
}

static mx_err note_user(void *arg, uint64_t id, json_t *account)
{
    struct role_search *search = arg;
    const struct reg_type *type = reg_type_find(SLICE_LITERAL("Account"));
    search->found = false;
    object_references(type, account, match_role, search);
    if (search->found) {
        search->out[search->count++] = (struct set_object){type, id};
    }
    return search->count == search->max ? MX_ERR_LIMIT : MX_OK;
}

mx_err store_role_users(struct store *store, struct set_object *out, uint32_t *out_count,
                        uint32_t max, uint64_t role)
{
    struct role_search search = {
        .role = reg_type_find(SLICE_LITERAL("Role")), .id = role, .out = out, .max = max};
    mx_err err = max > 0 ? store_each_with_roles(store, note_user, &search) : MX_OK;
    *out_count = search.count;
    return err == MX_ERR_LIMIT ? MX_OK : err;
}

/* Notes ------------------------------------------------------------------------------------ */

mx_err store_note_get(struct store *store, char *out, size_t cap, const char *key)
{
    sqlite3_stmt *stmt;
    mx_err err = store_statement(store, &stmt, STMT_NOTE_GET);
    if (err) {
        return err;
    }
    bind_slice(stmt, 1, slice_of_text(key));
    err = store_row(store, stmt);
    if (err) {
        return err;
    }
    struct slice text = column_slice(stmt, 0);
    if (text.len < cap) {
        memcpy(out, text.ptr, text.len);
        out[text.len] = '\0';
    } else {
        err = MX_ERR_RANGE;
    }
    (void)sqlite3_reset(stmt);
    return err;
}

mx_err store_note_set(struct store *store, const char *key, struct slice text)
{
    MX_ASSERT(!store->in_transaction);
    sqlite3_stmt *stmt;
    mx_err err = store_statement(store, &stmt, text.len ? STMT_NOTE_SET : STMT_NOTE_DELETE);
    if (err) {
        return err;
    }
    bind_slice(stmt, 1, slice_of_text(key));
    if (text.len) {
        bind_slice(stmt, 2, text);
    }
    return store_run(store, stmt);
}
