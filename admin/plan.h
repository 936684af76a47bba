/* `ringmx apply --data DIR [--dry-run [--explain FILE]] plan.ndjson`: brings the registry of a
 * stopped server to what a plan says. A plan is one JSON object per line (blank lines are skipped):
 *
 *   {"@type":"create",   "object":"Domain", "value":{"d1":{"name":"example.org"}}}
 *   {"@type":"update",   "object":"Domain", "id":"#d1", "value":{"allowRelaying":true}}
 *   {"@type":"upsert",   "object":"MtaRoute", "matchOn":["name"], "scope":{"@type":"Relay"},
 *                        "value":{"r1":{"@type":"Relay","name":"source","address":"192.0.2.25"}}}
 *   {"@type":"reconcile", ... as upsert; what is in scope and not in the plan is destroyed}
 *   {"@type":"destroy",  "object":"Account", "value":{"name":"bob"}}
 *
 * Destroys run first, last line first; then creates, updates, upserts and reconciles in order; then
 * what reconciles leave over is destroyed, last line first. "#d1" stands for the object that the
 * plan calls d1. The whole plan is one transaction, and the configuration that results is compiled
 * before it is committed: all or nothing. Every error names line, object, field and reason; all
 * errors of a plan are reported, up to PLAN_ERRORS_MAX. */
#pragma once

#include "core/slice.h"

#include <stdio.h>

enum {
    PLAN_ERRORS_MAX = 100,
    PLAN_LINES_MAX = 10000000,
    PLAN_EXIT_OK = 0,
    PLAN_EXIT_FAILED = 1,
    PLAN_EXIT_USAGE = 2,
};

#define PLAN_BYTES_MAX (UINT64_C(2) << 30)

struct explain_cores;
struct plan_options {
    const char *data_dir; /* made when absent, except by a dry run */
    const char *path;     /* of the plan; "-" is standard input, as for explain */
    const char *who;      /* for the change log; NULL: "apply" */
    bool dry_run;         /* say what would happen; change nothing */
    /* With dry_run: a file of recipients, one a line; those that would go elsewhere are printed.
     * NULL: none. */
    const char *explain;
    /* Who is asked what has to be looked up for that (admin/explain_cores.h). NULL: nobody. */
    struct explain_cores *cores;
    FILE *out; /* summary, and the steps of a dry run */
    FILE *err; /* errors */
};

/* Takes the data folder's lock. Returns the exit code. */
int plan_apply(const struct plan_options *options);

struct store;
/* A dry run on a store that is open and in no transaction: plan and recipients (as in the file, may
 * be empty) as text; options->dry_run is set, its paths are not used. */
int plan_dry_run(const struct plan_options *options, struct store *store, struct slice plan_text,
                 struct slice recipients);

/* The same from a command line: argv[0] is "apply". */
int plan_apply_command(int argc, char **argv, FILE *out, FILE *err);
