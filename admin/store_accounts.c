/* Domains, accounts and their addresses in columns. */
#include "admin/object_id.h"
#include "admin/store_private.h"
#include "core/check.h"
#include "route/dir_record.h"

#include <stdio.h>

static json_t *column_json(sqlite3_stmt *stmt, int column)
{
    if (sqlite3_column_type(stmt, column) == SQLITE_NULL) {
        return json_null();
    }
    struct slice text = column_slice(stmt, column);
    return json_stringn((const char *)text.ptr, text.len);
}

static json_t *id_json(uint64_t id)
{
    uint8_t buf[OBJECT_ID_TEXT_MAX];
    struct writer w = writer_init(buf, sizeof(buf));
    put_object_id(&w, id);
    return json_stringn((const char *)buf, w.len);
}

static struct slice text_member(const json_t *object, const char *name)
{
    const json_t *value = json_object_get(object, name);
    return slice_of(json_string_value(value), json_string_length(value));
}

static uint64_t id_member(const json_t *object, const char *name)
{
    uint64_t id = 0;
    mx_err err = object_id_parse(&id, text_member(object, name));
    MX_ASSERT(err == MX_OK); /* objects come in normal form */
    return id;
}

/* null stays NULL. */
static void bind_member(sqlite3_stmt *stmt, int index, const json_t *object, const char *name)
{
    if (json_is_string(json_object_get(object, name))) {
        bind_slice(stmt, index, text_member(object, name));
    }
}

static void bind_flag(sqlite3_stmt *stmt, int index, bool value)
{
    (void)sqlite3_bind_int(stmt, index, value);
}

static bool flag_member(const json_t *object, const char *name)
{
    return json_is_true(json_object_get(object, name));
}

static mx_err run_with_id(struct store *store, enum store_statement which, uint64_t id)
{
    sqlite3_stmt *stmt;
    mx_err err = store_statement(store, &stmt, which);
    if (err) {
        return err;
    }
    bind_id(stmt, 1, id);
    return store_run(store, stmt);
}

/* Starts a query by id; MX_ERR_NOTFOUND without a row. */
static mx_err get_row(struct store *store, sqlite3_stmt **out_stmt, enum store_statement which,
                      uint64_t id)
{
    mx_err err = store_statement(store, out_stmt, which);
    if (err) {
        return err;
    }
    bind_id(*out_stmt, 1, id);
    bool row;
    err = store_step(store, *out_stmt, &row);
    return err ? err : row ? MX_OK : MX_ERR_NOTFOUND;
}

/* Domains ---------------------------------------------------------------------------------- */

static mx_err get_names(struct store *store, json_t *aliases, uint64_t id)
{
    sqlite3_stmt *stmt;
    mx_err err = store_statement(store, &stmt, STMT_NAME_LIST);
    if (err) {
        return err;
    }
    bind_id(stmt, 1, id);
    for (;;) {
        bool row;
        err = store_step(store, stmt, &row);
        if (err || !row) {
            return err;
        }
        struct slice name = column_slice(stmt, 0);
        json_object_setn_new(aliases, (const char *)name.ptr, name.len, json_true());
    }
}

mx_err store_domain_get(struct store *store, json_t **out_object, uint64_t id)
{
    sqlite3_stmt *stmt;
    mx_err err = get_row(store, &stmt, STMT_DOMAIN_GET, id);
    if (err) {
        return err;
    }
    uint64_t failures = json_memory_failures();
    json_t *object = json_object();
    json_t *tags = json_object();
    json_object_set_new(tags, "@type",
                        json_string(sqlite3_column_int(stmt, 5) ? "Enabled" : "Disabled"));
    json_object_set_new(object, "name", column_json(stmt, 0));
    json_object_set_new(object, "aliases", json_object());
    json_object_set_new(object, "description", column_json(stmt, 1));
    json_object_set_new(object, "isEnabled", json_boolean(sqlite3_column_int(stmt, 2)));
    json_object_set_new(object, "allowRelaying", json_boolean(sqlite3_column_int(stmt, 3)));
    json_object_set_new(object, "verifyRecipients",
                        json_string(dir_verify_name((unsigned)sqlite3_column_int(stmt, 6))));
    json_object_set_new(object, "catchAllAddress", column_json(stmt, 4));
    json_object_set_new(object, "subAddressing", tags);
    (void)sqlite3_reset(stmt);
    err = get_names(store, json_object_get(object, "aliases"), id);
    if (!err && json_memory_failures() != failures) {
        err = store_no_memory(store);
    }
    if (err) {
        json_decref(object);
        return err;
    }
    *out_object = object;
    return MX_OK;
}

static mx_err check_name(struct store *store, uint64_t id, struct slice name, const char *property,
                         struct store_conflict *conflict)
{
    const struct reg_type *type = reg_type_find(SLICE_LITERAL("Domain"));
    uint64_t holder;
    mx_err err = store_find_label(store, &holder, type, name);
    if (err || holder == id) {
        return err == MX_ERR_NOTFOUND ? MX_OK : err;
    }
    *conflict = (struct store_conflict){.holder = {type, holder}};
    snprintf(conflict->property, sizeof(conflict->property), "%s", property);
    snprintf(conflict->text, sizeof(conflict->text), "'%.*s' is in use", SLICE_ARGS(name));
    return MX_ERR_EXISTS;
}

static mx_err check_names(struct store *store, uint64_t id, const json_t *after,
                          struct store_conflict *conflict)
{
    struct slice name = text_member(after, "name");
    mx_err err = check_name(store, id, name, "name", conflict);
    const char *alias;
    json_t *yes;
    json_object_foreach(json_object_get(after, "aliases"), alias, yes)
    {
        if (err) {
            break;
        }
        char property[SET_PROPERTY_MAX];
        snprintf(property, sizeof(property), "aliases/%s", alias);
        if (slice_equal(slice_of_text(alias), name)) {
            *conflict =
                (struct store_conflict){.text = "is the name of the domain itself",
                                        .holder = {reg_type_find(SLICE_LITERAL("Domain")), id}};
            snprintf(conflict->property, sizeof(conflict->property), "%s", property);
            return MX_ERR_EXISTS;
        }
        err = check_name(store, id, slice_of_text(alias), property, conflict);
    }
    return err;
}

static mx_err add_name(struct store *store, uint64_t id, struct slice name, int position)
{
    sqlite3_stmt *stmt;
    mx_err err = store_statement(store, &stmt, STMT_NAME_ADD);
    if (err) {
        return err;
    }
    bind_slice(stmt, 1, name);
    bind_id(stmt, 2, id);
    (void)sqlite3_bind_int(stmt, 3, position);
    return store_run(store, stmt);
}

static mx_err put_domain(struct store *store, uint64_t id, const json_t *after)
{
    sqlite3_stmt *stmt;
    mx_err err = store_statement(store, &stmt, STMT_DOMAIN_PUT);
    if (err) {
        return err;
    }
    bind_id(stmt, 1, id);
    bind_member(stmt, 2, after, "name");
    bind_member(stmt, 3, after, "description");
    bind_flag(stmt, 4, flag_member(after, "isEnabled"));
    bind_flag(stmt, 5, flag_member(after, "allowRelaying"));
    bind_member(stmt, 6, after, "catchAllAddress");
    bind_flag(stmt, 7,
              slice_equal(text_member(json_object_get(after, "subAddressing"), "@type"),
                          SLICE_LITERAL("Enabled")));
    (void)sqlite3_bind_int(stmt, 8, (int)dir_verify_parse(text_member(after, "verifyRecipients")));
    return store_run(store, stmt);
}

mx_err store_domain_write(struct store *store, uint64_t id, const json_t *after,
                          struct store_conflict *conflict)
{
    mx_err err = after ? check_names(store, id, after, conflict) : MX_OK;
    if (err) {
        return err;
    }
    err = run_with_id(store, STMT_NAME_DELETE, id);
    if (!after) {
        return err ? err : run_with_id(store, STMT_DOMAIN_DELETE, id);
    }
    err = err ? err : put_domain(store, id, after);
    err = err ? err : add_name(store, id, text_member(after, "name"), -1);
    int position = 0;
    const char *alias;
    json_t *yes;
    json_object_foreach(json_object_get(after, "aliases"), alias, yes)
    {
        err = err ? err : add_name(store, id, slice_of_text(alias), position++);
    }
    return err;
}

/* Accounts --------------------------------------------------------------------------------- */

static mx_err get_aliases(struct store *store, json_t *aliases, uint64_t id)
{
    sqlite3_stmt *stmt;
    mx_err err = store_statement(store, &stmt, STMT_ALIAS_LIST);
    if (err) {
        return err;
    }
    bind_id(stmt, 1, id);
    for (unsigned index = 0;; index++) {
        bool row;
        err = store_step(store, stmt, &row);
        if (err || !row) {
            return err;
        }
        json_t *alias = json_object();
        json_object_set_new(alias, "enabled", json_boolean(sqlite3_column_int(stmt, 2)));
        json_object_set_new(alias, "name", column_json(stmt, 1));
        json_object_set_new(alias, "domainId", id_json((uint64_t)sqlite3_column_int64(stmt, 0)));
        json_object_set_new(alias, "description", column_json(stmt, 3));
        char key[16];
        snprintf(key, sizeof(key), "%u", index);
        json_object_set_new(aliases, key, alias);
    }
}

mx_err store_account_get(struct store *store, json_t **out_object, uint64_t id)
{
    sqlite3_stmt *stmt;
    mx_err err = get_row(store, &stmt, STMT_ACCOUNT_GET, id);
    if (err) {
        return err;
    }
    uint64_t failures = json_memory_failures();
    json_t *object = json_object();
    bool is_group = sqlite3_column_int(stmt, 4) == STORE_GROUP;
    json_object_set_new(object, "@type", json_string(is_group ? "Group" : "User"));
    json_object_set_new(object, "name", column_json(stmt, 1));
    json_object_set_new(object, "domainId", id_json((uint64_t)sqlite3_column_int64(stmt, 0)));
    json_object_set_new(object, "description", column_json(stmt, 2));
    json_object_set_new(object, "aliases", json_object());
    err = is_group ? MX_OK : store_access_read(store, object, column_slice(stmt, 3));
    (void)sqlite3_reset(stmt);
    err = err ? err : get_aliases(store, json_object_get(object, "aliases"), id);
    if (!err && json_memory_failures() != failures) {
        err = store_no_memory(store);
    }
    if (err) {
        json_decref(object);
        return err;
    }
    *out_object = object;
    return MX_OK;
}

mx_err store_find_holder(struct store *store, struct store_holder *out, uint64_t domain,
                         struct slice local)
{
    sqlite3_stmt *stmt;
    mx_err err = store_statement(store, &stmt, STMT_ADDRESS_FIND);
    if (err) {
        return err;
    }
    bind_id(stmt, 1, domain);
    bind_slice(stmt, 2, local);
    err = store_row(store, stmt);
    if (err) {
        return err;
    }
    bool is_list = sqlite3_column_int(stmt, 2) == STORE_LIST;
    *out = (struct store_holder){
        .type = reg_type_find(is_list ? SLICE_LITERAL("MailingList") : SLICE_LITERAL("Account")),
        .id = (uint64_t)sqlite3_column_int64(stmt, 0),
        .position = sqlite3_column_int(stmt, 1)};
    (void)sqlite3_reset(stmt);
    return MX_OK;
}

mx_err store_find_address(struct store *store, uint64_t *out_account, int *out_position,
                          uint64_t domain, struct slice local)
{
    struct store_holder holder;
    mx_err err = store_find_holder(store, &holder, domain, local);
    if (!err && holder.type->storage != REG_IN_ACCOUNTS) {
        err = MX_ERR_NOTFOUND;
    }
    if (!err) {
        *out_account = holder.id;
        *out_position = holder.position;
    }
    return err;
}

struct address {
    uint64_t domain;
    struct slice local;
};

static struct address address_of(const json_t *object)
{
    return (struct address){id_member(object, "domainId"), text_member(object, "name")};
}

static mx_err check_address(struct store *store, uint64_t id, struct address address,
                            const char *property, struct store_conflict *conflict)
{
    struct store_holder holder;
    mx_err err = store_find_holder(store, &holder, address.domain, address.local);
    if (err || holder.id == id) {
        return err == MX_ERR_NOTFOUND ? MX_OK : err;
    }
    *conflict = (struct store_conflict){.holder = {holder.type, holder.id}};
    snprintf(conflict->property, sizeof(conflict->property), "%s", property);
    snprintf(conflict->text, sizeof(conflict->text), "the address is in use %s",
             holder.type->storage != REG_IN_ACCOUNTS ? "by a mailing list"
             : holder.position < 0                   ? "by an account"
                                                     : "as an alias of an account");
    return MX_ERR_EXISTS;
}

/* Also an address that the object itself has twice. */
static mx_err check_addresses(struct store *store, const struct reg_type *type, uint64_t id,
                              const json_t *after, struct store_conflict *conflict)
{
    struct address own = address_of(after);
    mx_err err = check_address(store, id, own, "name", conflict);
    json_t *aliases = json_object_get(after, "aliases");
    if (err || json_object_size(aliases) == 0) {
        return err;
    }
    json_t *seen = json_object();
    const char *key;
    json_t *alias;
    json_object_foreach(aliases, key, alias)
    {
        struct address address = address_of(alias);
        char property[SET_PROPERTY_MAX];
        char text[SET_TEXT_MAX];
        snprintf(property, sizeof(property), "aliases/%s/name", key);
        snprintf(text, sizeof(text), "%llu/%.*s", (unsigned long long)address.domain,
                 SLICE_ARGS(address.local));
        bool is_own = address.domain == own.domain && slice_equal(address.local, own.local);
        if (is_own || json_object_get(seen, text)) {
            *conflict = (struct store_conflict){.holder = {type, id}};
            snprintf(conflict->text, sizeof(conflict->text), "the %s has this address twice",
                     type->storage == REG_IN_ACCOUNTS ? "account" : "list");
            snprintf(conflict->property, sizeof(conflict->property), "%s", property);
            err = MX_ERR_EXISTS;
        } else {
            json_object_set_new(seen, text, json_true());
            err = check_address(store, id, address, property, conflict);
        }
        if (err) {
            break;
        }
    }
    json_decref(seen);
    return err;
}

static mx_err add_address(struct store *store, uint64_t id, enum store_kind kind,
                          const json_t *object, int position)
{
    sqlite3_stmt *stmt;
    mx_err err = store_statement(store, &stmt, STMT_ADDRESS_ADD);
    if (err) {
        return err;
    }
    bind_id(stmt, 1, id_member(object, "domainId"));
    bind_member(stmt, 2, object, "name");
    bind_id(stmt, 3, id);
    (void)sqlite3_bind_int(stmt, 4, position);
    bind_flag(stmt, 5, position < 0 || flag_member(object, "enabled"));
    if (position >= 0) {
        bind_member(stmt, 6, object, "description");
    }
    (void)sqlite3_bind_int(stmt, 7, (int)kind);
    return store_run(store, stmt);
}

static enum store_kind kind_of(const struct reg_type *type, const json_t *object)
{
    if (type->storage != REG_IN_ACCOUNTS) {
        return STORE_LIST;
    }
    return slice_equal(text_member(object, "@type"), SLICE_LITERAL("Group")) ? STORE_GROUP
                                                                             : STORE_USER;
}

static mx_err add_addresses(struct store *store, uint64_t id, enum store_kind kind,
                            const json_t *after)
{
    mx_err err = add_address(store, id, kind, after, -1);
    int position = 0;
    const char *key;
    json_t *alias;
    json_object_foreach(json_object_get(after, "aliases"), key, alias)
    {
        err = err ? err : add_address(store, id, kind, alias, position++);
    }
    return err;
}

static mx_err remove_addresses(struct store *store, uint64_t id, const json_t *before)
{
    sqlite3_stmt *stmt;
    mx_err err = store_statement(store, &stmt, STMT_ADDRESS_DELETE);
    if (err) {
        return err;
    }
    bind_id(stmt, 1, id_member(before, "domainId"));
    bind_member(stmt, 2, before, "name");
    err = store_run(store, stmt);
    return err ? err : run_with_id(store, STMT_ALIAS_DELETE, id);
}

static mx_err put_account(struct store *store, uint64_t id, const json_t *after)
{
    sqlite3_stmt *stmt;
    mx_err err = store_statement(store, &stmt, STMT_ACCOUNT_PUT);
    if (err) {
        return err;
    }
    bind_id(stmt, 1, id);
    bind_id(stmt, 2, id_member(after, "domainId"));
    bind_member(stmt, 3, after, "name");
    bind_member(stmt, 4, after, "description");
    (void)sqlite3_bind_int(stmt, 5, (int)kind_of(reg_type_find(SLICE_LITERAL("Account")), after));
    return store_run(store, stmt);
}

mx_err store_addresses_write(struct store *store, const struct reg_type *type, uint64_t id,
                             const json_t *before, const json_t *after,
                             struct store_conflict *conflict)
{
    mx_err err = after ? check_addresses(store, type, id, after, conflict) : MX_OK;
    if (!err && before) {
        err = remove_addresses(store, id, before);
    }
    return err || !after ? err : add_addresses(store, id, kind_of(type, after), after);
}

mx_err store_account_write(struct store *store, uint64_t id, const json_t *before,
                           const json_t *after, struct store_conflict *conflict)
{
    const struct reg_type *type = reg_type_find(SLICE_LITERAL("Account"));
    mx_err err = store_addresses_write(store, type, id, before, after, conflict);
    if (kind_of(type, after ? after : before) == STORE_USER) {
        err = err ? err : store_access_write(store, id, before, after);
    }
    if (err) {
        return err;
    }
    return after ? put_account(store, id, after) : run_with_id(store, STMT_ACCOUNT_DELETE, id);
}

/* Lists ------------------------------------------------------------------------------------ */

static mx_err each_of(struct store *store, enum store_statement which,
                      mx_err (*get)(struct store *, json_t **, uint64_t), store_object_fn each,
                      void *arg)
{
    sqlite3_stmt *stmt;
    mx_err err = store_statement(store, &stmt, which);
    while (!err) {
        bool row;
        err = store_step(store, stmt, &row);
        if (err || !row) {
            return err;
        }
        uint64_t id = (uint64_t)sqlite3_column_int64(stmt, 0);
        json_t *object;
        err = get(store, &object, id);
        if (!err) {
            err = each(arg, id, object);
            json_decref(object);
        }
        if (err) {
            (void)sqlite3_reset(stmt);
        }
    }
    return err;
}

mx_err store_domains_each(struct store *store, store_object_fn each, void *arg)
{
    return each_of(store, STMT_DOMAIN_EACH, store_domain_get, each, arg);
}

mx_err store_accounts_each(struct store *store, store_object_fn each, void *arg)
{
    return each_of(store, STMT_ACCOUNT_EACH, store_account_get, each, arg);
}

mx_err store_domain_users(struct store *store, struct set_object *out, uint32_t *out_count,
                          uint32_t max, uint64_t domain)
{
    sqlite3_stmt *stmt;
    mx_err err = store_statement(store, &stmt, STMT_ACCOUNT_USES);
    if (err) {
        return err;
    }
    bind_id(stmt, 1, domain);
    (void)sqlite3_bind_int(stmt, 2, (int)max);
    uint32_t count = 0;
    for (;;) {
        bool row;
        err = store_step(store, stmt, &row);
        if (err || !row) {
            *out_count = count;
            return err;
        }
        MX_ASSERT(count < max);
        out[count++] = (struct set_object){reg_type_find(SLICE_LITERAL("Account")),
                                           (uint64_t)sqlite3_column_int64(stmt, 0)};
    }
}
