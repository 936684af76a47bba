/* What the tests of admin/ share: counting checks, scratch folders, plans as text, dumps. */
#pragma once

#define CHECK_COUNTS
#include "tests/check.h"

#include "admin/config.h"
#include "admin/plan.h"

#include <ftw.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define CHECK_TEXT(actual, expected) check_text((actual), (expected), __FILE__, __LINE__)

static inline void check_text(const char *actual, const char *expected, const char *file, int line)
{
    if (strcmp(actual, expected) != 0) {
        failures++;
        fprintf(stderr, "%s:%d: expected:\n%s\nbut was:\n%s\n", file, line, expected, actual);
    }
}

#define CHECK_HAS(actual, part) check_has((actual), (part), __FILE__, __LINE__)

static inline void check_has(const char *actual, const char *part, const char *file, int line)
{
    if (!strstr(actual, part)) {
        failures++;
        fprintf(stderr, "%s:%d: no '%s' in:\n%s\n", file, line, part, actual);
    }
}

struct scratch {
    char root[256]; /* removed at the end */
    char data[300]; /* a data folder inside, not made yet */
    char plan[300]; /* a file inside */
};

static inline void scratch_open(struct scratch *scratch)
{
    const char *base = getenv("TMPDIR");
    snprintf(scratch->root, sizeof(scratch->root), "%s/ringmx-admin-XXXXXX", base ? base : "/tmp");
    if (!mkdtemp(scratch->root)) {
        perror("mkdtemp");
        exit(2);
    }
    snprintf(scratch->data, sizeof(scratch->data), "%s/data", scratch->root);
    snprintf(scratch->plan, sizeof(scratch->plan), "%s/plan", scratch->root);
}

static inline int remove_entry(const char *path, const struct stat *stat, int flag, struct FTW *ftw)
{
    (void)stat;
    (void)flag;
    (void)ftw;
    return remove(path);
}

static inline void scratch_close(struct scratch *scratch)
{
    (void)nftw(scratch->root, remove_entry, 16, FTW_DEPTH | FTW_PHYS);
}

static inline void write_file(const char *path, const void *bytes, size_t len)
{
    FILE *file = fopen(path, "wb");
    if (!file || fwrite(bytes, 1, len, file) != len || fclose(file) != 0) {
        perror(path);
        exit(2);
    }
}

/* Result of an apply: what it printed, errors after the output. */
struct applied {
    int code;
    char *text;
};

static inline struct applied apply_plan(struct scratch *scratch, const char *plan, bool dry_run)
{
    struct applied applied = {0};
    size_t len = 0;
    FILE *out = open_memstream(&applied.text, &len);
    write_file(scratch->plan, plan, strlen(plan));
    struct plan_options options = {.data_dir = scratch->data,
                                   .path = scratch->plan,
                                   .who = "test",
                                   .dry_run = dry_run,
                                   .out = out,
                                   .err = out};
    applied.code = plan_apply(&options);
    fclose(out);
    return applied;
}

/* Applies a plan that must work. */
static inline void apply_good(struct scratch *scratch, const char *plan, const char *summary)
{
    struct applied applied = apply_plan(scratch, plan, false);
    if (applied.code != 0) {
        failures++;
        fprintf(stderr, "apply failed:\n%s", applied.text);
    } else if (summary) {
        CHECK_TEXT(applied.text, summary);
    }
    free(applied.text);
}

static inline void dump_table(FILE *out, sqlite3 *db, const char *table)
{
    char sql[128];
    sqlite3_stmt *stmt = NULL;
    snprintf(sql, sizeof(sql), "SELECT * FROM %s ORDER BY 1, 2", table);
    fprintf(out, "== %s\n", table);
    if (sqlite3_prepare_v2(db, sql, -1, &stmt, NULL) != SQLITE_OK) {
        fprintf(out, "%s\n", sqlite3_errmsg(db));
        failures++;
    }
    while (stmt && sqlite3_step(stmt) == SQLITE_ROW) {
        for (int i = 0; i < sqlite3_column_count(stmt); i++) {
            const unsigned char *text = sqlite3_column_text(stmt, i);
            fprintf(out, "%s%s", i ? "|" : "", text ? (const char *)text : "NULL");
        }
        fputc('\n', out);
    }
    (void)sqlite3_finalize(stmt);
}

/* Everything that the registry holds, as text; malloc'd. */
static inline char *dump_registry(const struct scratch *scratch)
{
    static const char *const tables[] = {"meta",     "objects",   "domains", "domain_names",
                                         "accounts", "addresses", "changes"};
    char path[400];
    char *text = NULL;
    size_t len = 0;
    sqlite3 *db = NULL;
    FILE *out = open_memstream(&text, &len);
    snprintf(path, sizeof(path), "%s/registry.db", scratch->data);
    if (sqlite3_open_v2(path, &db, SQLITE_OPEN_READONLY, NULL) != SQLITE_OK) {
        fprintf(out, "cannot open: %s\n", sqlite3_errmsg(db));
    } else {
        for (size_t i = 0; i < mx_countof(tables); i++) {
            dump_table(out, db, tables[i]);
        }
    }
    (void)sqlite3_close(db);
    fclose(out);
    return text;
}

static inline int64_t count_rows(const struct scratch *scratch, const char *sql)
{
    char path[400];
    sqlite3 *db = NULL;
    sqlite3_stmt *stmt = NULL;
    int64_t count = -1;
    snprintf(path, sizeof(path), "%s/registry.db", scratch->data);
    if (sqlite3_open_v2(path, &db, SQLITE_OPEN_READWRITE, NULL) == SQLITE_OK &&
        sqlite3_prepare_v2(db, sql, -1, &stmt, NULL) == SQLITE_OK &&
        sqlite3_step(stmt) == SQLITE_ROW) {
        count = sqlite3_column_int64(stmt, 0);
    }
    (void)sqlite3_finalize(stmt);
    (void)sqlite3_close(db);
    return count;
}

static inline int report(const char *name)
{
    printf("%s: %s\n", name, failures ? "FAILED" : "passed");
    return failures ? 1 : 0;
}
