/* What apply says: lines on standard error, or with --json records on standard output. */
#pragma once

#include "tools/cli/apply_plan.h"
#include "tools/cli/cli.h"

struct done {
    size_t created, updated, destroyed, failed;
};

struct report {
    bool quiet, json, progress, dry_run, color;
    struct done done; /* of the whole plan */
    json_t *warned;   /* types that are matched by value */
};

void report_init(struct report *report, const struct cli *cli);
void report_free(struct report *report);
void report_plan(const struct report *report, const struct plan *plan);
void report_by_value(struct report *report, const char *object);
void report_batch(const struct report *report, const char *verb, const char *object, size_t batch,
                  size_t objects);
/* good false: fail_text() has the reason, and keeps it. */
void report_op(const struct report *report, const char *op, const char *object, size_t index,
               const struct done *done, bool good);
void report_cleanup(const struct report *report, const char *object, size_t index,
                    const struct done *done, bool good);
void report_end(const struct report *report, const struct plan *plan);
