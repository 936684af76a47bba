#include "admin/store.h"

#include "admin/object_id.h"
#include "admin/store_private.h"
#include "core/check.h"
#include "io/clock.h"

#include <stdio.h>

static const char *const statement_text[STMT_COUNT] = {
    [STMT_BEGIN] = "BEGIN IMMEDIATE",
    [STMT_COMMIT] = "COMMIT",
    [STMT_ROLLBACK] = "ROLLBACK",
    [STMT_META_GET] = "SELECT value FROM meta WHERE key = ?1",
    [STMT_META_SET] = "INSERT OR REPLACE INTO meta(key, value) VALUES(?1, ?2)",
    [STMT_CHANGE_ADD] = "INSERT INTO changes(generation, sequence, time_ms, who, type, id, before, "
                        "after) VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
    [STMT_OBJECT_GET] = "SELECT json FROM objects WHERE type = ?1 AND id = ?2",
    [STMT_OBJECT_PUT] = "INSERT INTO objects(type, id, label, json) VALUES(?1, ?2, ?3, ?4) "
                        "ON CONFLICT(type, id) DO UPDATE SET label = ?3, json = ?4",
    [STMT_OBJECT_DELETE] = "DELETE FROM objects WHERE type = ?1 AND id = ?2",
    [STMT_OBJECT_FIND] = "SELECT id FROM objects WHERE type = ?1 AND label = ?2",
    [STMT_OBJECT_EACH] = "SELECT id, json FROM objects WHERE type = ?1 ORDER BY id",
    [STMT_DOMAIN_GET] = "SELECT name, description, enabled, relaying, catch_all, sub_addressing, "
                        "verification FROM domains WHERE id = ?1",
    [STMT_DOMAIN_PUT] = "INSERT INTO domains(id, name, description, enabled, relaying, catch_all, "
                        "sub_addressing, verification) VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8) "
                        "ON CONFLICT(id) DO UPDATE SET name = ?2, description = ?3, enabled = ?4, "
                        "relaying = ?5, catch_all = ?6, sub_addressing = ?7, verification = ?8",
    [STMT_DOMAIN_DELETE] = "DELETE FROM domains WHERE id = ?1",
    [STMT_DOMAIN_EACH] = "SELECT id FROM domains ORDER BY id",
    [STMT_NAME_FIND] = "SELECT domain FROM domain_names WHERE name = ?1",
    [STMT_NAME_ADD] = "INSERT INTO domain_names(name, domain, position) VALUES(?1, ?2, ?3)",
    [STMT_NAME_LIST] = "SELECT name FROM domain_names WHERE domain = ?1 AND position >= 0 "
                       "ORDER BY position",
    [STMT_NAME_DELETE] = "DELETE FROM domain_names WHERE domain = ?1",
    [STMT_ACCOUNT_GET] =
        "SELECT a.domain, a.local, a.description, x.json, a.kind FROM accounts a LEFT JOIN "
        "account_access x ON x.account = a.id WHERE a.id = ?1",
    [STMT_ACCOUNT_PUT] = "INSERT INTO accounts(id, domain, local, description, kind) "
                         "VALUES(?1, ?2, ?3, ?4, ?5) ON CONFLICT(id) DO UPDATE SET domain = ?2, "
                         "local = ?3, description = ?4",
    [STMT_ACCOUNT_DELETE] = "DELETE FROM accounts WHERE id = ?1",
    [STMT_ACCOUNT_EACH] = "SELECT id FROM accounts ORDER BY id",
    [STMT_ACCOUNT_USES] =
        "SELECT DISTINCT account FROM addresses WHERE domain = ?1 AND kind < 2 LIMIT ?2",
    [STMT_ADDRESS_FIND] = "SELECT account, position, kind FROM addresses WHERE domain = ?1 AND "
                          "local = ?2",
    [STMT_ADDRESS_ADD] = "INSERT INTO addresses(domain, local, account, position, enabled, "
                         "description, kind) VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7)",
    [STMT_ADDRESS_DELETE] = "DELETE FROM addresses WHERE domain = ?1 AND local = ?2",
    [STMT_ALIAS_LIST] = "SELECT domain, local, enabled, description FROM addresses WHERE "
                        "account = ?1 AND position >= 0 ORDER BY position",
    [STMT_ALIAS_DELETE] = "DELETE FROM addresses WHERE account = ?1 AND position >= 0",
    [STMT_ACCESS_PUT] = "INSERT OR REPLACE INTO account_access(account, administrator, json) "
                        "VALUES(?1, ?2, ?3)",
    [STMT_ACCESS_DELETE] = "DELETE FROM account_access WHERE account = ?1",
    [STMT_ACCESS_ROLES] = "SELECT account, json FROM account_access "
                          "WHERE instr(json, '\"roleIds\"') > 0 ORDER BY account",
    /* but those who may do what every user may, as put_access writes it */
    [STMT_ACCESS_DOMAIN] =
        "SELECT x.account, x.json FROM accounts a JOIN account_access x ON x.account = a.id WHERE "
        "a.domain = ?1 AND instr(x.json, '\"roles\":{\"@type\":\"User\"},\"permissions\":{"
        "\"@type\":\"Inherit\"}') = 0 ORDER BY x.account",
    [STMT_ACCESS_ADMIN] = "SELECT 1 FROM account_access WHERE administrator = 1 LIMIT 1",
    [STMT_NOTE_GET] = "SELECT value FROM notes WHERE key = ?1",
    [STMT_NOTE_SET] = "INSERT OR REPLACE INTO notes(key, value) VALUES(?1, ?2)",
    [STMT_NOTE_DELETE] = "DELETE FROM notes WHERE key = ?1",
    [STMT_ROWS_COUNT] = "SELECT (SELECT count(*) FROM domain_names), "
                        "(SELECT count(*) FROM addresses)",
    [STMT_ROWS_DOMAINS] =
        "SELECT n.name, d.id, d.enabled, d.relaying, d.sub_addressing, "
        "d.catch_all, d.verification FROM domain_names n JOIN domains d ON d.id = n.domain",
    [STMT_ROWS_OWN] =
        "SELECT a.domain, a.local, a.account, a.local, d.name, 0, a.enabled, a.kind FROM "
        "addresses a JOIN domains d ON d.id = a.domain WHERE a.position < 0 AND a.kind < 2",
    [STMT_ROWS_ALIASES] =
        "SELECT a.domain, a.local, a.account, c.local, d.name, 1, a.enabled, a.kind "
        "FROM addresses a JOIN accounts c ON c.id = a.account "
        "JOIN domains d ON d.id = c.domain WHERE a.position >= 0",
};

static mx_err err_from_sqlite(int rc)
{
    switch (rc & 0xff) {
    case SQLITE_OK:
    case SQLITE_ROW:
    case SQLITE_DONE:
        return MX_OK;
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
        return MX_ERR_DAMAGED;
    case SQLITE_FULL:
        return MX_ERR_NOSPACE;
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
        return MX_ERR_LOCKED;
    case SQLITE_NOMEM:
    case SQLITE_TOOBIG:
        return MX_ERR_NOMEM;
    case SQLITE_READONLY:
    case SQLITE_PERM:
    case SQLITE_AUTH:
    case SQLITE_CANTOPEN:
        return MX_ERR_PERMISSION;
    case SQLITE_CONSTRAINT:
        return MX_ERR_EXISTS;
    default:
        return MX_ERR_IO;
    }
}

mx_err store_check(struct store *store, int rc)
{
    mx_err err = err_from_sqlite(rc);
    if (err) {
        snprintf(store->problem, sizeof(store->problem), "registry.db: %s (%s)", err_text(err),
                 sqlite3_errmsg(store->db));
    }
    return err;
}

const char *store_advice(mx_err err)
{
    switch (err) {
    case MX_ERR_DAMAGED:
        return "put a copy of registry.db back, or move it and registry.db-wal away to begin with "
               "an "
               "empty configuration; queue and mailboxes stay as they are";
    case MX_ERR_VERSION:
        return "start the ringmx that wrote registry.db, or put a copy of that time back";
    case MX_ERR_PERMISSION:
        return "give registry.db and its folder to the user that ringmx runs as";
    default:
        return "remove the cause and start again";
    }
}

const char *store_problem(const struct store *store)
{
    return store->problem;
}

mx_err store_statement(struct store *store, sqlite3_stmt **out_stmt, enum store_statement id)
{
    sqlite3_stmt **slot = &store->statements[id];
    if (!*slot) {
        mx_err err = store_check(store, sqlite3_prepare_v3(store->db, statement_text[id], -1,
                                                           SQLITE_PREPARE_PERSISTENT, slot, NULL));
        if (err) {
            return err;
        }
    }
    (void)sqlite3_reset(*slot);
    (void)sqlite3_clear_bindings(*slot);
    *out_stmt = *slot;
    return MX_OK;
}

mx_err store_step(struct store *store, sqlite3_stmt *stmt, bool *out_row)
{
    int rc = sqlite3_step(stmt);
    mx_err err = store_check(store, rc);
    *out_row = rc == SQLITE_ROW;
    if (rc != SQLITE_ROW) {
        (void)sqlite3_reset(stmt);
    }
    return err;
}

mx_err store_row(struct store *store, sqlite3_stmt *stmt)
{
    bool row;
    mx_err err = store_step(store, stmt, &row);
    return !err && !row ? MX_ERR_NOTFOUND : err;
}

mx_err store_run(struct store *store, sqlite3_stmt *stmt)
{
    bool row;
    mx_err err = store_step(store, stmt, &row);
    MX_ASSERT(err || !row);
    return err;
}

static mx_err run_simple(struct store *store, enum store_statement id)
{
    sqlite3_stmt *stmt;
    mx_err err = store_statement(store, &stmt, id);
    return err ? err : store_run(store, stmt);
}

mx_err store_meta_set(struct store *store, const char *key, uint64_t value)
{
    sqlite3_stmt *stmt;
    mx_err err = store_statement(store, &stmt, STMT_META_SET);
    if (err) {
        return err;
    }
    bind_slice(stmt, 1, slice_of_text(key));
    bind_id(stmt, 2, value);
    return store_run(store, stmt);
}

mx_err store_no_memory(struct store *store)
{
    snprintf(store->problem, sizeof(store->problem), "%s", err_text(MX_ERR_NOMEM));
    return MX_ERR_NOMEM;
}

/* Transactions ----------------------------------------------------------------------------- */

uint64_t store_generation(const struct store *store)
{
    return store->generation + (store->changes > 0);
}

uint32_t store_node(const struct store *store)
{
    return store->node;
}

struct store_cost store_take_cost(struct store *store)
{
    struct store_cost cost = store->cost;
    store->cost = (struct store_cost){0};
    return cost;
}

bool store_in_transaction(const struct store *store)
{
    return store->in_transaction;
}

mx_err store_begin(struct store *store, const char *who, int64_t wall_ms)
{
    MX_ASSERT(!store->in_transaction);
    mx_err err = run_simple(store, STMT_BEGIN);
    if (err) {
        return err;
    }
    (void)sqlite3_db_config(store->db, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 0, NULL);
    store->in_transaction = true;
    store->failures = json_memory_failures();
    store->changes = 0;
    store->wall_ms = wall_ms;
    snprintf(store->who, sizeof(store->who), "%s", who);
    return MX_OK;
}

void store_rollback(struct store *store)
{
    if (!store->in_transaction) {
        return;
    }
    /* It fails only when SQLite has rolled back by itself (disk full, I/O error). */
    if (!sqlite3_get_autocommit(store->db)) {
        (void)run_simple(store, STMT_ROLLBACK);
    }
    store->in_transaction = false;
    store->changes = 0;
}

mx_err store_commit(struct store *store)
{
    MX_ASSERT(store->in_transaction);
    if (store->changes == 0) {
        store_rollback(store);
        return MX_OK;
    }
    mx_err err = store_meta_set(store, "generation", store->generation + 1);
    if (!err && json_memory_failures() != store->failures) {
        err = store_no_memory(store); /* something that was written may lack a part */
    }
    if (!err) {
        err = store_meta_set(store, "last_id", store->last_id);
    }
    uint64_t began_ns = clock_monotonic_ns();
    if (!err) {
        err = run_simple(store, STMT_COMMIT);
    }
    store->cost.sync_ns += clock_monotonic_ns() - began_ns;
    store->cost.objects += store->changes;
    if (err) {
        store_rollback(store);
        return err;
    }
    store->generation++;
    store->in_transaction = false;
    store->changes = 0;
    return MX_OK;
}

void store_watch(struct store *store, store_change_fn watch, void *arg)
{
    store->watch = watch;
    store->watch_arg = arg;
}

void store_guard(struct store *store, store_guard_fn guard, void *arg)
{
    store->guard = guard;
    store->guard_arg = arg;
}

void store_seal_by(struct store *store, struct secret_memo *memo)
{
    store->secrets = memo;
}

struct secret_memo *store_secrets(const struct store *store)
{
    return store->secrets;
}

mx_err store_ask_guard(struct store *store, const struct store_wish *wish,
                       struct set_errors *errors)
{
    return store->guard ? store->guard(store->guard_arg, wish, errors) : MX_OK;
}

uint64_t store_next_id(struct store *store)
{
    MX_ASSERT(store->in_transaction);
    store->last_id = object_id_next(store->last_id, store->wall_ms, store->node);
    return store->last_id;
}
