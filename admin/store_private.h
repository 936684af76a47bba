/* Shared by store.c and store_*.c. */
#pragma once

#include "admin/json_memory.h"
#include "admin/store.h"

#include <sqlite3.h>

enum store_statement {
    STMT_BEGIN,
    STMT_COMMIT,
    STMT_ROLLBACK,
    STMT_META_GET,
    STMT_META_SET,
    STMT_CHANGE_ADD,
    STMT_OBJECT_GET,
    STMT_OBJECT_PUT,
    STMT_OBJECT_DELETE,
    STMT_OBJECT_FIND,
    STMT_OBJECT_EACH,
    STMT_DOMAIN_GET,
    STMT_DOMAIN_PUT,
    STMT_DOMAIN_DELETE,
    STMT_DOMAIN_EACH,
    STMT_NAME_FIND,
    STMT_NAME_ADD,
    STMT_NAME_LIST,
    STMT_NAME_DELETE,
    STMT_ACCOUNT_GET,
    STMT_ACCOUNT_PUT,
    STMT_ACCOUNT_DELETE,
    STMT_ACCOUNT_EACH,
    STMT_ACCOUNT_USES,
    STMT_ADDRESS_FIND,
    STMT_ADDRESS_ADD,
    STMT_ADDRESS_DELETE,
    STMT_ALIAS_LIST,
    STMT_ALIAS_DELETE,
    STMT_ACCESS_PUT,
    STMT_ACCESS_DELETE,
    STMT_ACCESS_ROLES,
    STMT_ACCESS_DOMAIN,
    STMT_ACCESS_ADMIN,
    STMT_NOTE_GET,
    STMT_NOTE_SET,
    STMT_NOTE_DELETE,
    STMT_ROWS_COUNT,
    STMT_ROWS_DOMAINS,
    STMT_ROWS_OWN,
    STMT_ROWS_ALIASES,
    STMT_COUNT
};

struct store {
    sqlite3 *db;
    sqlite3_stmt *statements[STMT_COUNT];
    uint64_t generation; /* committed */
    uint64_t last_id;
    uint32_t node;
    bool in_transaction;
    uint64_t changes; /* log rows of the transaction */
    struct store_cost cost;
    uint64_t failures; /* of memory, before the transaction: see admin/json_memory.h */
    int64_t wall_ms;
    char who[STORE_WHO_MAX + 1];
    store_change_fn watch;
    void *watch_arg;
    store_guard_fn guard;
    void *guard_arg;
    struct secret_memo *secrets;
    char problem[512];
};

/* Writes the objects of the first start that are not among the first `have` sets of them. */
MX_MUST_CHECK mx_err store_seed(struct store *store, uint64_t have);
/* Makes the SQL functions that queries use. */
MX_MUST_CHECK mx_err store_add_functions(struct store *store);
/* A number that the store keeps about itself. */
MX_MUST_CHECK mx_err store_meta_set(struct store *store, const char *key, uint64_t value);
/* Notes the problem; MX_ERR_NOMEM. */
mx_err store_no_memory(struct store *store);
/* The prepared statement, reset and without bindings. */
MX_MUST_CHECK mx_err store_statement(struct store *store, sqlite3_stmt **out_stmt,
                                     enum store_statement id);
/* SQLITE_ROW and SQLITE_DONE are MX_OK; remembers the message of others. */
mx_err store_check(struct store *store, int rc);
/* Runs a statement that yields no rows, and resets it. */
MX_MUST_CHECK mx_err store_run(struct store *store, sqlite3_stmt *stmt);
/* *out_row tells whether there is a row; after the last one the statement is reset. */
MX_MUST_CHECK mx_err store_step(struct store *store, sqlite3_stmt *stmt, bool *out_row);
/* The one row of a statement; MX_ERR_NOTFOUND, and reset, when there is none. */
MX_MUST_CHECK mx_err store_row(struct store *store, sqlite3_stmt *stmt);

static inline struct slice column_slice(sqlite3_stmt *stmt, int column)
{
    const void *text = sqlite3_column_text(stmt, column);
    return slice_of(text, (size_t)sqlite3_column_bytes(stmt, column));
}
static inline void bind_slice(sqlite3_stmt *stmt, int index, struct slice text)
{
    /* A failed binding shows as a failed step: the columns are NOT NULL or checked. */
    if (sqlite3_bind_text(stmt, index, (const char *)text.ptr, (int)text.len, SQLITE_TRANSIENT)) {
        json_memory_failed();
    }
}
static inline void bind_id(sqlite3_stmt *stmt, int index, uint64_t id)
{
    (void)sqlite3_bind_int64(stmt, index, (sqlite3_int64)id);
}

/* The rows of each kind of storage (store_objects.c, store_accounts.c, store_rows.c). */
MX_MUST_CHECK mx_err store_objects_write(struct store *store, const struct reg_type *type,
                                         uint64_t id, const json_t *after,
                                         struct store_conflict *conflict);
MX_MUST_CHECK mx_err store_domain_get(struct store *store, json_t **out_object, uint64_t id);
MX_MUST_CHECK mx_err store_domain_write(struct store *store, uint64_t id, const json_t *after,
                                        struct store_conflict *conflict);
MX_MUST_CHECK mx_err store_domains_each(struct store *store, store_object_fn each, void *arg);
MX_MUST_CHECK mx_err store_account_get(struct store *store, json_t **out_object, uint64_t id);
MX_MUST_CHECK mx_err store_account_write(struct store *store, uint64_t id, const json_t *before,
                                         const json_t *after, struct store_conflict *conflict);
/* Of an account or a list: checks that its addresses are free, and replaces them. */
MX_MUST_CHECK mx_err store_addresses_write(struct store *store, const struct reg_type *type,
                                           uint64_t id, const json_t *before, const json_t *after,
                                           struct store_conflict *conflict);
MX_MUST_CHECK mx_err store_accounts_each(struct store *store, store_object_fn each, void *arg);
MX_MUST_CHECK mx_err store_domain_users(struct store *store, struct set_object *out,
                                        uint32_t *out_count, uint32_t max, uint64_t domain);

/* What an account may do (store_access.c): "credentials", "roles" and "permissions" from the text
 * of its row into object; text is empty when it has none. */
MX_MUST_CHECK mx_err store_access_read(struct store *store, json_t *object, struct slice text);
MX_MUST_CHECK mx_err store_access_write(struct store *store, uint64_t id, const json_t *before,
                                        const json_t *after);
MX_MUST_CHECK mx_err store_role_users(struct store *store, struct set_object *out,
                                      uint32_t *out_count, uint32_t max, uint64_t role);
