#include "tools/cli/apply_report.h"

#include "tools/cli/fail.h"
#include "tools/cli/schema.h"
#include "tools/cli/value.h"

#include <stdio.h>
#include <unistd.h>

void report_init(struct report *report, const struct cli *cli)
{
    const bool *given = cli->args->given;
    *report = (struct report){.quiet = given[OPT_QUIET],
                              .json = given[OPT_JSON],
                              .progress = given[OPT_PROGRESS],
                              .dry_run = given[OPT_DRY_RUN],
                              .color = cli->color && isatty(STDERR_FILENO),
                              .warned = need(json_object())};
}

void report_free(struct report *report)
{
    json_decref(report->warned);
}

/* A line on standard error whose first word has a style. */
static void tell(const struct report *report, enum style style, const char *word, struct buf *rest)
{
    struct buf line = {0};
    buf_styled(&line, report->color, style, word);
    buf_format(&line, " %s\n", buf_text(rest));
    fputs(line.at, stderr);
    buf_free(&line);
    buf_free(rest);
}

/* A record on standard output, there at once. */
static void record(json_t *value)
{
    struct buf line = {0};
    put_json(&line, value);
    buf_add(&line, "\n");
    json_decref(value);
    fputs(line.at, stdout);
    fflush(stdout); /* errors do not matter: a plan is not left half done because nobody reads */
    buf_free(&line);
}

void report_plan(const struct report *report, const struct plan *plan)
{
    struct buf text = {0};
    if (report->quiet) {
        return;
    }
    buf_format(&text,
               "%zu destroy, %zu update, %zu create, %zu upsert, %zu reconcile (%zu objects)",
               plan->ops[OP_DESTROY], plan->ops[OP_UPDATE], plan->ops[OP_CREATE],
               plan->ops[OP_UPSERT], plan->ops[OP_RECONCILE],
               plan->objects[OP_CREATE] + plan->objects[OP_UPSERT] + plan->objects[OP_RECONCILE]);
    tell(report, STYLE_BOLD, "Plan:", &text);
    if (report->dry_run) {
        fputs("(dry run: no changes will be made)\n", stderr);
    }
}

void report_by_value(struct report *report, const char *object)
{
    struct buf text = {0};
    if (report->quiet || json_object_get(report->warned, object) != NULL) {
        return;
    }
    json_object_set_new(report->warned, object, json_true());
    buf_format(&text, "%s has no match key and is matched by value: what differs is created anew",
               schema_display(object));
    tell(report, STYLE_YELLOW, "warning:", &text);
}

void report_batch(const struct report *report, const char *verb, const char *object, size_t batch,
                  size_t objects)
{
    struct buf text = {0};
    if (report->progress && !report->quiet) {
        buf_format(&text, "%s %s, batch %zu (%zu objects)", verb, schema_display(object), batch,
                   objects);
        tell(report, STYLE_DIM, "·", &text);
    }
}

static void op_failed(const struct report *report, const char *op, const char *object, size_t index)
{
    struct buf text = {0};
    if (report->json) {
        record(
            need(json_pack("{s:s,s:s,s:I,s:s,s:s}", "op", op, "object", schema_display(object),
                           "index", (json_int_t)index, "status", "error", "error", fail_text())));
        return;
    }
    buf_format(&text, "%s %s: %s", op, schema_display(object), fail_text());
    tell(report, STYLE_RED, "✗", &text);
}

void report_op(const struct report *report, const char *op, const char *object, size_t index,
               const struct done *done, bool good)
{
    struct buf text = {0};
    size_t count = done->created + done->updated + done->destroyed;
    if (!good) {
        op_failed(report, op, object, index);
    } else if (report->json) {
        record(need(json_pack("{s:s,s:s,s:I,s:I,s:s}", "op", op, "object", schema_display(object),
                              "index", (json_int_t)index, "count", (json_int_t)count, "status",
                              "ok")));
    } else if (!report->quiet) {
        size_t len = strlen(op);
        buf_format(&text, "%s%s %s (%zu)", op, op[len - 1] == 'e' ? "d" : "ed",
                   schema_display(object), count);
        tell(report, STYLE_GREEN, "✓", &text);
    }
}

void report_cleanup(const struct report *report, const char *object, size_t index,
                    const struct done *done, bool good)
{
    struct buf text = {0};
    if (!good) {
        op_failed(report, "reconcile", object, index);
    } else if (report->json) {
        record(need(json_pack("{s:s,s:s,s:s,s:I,s:I,s:s}", "op", "reconcile", "stage", "cleanup",
                              "object", schema_display(object), "index", (json_int_t)index,
                              "destroyed", (json_int_t)done->destroyed, "status", "ok")));
    } else if (!report->quiet) {
        buf_format(&text, "reconcile removed %s (%zu)", schema_display(object), done->destroyed);
        tell(report, STYLE_GREEN, "✓", &text);
    }
}

static json_t *count_of(size_t count)
{
    return need(json_integer((json_int_t)count));
}

void report_end(const struct report *report, const struct plan *plan)
{
    static const struct {
        const char *ops, *objects;
    } names[OP_KINDS] = {
        [OP_DESTROY] = {"destroys", NULL},
        [OP_UPDATE] = {"updates", NULL},
        [OP_CREATE] = {"creates", "create_objects"},
        [OP_UPSERT] = {"upserts", "upsert_objects"},
        [OP_RECONCILE] = {"reconciles", "reconcile_objects"},
    };
    const struct done *done = &report->done;
    struct buf text = {0};
    if (!report->json) {
        buf_format(&text, "%zu destroyed, %zu updated, %zu created (%zu failed)", done->destroyed,
                   done->updated, done->created, done->failed);
        tell(report, STYLE_BOLD, "Done:", &text);
        return;
    }
    json_t *planned = need(json_object());
    for (size_t i = 0; i < OP_KINDS; i++) {
        json_object_set_new(planned, names[i].ops, count_of(plan->ops[i]));
        if (names[i].objects != NULL) {
            json_object_set_new(planned, names[i].objects, count_of(plan->objects[i]));
        }
    }
    record(
        need(json_pack("{s:s,s:o,s:{s:o,s:o,s:o,s:o}}", "op", "summary", "plan", planned, "done",
                       "destroyed", count_of(done->destroyed), "updated", count_of(done->updated),
                       "created", count_of(done->created), "failed", count_of(done->failed))));
}
