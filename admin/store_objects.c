/* Reading and writing of objects, whatever they are stored in, and the change log. */
#include "admin/object_id.h"
#include "admin/store_private.h"
#include "admin/validate.h"
#include "core/check.h"

#include <stdio.h>
#include <stdlib.h>

static struct slice type_name(const struct reg_type *type)
{
    return slice_of_text(type->shape.name);
}

static mx_err parse_object(struct store *store, json_t **out_object, struct slice text)
{
    json_error_t error;
    uint64_t failures = json_memory_failures();
    json_t *object = json_loadb((const char *)text.ptr, text.len, 0, &error);
    if (json_memory_failures() != failures) {
        json_decref(object);
        return store_no_memory(store);
    }
    if (!object) {
        snprintf(store->problem, sizeof(store->problem),
                 "registry.db holds an object that is not JSON (%s)", error.text);
        return MX_ERR_DAMAGED;
    }
    *out_object = object;
    return MX_OK;
}

static mx_err plain_get(struct store *store, json_t **out_object, const struct reg_type *type,
                        uint64_t id)
{
    sqlite3_stmt *stmt;
    mx_err err = store_statement(store, &stmt, STMT_OBJECT_GET);
    if (err) {
        return err;
    }
    bind_slice(stmt, 1, type_name(type));
    bind_id(stmt, 2, id);
    err = store_row(store, stmt);
    if (err) {
        return err;
    }
    err = parse_object(store, out_object, column_slice(stmt, 0));
    (void)sqlite3_reset(stmt);
    return err;
}

mx_err store_get(struct store *store, json_t **out_object, const struct reg_type *type, uint64_t id)
{
    switch (type->storage) {
    case REG_IN_DOMAINS:
        return store_domain_get(store, out_object, id);
    case REG_IN_ACCOUNTS:
        return store_account_get(store, out_object, id);
    case REG_IN_OBJECTS:
    case REG_ELSEWHERE: /* never found */
        break;
    }
    return plain_get(store, out_object, type, id);
}

mx_err store_has(struct store *store, bool *out_has, const struct reg_type *type, uint64_t id)
{
    enum store_statement which = type->storage == REG_IN_DOMAINS    ? STMT_DOMAIN_GET
                                 : type->storage == REG_IN_ACCOUNTS ? STMT_ACCOUNT_GET
                                                                    : STMT_OBJECT_GET;
    sqlite3_stmt *stmt;
    mx_err err = store_statement(store, &stmt, which);
    if (err) {
        return err;
    }
    int at = 1;
    if (which == STMT_OBJECT_GET) {
        bind_slice(stmt, at++, type_name(type));
    }
    bind_id(stmt, at, id);
    bool row = false;
    err = store_step(store, stmt, &row);
    if (!err) {
        (void)sqlite3_reset(stmt);
        *out_has = row;
    }
    return err;
}

/* Writing ---------------------------------------------------------------------------------- */

static mx_err find_plain(struct store *store, uint64_t *out_id, const struct reg_type *type,
                         struct slice label)
{
    sqlite3_stmt *stmt;
    mx_err err = store_statement(store, &stmt, STMT_OBJECT_FIND);
    if (err) {
        return err;
    }
    bind_slice(stmt, 1, type_name(type));
    bind_slice(stmt, 2, label);
    err = store_row(store, stmt);
    if (err) {
        return err;
    }
    *out_id = (uint64_t)sqlite3_column_int64(stmt, 0);
    (void)sqlite3_reset(stmt);
    return MX_OK;
}

static const struct reg_field *unique_field(const struct reg_type *type)
{
    const struct reg_variant *variant = &type->shape.variants[0];
    for (uint32_t i = 0; i < variant->field_count; i++) {
        if (variant->fields[i].flags & REG_UNIQUE) {
            return &variant->fields[i];
        }
    }
    return NULL;
}

static mx_err check_label(struct store *store, const struct reg_type *type, uint64_t id,
                          const struct reg_field *field, struct slice label,
                          struct store_conflict *conflict)
{
    uint64_t holder;
    mx_err err = find_plain(store, &holder, type, label);
    if (err || holder == id) {
        return err == MX_ERR_NOTFOUND ? MX_OK : err;
    }
    *conflict = (struct store_conflict){.holder = {type, holder}};
    snprintf(conflict->property, sizeof(conflict->property), "%s", field->name);
    snprintf(conflict->text, sizeof(conflict->text), "'%.*s' is in use", SLICE_ARGS(label));
    return MX_ERR_EXISTS;
}

mx_err store_objects_write(struct store *store, const struct reg_type *type, uint64_t id,
                           const json_t *after, struct store_conflict *conflict)
{
    sqlite3_stmt *stmt;
    mx_err err;
    if (!after) {
        err = store_statement(store, &stmt, STMT_OBJECT_DELETE);
        if (err) {
            return err;
        }
        bind_slice(stmt, 1, type_name(type));
        bind_id(stmt, 2, id);
        return store_run(store, stmt);
    }
    const struct reg_field *field = unique_field(type);
    const json_t *label = field ? json_object_get(after, field->name) : NULL;
    struct slice label_text = slice_of(json_string_value(label), json_string_length(label));
    if (field) {
        err = check_label(store, type, id, field, label_text, conflict);
        if (err) {
            return err;
        }
    }
    char *text = json_dumps(after, JSON_COMPACT);
    if (!text) {
        return MX_ERR_NOMEM;
    }
    err = store_statement(store, &stmt, STMT_OBJECT_PUT);
    if (!err) {
        bind_slice(stmt, 1, type_name(type));
        bind_id(stmt, 2, id);
        if (field) {
            bind_slice(stmt, 3, label_text);
        }
        bind_slice(stmt, 4, slice_of_text(text));
        err = store_run(store, stmt);
    }
    free(text);
    return err;
}

static mx_err bind_json(sqlite3_stmt *stmt, int index, const json_t *object)
{
    if (!object) {
        return MX_OK;
    }
    char *text = json_dumps(object, JSON_COMPACT);
    if (!text) {
        return MX_ERR_NOMEM;
    }
    int rc = sqlite3_bind_text64(stmt, index, text, strlen(text), free, SQLITE_UTF8);
    return rc == SQLITE_OK ? MX_OK : MX_ERR_NOMEM;
}

static mx_err log_change(struct store *store, const struct reg_type *type, uint64_t id,
                         const json_t *before, const json_t *after)
{
    sqlite3_stmt *stmt;
    mx_err err = store_statement(store, &stmt, STMT_CHANGE_ADD);
    if (err) {
        return err;
    }
    bind_id(stmt, 1, store->generation + 1);
    bind_id(stmt, 2, store->changes);
    bind_id(stmt, 3, (uint64_t)store->wall_ms);
    bind_slice(stmt, 4, slice_of_text(store->who));
    bind_slice(stmt, 5, type_name(type));
    bind_id(stmt, 6, id);
    err = bind_json(stmt, 7, before);
    err = err ? err : bind_json(stmt, 8, after);
    err = err ? err : store_run(store, stmt);
    if (!err) {
        store->changes++;
    }
    return err;
}

mx_err store_write(struct store *store, const struct reg_type *type, uint64_t id,
                   const json_t *before, const json_t *after, struct store_conflict *conflict)
{
    MX_ASSERT(store->in_transaction);
    MX_ASSERT(before || after);
    uint64_t failures = json_memory_failures();
    mx_err err = MX_ERR_BUG;
    switch (type->storage) {
    case REG_IN_DOMAINS:
        err = store_domain_write(store, id, after, conflict);
        break;
    case REG_IN_ACCOUNTS:
        err = store_account_write(store, id, before, after, conflict);
        break;
    case REG_IN_OBJECTS:
        err = reg_has_address(type)
                  ? store_addresses_write(store, type, id, before, after, conflict)
                  : MX_OK;
        err = err ? err : store_objects_write(store, type, id, after, conflict);
        break;
    case REG_ELSEWHERE:
        break;
    }
    err = err ? err : log_change(store, type, id, before, after);
    if (json_memory_failures() != failures) {
        err = store_no_memory(store); /* whatever it looked like: a value that is missing */
    }
    if (!err && store->watch) {
        store->watch(store->watch_arg, type, id, before, after);
    }
    return err;
}

/* Finding ---------------------------------------------------------------------------------- */

mx_err store_find_label(struct store *store, uint64_t *out_id, const struct reg_type *type,
                        struct slice label)
{
    if (type->storage == REG_IN_OBJECTS) {
        return find_plain(store, out_id, type, label);
    }
    MX_ASSERT(type->storage == REG_IN_DOMAINS);
    sqlite3_stmt *stmt;
    mx_err err = store_statement(store, &stmt, STMT_NAME_FIND);
    if (err) {
        return err;
    }
    bind_slice(stmt, 1, label);
    err = store_row(store, stmt);
    if (err) {
        return err;
    }
    *out_id = (uint64_t)sqlite3_column_int64(stmt, 0);
    (void)sqlite3_reset(stmt);
    return MX_OK;
}

mx_err store_each(struct store *store, const struct reg_type *type, store_object_fn each, void *arg)
{
    if (type->storage == REG_IN_DOMAINS) {
        return store_domains_each(store, each, arg);
    }
    if (type->storage == REG_IN_ACCOUNTS) {
        return store_accounts_each(store, each, arg);
    }
    sqlite3_stmt *stmt;
    mx_err err = store_statement(store, &stmt, STMT_OBJECT_EACH);
    if (err) {
        return err;
    }
    bind_slice(stmt, 1, type_name(type));
    for (;;) {
        bool row;
        err = store_step(store, stmt, &row);
        if (err || !row) {
            return err;
        }
        json_t *object;
        err = parse_object(store, &object, column_slice(stmt, 1));
        if (!err) {
            err = each(arg, (uint64_t)sqlite3_column_int64(stmt, 0), object);
            json_decref(object);
        }
        if (err) {
            (void)sqlite3_reset(stmt);
            return err;
        }
    }
}

struct referrer_search {
    struct set_object target;
    struct set_object *out;
    const struct reg_type *type; /* being searched */
    uint64_t id;
    uint32_t count, max;
    bool found;
};

static bool match_reference(void *arg, const char *path, const struct reg_type *type, uint64_t id)
{
    struct referrer_search *search = arg;
    (void)path;
    search->found = type == search->target.type && id == search->target.id;
    return !search->found;
}

static mx_err search_object(void *arg, uint64_t id, json_t *object)
{
    struct referrer_search *search = arg;
    search->found = false;
    object_references(search->type, object, match_reference, search);
    if (search->found && search->count < search->max) {
        search->out[search->count++] = (struct set_object){search->type, id};
    }
    return MX_OK;
}

static bool shape_refers(const struct reg_shape *shape, struct slice type)
{
    for (uint32_t v = 0; v < shape->variant_count; v++) {
        for (uint32_t i = 0; i < shape->variants[v].field_count; i++) {
            const struct reg_field *field = &shape->variants[v].fields[i];
            bool is_id = field->kind == REG_ID || field->format == FORMAT_ID;
            if ((is_id && slice_equal(slice_of_text(field->refers), type)) ||
                (field->embedded && shape_refers(field->embedded, type))) {
                return true;
            }
        }
    }
    return false;
}

mx_err store_referrers(struct store *store, struct set_object *out, uint32_t *out_count,
                       uint32_t max, struct set_object target)
{
    struct referrer_search search = {.target = target, .out = out, .max = max};
    mx_err err = MX_OK;
    for (uint32_t i = 0; !err && i < reg_type_count; i++) {
        search.type = &reg_types[i];
        if (!shape_refers(&search.type->shape, type_name(target.type))) {
            continue;
        }
        if (search.type->storage == REG_IN_ACCOUNTS) {
            uint32_t found = 0;
            err = (target.type->storage == REG_IN_DOMAINS ? store_domain_users : store_role_users)(
                store, out + search.count, &found, max - search.count, target.id);
            search.count += found;
        } else {
            err = store_each(store, search.type, search_object, &search);
        }
    }
    *out_count = search.count;
    return err;
}
