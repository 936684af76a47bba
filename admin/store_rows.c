/* Domains and addresses as rows for the cores. */
#include "admin/object_id.h"
#include "admin/store_private.h"
#include "core/check.h"

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

mx_err store_count_rows(struct store *store, size_t *out_domains, size_t *out_addresses)
{
    sqlite3_stmt *stmt;
    mx_err err = store_statement(store, &stmt, STMT_ROWS_COUNT);
    bool row = false;
    err = err ? err : store_step(store, stmt, &row);
    if (!err) {
        MX_ASSERT(row);
        *out_domains = (size_t)sqlite3_column_int64(stmt, 0);
        *out_addresses = (size_t)sqlite3_column_int64(stmt, 1);
        (void)sqlite3_reset(stmt);
    }
    return err;
}

mx_err store_each_domain(struct store *store, store_domain_fn each, void *arg)
{
    sqlite3_stmt *stmt;
    mx_err err = store_statement(store, &stmt, STMT_ROWS_DOMAINS);
    while (!err) {
        bool row;
        err = store_step(store, stmt, &row);
        if (err || !row) {
            return err;
        }
        struct store_domain_row domain = {
            .name = column_slice(stmt, 0),
            .id = (uint64_t)sqlite3_column_int64(stmt, 1),
            .enabled = sqlite3_column_int(stmt, 2),
            .allow_relaying = sqlite3_column_int(stmt, 3),
            .sub_addressing = sqlite3_column_int(stmt, 4),
            .catch_all = column_slice(stmt, 5),
            .verification = (uint8_t)sqlite3_column_int(stmt, 6),
        };
        err = each(arg, &domain);
        if (err) {
            (void)sqlite3_reset(stmt);
        }
    }
    return err;
}

static mx_err each_address(struct store *store, enum store_statement which, store_address_fn each,
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
        struct store_address_row address = {
            .domain = (uint64_t)sqlite3_column_int64(stmt, 0),
            .local = column_slice(stmt, 1),
            .account = (uint64_t)sqlite3_column_int64(stmt, 2),
            .account_local = column_slice(stmt, 3),
            .account_domain = column_slice(stmt, 4),
            .is_alias = sqlite3_column_int(stmt, 5),
            .enabled = sqlite3_column_int(stmt, 6),
            .kind = (enum store_kind)sqlite3_column_int(stmt, 7),
        };
        err = each(arg, &address);
        if (err) {
            (void)sqlite3_reset(stmt);
        }
    }
    return err;
}

struct list_rows {
    struct store *store;
    store_address_fn each;
    void *arg;
};

static mx_err each_list(void *arg, uint64_t id, json_t *object)
{
    struct list_rows *rows = arg;
    json_t *domain = NULL;
    mx_err err = store_domain_get(rows->store, &domain, id_member(object, "domainId"));
    if (err) {
        return err == MX_ERR_NOTFOUND ? MX_OK : err; /* shows as a wrong number of rows */
    }
    struct store_address_row row = {.domain = id_member(object, "domainId"),
                                    .local = text_member(object, "name"),
                                    .account = id,
                                    .enabled = true,
                                    .kind = STORE_LIST,
                                    .account_local = text_member(object, "name"),
                                    .account_domain = text_member(domain, "name"),
                                    .members = json_object_get(object, "recipients")};
    err = rows->each(rows->arg, &row);
    row.is_alias = true;
    row.members = NULL;
    const char *key;
    json_t *alias;
    json_object_foreach(json_object_get(object, "aliases"), key, alias)
    {
        row.domain = id_member(alias, "domainId");
        row.local = text_member(alias, "name");
        row.enabled = json_is_true(json_object_get(alias, "enabled"));
        err = err ? err : rows->each(rows->arg, &row);
    }
    json_decref(domain);
    return err;
}

mx_err store_each_address(struct store *store, store_address_fn each, void *arg)
{
    mx_err err = each_address(store, STMT_ROWS_OWN, each, arg);
    err = err ? err : each_address(store, STMT_ROWS_ALIASES, each, arg);
    struct list_rows rows = {store, each, arg};
    return err ? err
               : store_each(store, reg_type_find(SLICE_LITERAL("MailingList")), each_list, &rows);
}
