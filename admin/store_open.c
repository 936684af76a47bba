/* The registry's file: made, found, checked. */
#include "admin/object_id.h"
#include "admin/store_private.h"
#include "core/check.h"
#include "io/clock.h"
#include "io/random.h"
#include "io/sys.h"

#include <stdio.h>
#include <stdlib.h>

enum {
    STORE_FORMAT = 4,
    STORE_APPLICATION = 0x524d5831, /* "RMX1" */
    BUSY_WAIT_MS = 5000,
};

/* Opening never changes these: a new layout is a new STORE_FORMAT with a conversion. */
static const char schema[] =
    "CREATE TABLE meta(key TEXT PRIMARY KEY, value INTEGER NOT NULL) STRICT, WITHOUT ROWID;"
    "CREATE TABLE objects(type TEXT NOT NULL, id INTEGER NOT NULL, label TEXT, json TEXT NOT NULL,"
    "  PRIMARY KEY(type, id)) STRICT, WITHOUT ROWID;"
    "CREATE UNIQUE INDEX object_labels ON objects(type, label) WHERE label IS NOT NULL;"
    "CREATE TABLE domains(id INTEGER PRIMARY KEY, name TEXT NOT NULL, description TEXT,"
    "  enabled INTEGER NOT NULL, relaying INTEGER NOT NULL, catch_all TEXT,"
    "  sub_addressing INTEGER NOT NULL,"
    "  verification INTEGER NOT NULL) STRICT;" /* enum dir_verify */
    "CREATE INDEX domains_name ON domains(name);"
    /* position -1: the domain's own name, else an alias */
    "CREATE TABLE domain_names(name TEXT PRIMARY KEY, domain INTEGER NOT NULL,"
    "  position INTEGER NOT NULL) STRICT, WITHOUT ROWID;"
    "CREATE INDEX domain_names_domain ON domain_names(domain);"
    "CREATE TABLE accounts(id INTEGER PRIMARY KEY, domain INTEGER NOT NULL, local TEXT NOT NULL,"
    "  description TEXT, kind INTEGER NOT NULL) STRICT;" /* enum store_kind */
    "CREATE INDEX accounts_domain ON accounts(domain);"
    "CREATE INDEX accounts_local ON accounts(local);"
    /* Accounts that may sign in or do something: few of many. administrator: has the role Admin and
     * a credential. */
    "CREATE TABLE account_access(account INTEGER PRIMARY KEY, administrator INTEGER NOT NULL,"
    "  json TEXT NOT NULL) STRICT;"
    "CREATE INDEX account_access_administrators ON account_access(account) WHERE administrator = 1;"
    /* every address once; position -1: the account's own */
    "CREATE TABLE addresses(domain INTEGER NOT NULL, local TEXT NOT NULL,"
    "  account INTEGER NOT NULL, position INTEGER NOT NULL, enabled INTEGER NOT NULL,"
    "  description TEXT, kind INTEGER NOT NULL, PRIMARY KEY(domain, local)) STRICT, WITHOUT ROWID;"
    "CREATE INDEX addresses_aliases ON addresses(account) WHERE position >= 0;"
    /* What is no object: "bootstrap", the first administrator's hash. */
    "CREATE TABLE notes(key TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT, WITHOUT ROWID;"
    "CREATE TABLE changes(generation INTEGER NOT NULL, sequence INTEGER NOT NULL,"
    "  time_ms INTEGER NOT NULL, who TEXT NOT NULL, type TEXT NOT NULL, id INTEGER NOT NULL,"
    "  before TEXT, after TEXT, PRIMARY KEY(generation, sequence)) STRICT, WITHOUT ROWID;";

static mx_err execute(struct store *store, const char *sql)
{
    return store_check(store, sqlite3_exec(store->db, sql, NULL, NULL, NULL));
}

static mx_err read_meta(struct store *store, const char *key, uint64_t *out_value)
{
    sqlite3_stmt *stmt;
    mx_err err = store_statement(store, &stmt, STMT_META_GET);
    bool row = false;
    if (!err) {
        bind_slice(stmt, 1, slice_of_text(key));
        err = store_step(store, stmt, &row);
    }
    if (!err && !row) {
        snprintf(store->problem, sizeof(store->problem), "registry.db has no entry '%s'", key);
        return MX_ERR_DAMAGED;
    }
    if (!err) {
        *out_value = (uint64_t)sqlite3_column_int64(stmt, 0);
        (void)sqlite3_reset(stmt);
    }
    return err;
}

/* First start ------------------------------------------------------------------------------ */

/* What this version makes at a first start and an earlier one did not. */
static mx_err add_seeds(struct store *store, uint64_t have)
{
    mx_err err = store_seed(store, have);
    return err ? err : store_meta_set(store, "seeds", STORE_SEEDS);
}

static mx_err build(struct store *store)
{
    char pragma[128];
    snprintf(pragma, sizeof(pragma), "PRAGMA application_id=%d; PRAGMA user_version=%d;",
             STORE_APPLICATION, STORE_FORMAT);
    mx_err err = execute(store, "PRAGMA page_size=8192; PRAGMA synchronous=FULL;");
    err = err ? err : store_begin(store, "ringmx", 0);
    err = err ? err : execute(store, pragma);
    err = err ? err : execute(store, schema);
    store->node = (uint32_t)(random_u64() & ((1u << OBJECT_NODE_BITS) - 1));
    err = err ? err : store_meta_set(store, "node", store->node);
    err = err ? err : add_seeds(store, 0);
    if (err) {
        store_rollback(store);
        return err;
    }
    return store_commit(store);
}

static mx_err open_database(struct store **out_store, const char *path, int flags,
                            struct config_problem *problem)
{
    json_memory_install();
    struct store *store = calloc(1, sizeof(*store));
    if (!store) {
        config_problem_set(problem, "%s: %s", path, err_text(MX_ERR_NOMEM));
        return MX_ERR_NOMEM;
    }
    int rc = sqlite3_open_v2(path, &store->db, flags | SQLITE_OPEN_NOMUTEX, NULL);
    mx_err err = store_check(store, rc);
    if (!err) {
        (void)sqlite3_busy_timeout(store->db, BUSY_WAIT_MS);
        (void)sqlite3_extended_result_codes(store->db, 1);
        /* Nobody else has it open (the folder is locked), and a server has to start on a full disk:
         * without this SQLite makes an index file at the first read. */
        err = execute(store, "PRAGMA locking_mode=EXCLUSIVE");
        err = err ? err : store_add_functions(store);
    }
    if (!err) {
        *out_store = store;
        return MX_OK;
    }
    config_problem_set(problem, "%s: %s", path, store->problem);
    store_close(store);
    return err;
}

static mx_err fail_with(struct config_problem *problem, mx_err err, const char *path,
                        const char *what)
{
    config_problem_set(problem, "%s: %s", path, what);
    return err;
}

/* Builds the file beside its place; a crash leaves a ".new" that the next start throws away. */
static mx_err create(const char *path, const char *data_dir, struct config_problem *problem)
{
    char fresh[STORE_PATH_MAX];
    char journal[STORE_PATH_MAX];
    snprintf(fresh, sizeof(fresh), "%s/registry.db.new", data_dir);
    snprintf(journal, sizeof(journal), "%s/registry.db.new-journal", data_dir);
    mx_err err = sys_unlink(journal);
    err = err && err != MX_ERR_NOTFOUND ? err : sys_unlink(fresh);
    int fd = -1;
    err = err && err != MX_ERR_NOTFOUND
              ? err
              : sys_open(&fd, fresh, SYS_READ | SYS_WRITE | SYS_CREATE | SYS_EXCLUSIVE);
    if (err) {
        return fail_with(problem, err, fresh, err_text(err));
    }
    sys_close(fd);
    struct store *store;
    err = open_database(&store, fresh, SQLITE_OPEN_READWRITE, problem);
    if (err) {
        return err;
    }
    err = build(store);
    if (err) {
        config_problem_set(problem, "%s: %s", fresh, store->problem);
    }
    store_close(store);
    if (!err) {
        err = sys_rename_new(fresh, path);
        err = err ? err : sys_sync_dir(data_dir);
        if (err) {
            return fail_with(problem, err, path, err_text(err));
        }
    }
    return err;
}

/* Opening ---------------------------------------------------------------------------------- */

static mx_err read_pragma(struct store *store, const char *sql, int64_t *out_value)
{
    sqlite3_stmt *stmt = NULL;
    mx_err err = store_check(store, sqlite3_prepare_v2(store->db, sql, -1, &stmt, NULL));
    if (!err) {
        int rc = sqlite3_step(stmt);
        err = store_check(store, rc);
        *out_value = rc == SQLITE_ROW ? sqlite3_column_int64(stmt, 0) : 0;
    }
    (void)sqlite3_finalize(stmt);
    return err;
}

static mx_err check_format(struct store *store)
{
    int64_t application = 0;
    int64_t format = 0;
    mx_err err = read_pragma(store, "PRAGMA application_id", &application);
    err = err ? err : read_pragma(store, "PRAGMA user_version", &format);
    if (err) {
        return err;
    }
    if (application != STORE_APPLICATION || format < 1) {
        snprintf(store->problem, sizeof(store->problem),
                 "registry.db is not a registry of ringmx, or it is damaged");
        return MX_ERR_DAMAGED;
    }
    if (format < STORE_FORMAT) {
        snprintf(store->problem, sizeof(store->problem),
                 "registry.db has format %lld of an unreleased ringmx; this one reads %d",
                 (long long)format, STORE_FORMAT);
        return MX_ERR_VERSION;
    }
    if (format > STORE_FORMAT) {
        snprintf(store->problem, sizeof(store->problem),
                 "registry.db was written by a newer ringmx (format %lld; this one knows up to "
                 "%d)",
                 (long long)format, STORE_FORMAT);
        return MX_ERR_VERSION;
    }
    return MX_OK;
}

/* A registry that an earlier version made has no entry. */
static mx_err read_seeds(struct store *store, uint64_t *out_have)
{
    sqlite3_stmt *stmt;
    bool row = false;
    mx_err err = store_statement(store, &stmt, STMT_META_GET);
    if (!err) {
        bind_slice(stmt, 1, SLICE_LITERAL("seeds"));
        err = store_step(store, stmt, &row);
    }
    *out_have = 1;
    if (row) {
        *out_have = (uint64_t)sqlite3_column_int64(stmt, 0);
        (void)sqlite3_reset(stmt);
    }
    return err;
}

static mx_err complete_seeds(struct store *store)
{
    uint64_t have;
    mx_err err = read_seeds(store, &have);
    if (err || have >= STORE_SEEDS) {
        return err;
    }
    err = store_begin(store, "ringmx", clock_wall_ms());
    err = err ? err : add_seeds(store, have);
    if (err) {
        store_rollback(store);
        return err;
    }
    return store_commit(store);
}

static mx_err prepare(struct store *store)
{
    mx_err err = check_format(store);
    err = err ? err
              : execute(store, "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL;"
                               "PRAGMA trusted_schema=OFF; PRAGMA cell_size_check=ON;"
                               "PRAGMA cache_size=-32768; PRAGMA temp_store=MEMORY;");
    uint64_t node = 0;
    err = err ? err : read_meta(store, "generation", &store->generation);
    err = err ? err : read_meta(store, "last_id", &store->last_id);
    err = err ? err : read_meta(store, "node", &node);
    store->node = (uint32_t)node;
    return err ? err : complete_seeds(store);
}

static mx_err registry_path(char path[STORE_PATH_MAX], const char *data_dir, const char *suffix)
{
    int len = snprintf(path, STORE_PATH_MAX, "%s/registry.db%s", data_dir, suffix);
    return len < 0 || len >= STORE_PATH_MAX - 16 ? MX_ERR_RANGE : MX_OK;
}

mx_err store_exists(bool *out_exists, const char *data_dir)
{
    char path[STORE_PATH_MAX];
    mx_err err = registry_path(path, data_dir, "");
    return err ? err : sys_exists(out_exists, path);
}

/* True in *out_has when there is something in the write-ahead log. */
static mx_err has_log(bool *out_has, const char *data_dir)
{
    char path[STORE_PATH_MAX];
    uint64_t bytes = 0;
    int fd;
    *out_has = false;
    mx_err err = registry_path(path, data_dir, "-wal");
    err = err ? err : sys_open(&fd, path, SYS_READ);
    if (err) {
        return err == MX_ERR_NOTFOUND ? MX_OK : err;
    }
    err = sys_size(&bytes, fd);
    sys_close(fd);
    *out_has = bytes > 0;
    return err;
}

/* SQLite would open a file that it may not write, and fail later with another reason. */
static mx_err check_access(const char *path)
{
    int fd;
    mx_err err = sys_open(&fd, path, SYS_READ | SYS_WRITE);
    if (!err) {
        sys_close(fd);
    }
    return err;
}

static mx_err open_present(struct store **out_store, const char *path, bool logged,
                           struct config_problem *problem)
{
    struct store *store;
    mx_err err = check_access(path);
    if (err) {
        return fail_with(problem, err, path, err_text(err));
    }
    err = open_database(&store, path, SQLITE_OPEN_READWRITE, problem);
    if (err) {
        return err;
    }
    if (logged) { /* until the first change */
        (void)sqlite3_db_config(store->db, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, NULL);
    }
    err = prepare(store);
    if (err) {
        config_problem_set(problem, "%s: %s", path, store->problem);
        store_close(store);
        return err;
    }
    *out_store = store;
    return MX_OK;
}

mx_err store_open(struct store **out_store, const char *data_dir, struct config_problem *problem)
{
    char path[STORE_PATH_MAX];
    bool exists = false, logged = false;
    mx_err err = registry_path(path, data_dir, "");
    err = err ? err : sys_exists(&exists, path);
    err = err ? err : has_log(&logged, data_dir);
    if (err) {
        return fail_with(problem, err, data_dir, err_text(err));
    }
    if (!exists && logged) { /* somebody removed the database */
        return fail_with(problem, MX_ERR_DAMAGED, data_dir,
                         "there is registry.db-wal but no registry.db; put the database back");
    }
    if (!exists) {
        err = create(path, data_dir, problem);
        if (err) {
            return err;
        }
    }
    return open_present(out_store, path, logged, problem);
}

mx_err store_open_scratch(struct store **out_store, struct config_problem *problem)
{
    struct store *store;
    mx_err err =
        open_database(&store, ":memory:", SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE, problem);
    if (err) {
        return err;
    }
    err = build(store);
    if (err) {
        config_problem_set(problem, "%s", store->problem);
        store_close(store);
        return err;
    }
    *out_store = store;
    return MX_OK;
}

void store_close(struct store *store)
{
    if (!store) {
        return;
    }
    store_rollback(store);
    for (size_t i = 0; i < STMT_COUNT; i++) {
        (void)sqlite3_finalize(store->statements[i]);
    }
    (void)sqlite3_close(store->db);
    free(store);
}
