#include "admin/plan_private.h"

#include "admin/config_build.h"
#include "admin/object_id.h"
#include "core/check.h"
#include "io/clock.h"
#include "io/sys.h"

#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

enum { ERROR_TEXT_MAX = 1024, PLAN_FIRST_BYTES = 64 * 1024 };

/* Errors ----------------------------------------------------------------------------------- */

static void add_error(struct plan *plan, uint32_t line, const char *text)
{
    if (plan->error_count < PLAN_ERRORS_MAX) {
        char *copy = strdup(text);
        /* Names come from the plan: one error stays one line, and terminals stay as they are. */
        for (char *c = copy; c && *c; c++) {
            if ((unsigned char)*c < 0x20 || *c == 0x7f) {
                *c = '?';
            }
        }
        plan->errors[plan->error_count] =
            (struct plan_error){line, (uint32_t)plan->error_count, copy};
    }
    plan->error_count++;
}

void plan_error(struct plan *plan, const struct plan_line *line, const char *client,
                const char *field, const char *format, ...)
{
    char text[ERROR_TEXT_MAX];
    struct writer w = writer_init(text, sizeof(text) - 1);
    const char *comma = "";
    if (line) {
        put_text(&w, "line ");
        put_decimal(&w, line->number);
        comma = ", ";
    }
    if (line && line->type) {
        put_text(&w, comma);
        put_text(&w, line->type->shape.name);
    }
    if (client && client[0]) {
        put_text(&w, " '");
        put_slice(&w, slice_first(slice_of_text(client), 200));
        put_char(&w, '\'');
    }
    if (field && field[0]) {
        put_text(&w, ", field ");
        put_text(&w, field);
    }
    if (w.len) {
        put_text(&w, ": ");
    }
    va_list args;
    va_start(args, format);
    vsnprintf(text + w.len, sizeof(text) - w.len, format, args);
    va_end(args);
    add_error(plan, line ? line->number : 0, text);
}

void plan_set_errors(struct plan *plan, const struct plan_line *line, const char *client,
                     const struct set_errors *errors)
{
    for (uint32_t i = 0; i < set_errors_kept(errors); i++) {
        if (errors->items[i].type == SET_DEPENDS_ON_REFUSED) {
            continue; /* the error that caused it is reported already */
        }
        plan_error(plan, line, client, errors->items[i].property, "%s", errors->items[i].text);
    }
    if (errors->count > SET_ERRORS_MAX) {
        plan_error(plan, line, client, NULL, "and %u more errors", errors->count - SET_ERRORS_MAX);
    }
}

static int compare_errors(const void *a, const void *b)
{
    const struct plan_error *left = a;
    const struct plan_error *right = b;
    if (left->line != right->line) {
        return left->line < right->line ? -1 : 1;
    }
    return left->sequence < right->sequence ? -1 : left->sequence > right->sequence;
}

static void print_errors(struct plan *plan)
{
    FILE *err = plan->options->err;
    size_t kept = plan->error_count < PLAN_ERRORS_MAX ? (size_t)plan->error_count : PLAN_ERRORS_MAX;
    qsort(plan->errors, kept, sizeof(plan->errors[0]), compare_errors);
    for (size_t i = 0; i < kept; i++) {
        const char *text = plan->errors[i].text;
        fprintf(err, "error: %s\n", text ? text : err_text(MX_ERR_NOMEM));
    }
    if (plan->error_count > kept) {
        fprintf(err, "error: %llu more errors\n", (unsigned long long)(plan->error_count - kept));
    }
    fprintf(err, "%llu %s; nothing was changed\n", (unsigned long long)plan->error_count,
            plan->error_count == 1 ? "error" : "errors");
}

/* Lists ------------------------------------------------------------------------------------ */

mx_err id_list_add(struct id_list *list, uint64_t id)
{
    if (list->count == list->cap) {
        size_t cap = list->cap ? list->cap * 2 : 64;
        uint64_t *grown = realloc(list->ids, cap * sizeof(*grown));
        if (!grown) {
            return MX_ERR_NOMEM;
        }
        list->ids = grown;
        list->cap = cap;
    }
    list->ids[list->count++] = id;
    return MX_OK;
}

void id_list_free(struct id_list *list)
{
    free(list->ids);
    *list = (struct id_list){0};
}

/* Running ---------------------------------------------------------------------------------- */

static void check_compiles(struct plan *plan)
{
    struct config *config = NULL;
    const struct reg_type *type = NULL;
    struct config_problem problem;
    mx_err err = config_build(&config, plan->store, CONFIG_IMAGE, &type, &problem);
    if (!err) {
        config_free(config);
        return;
    }
    uint32_t line = type ? plan->last_line[type - reg_types] : 0;
    char text[ERROR_TEXT_MAX];
    if (line) {
        snprintf(text, sizeof(text), "line %u, %s", line, problem.text);
    } else {
        snprintf(text, sizeof(text), "%s", problem.text);
    }
    add_error(plan, line, text);
}

/* Where the recipients go by what the store holds now. */
static void route_recipients(struct plan *plan)
{
    struct config_problem problem;
    if (plan->explain && plan->error_count == 0 &&
        plan_explain_route(plan->explain, plan->store, plan->options->cores, &problem)) {
        add_error(plan, 0, problem.text);
    }
}

static int finish(struct plan *plan)
{
    FILE *out = plan->options->out;
    if (plan->error_count) {
        store_rollback(plan->store);
        print_errors(plan);
        return PLAN_EXIT_FAILED;
    }
    uint64_t generation = store_generation(plan->store);
    if (plan->options->dry_run) {
        store_rollback(plan->store);
    } else if (store_commit(plan->store)) {
        fprintf(plan->options->err, "error: %s; nothing was changed\n", store_problem(plan->store));
        return PLAN_EXIT_FAILED;
    }
    fprintf(out, "%screated %llu, updated %llu, destroyed %llu, unchanged %llu; generation %llu\n",
            plan->options->dry_run ? "dry run: " : "", (unsigned long long)plan->created,
            (unsigned long long)plan->updated, (unsigned long long)plan->destroyed,
            (unsigned long long)plan->unchanged, (unsigned long long)generation);
    if (plan->explain) {
        plan_explain_print(plan->explain, out);
    }
    return PLAN_EXIT_OK;
}

static int run_on_store(struct plan *plan)
{
    const char *who = plan->options->who ? plan->options->who : "apply";
    mx_err err = store_begin(plan->store, who, clock_wall_ms());
    if (err) {
        fprintf(plan->options->err, "error: %s\n", store_problem(plan->store));
        return PLAN_EXIT_FAILED;
    }
    route_recipients(plan);
    if (plan->error_count == 0 && plan_parse(plan)) {
        plan_run(plan);
        if (plan->failure) {
            plan_error(plan, NULL, NULL, NULL, "%s",
                       plan->failure == MX_ERR_NOMEM ? err_text(MX_ERR_NOMEM)
                                                     : store_problem(plan->store));
        } else if (plan->error_count == 0) {
            check_compiles(plan);
            route_recipients(plan);
        }
    }
    return finish(plan);
}

static void plan_free(struct plan *plan)
{
    if (!plan) {
        return;
    }
    size_t kept = plan->error_count < PLAN_ERRORS_MAX ? (size_t)plan->error_count : PLAN_ERRORS_MAX;
    for (size_t i = 0; i < kept; i++) {
        free(plan->errors[i].text);
    }
    store_close(plan->store);
    json_decref(plan->declared);
    json_decref(plan->made);
    json_decref(plan->touched);
    plan_explain_free(plan->explain);
    free(plan->last_line);
    free(plan->lines);
    free(plan->bytes);
    free(plan);
}

static int fail(const struct plan_options *options, const char *what, const char *why)
{
    fprintf(options->err, "error: %s: %s\n", what, why);
    return PLAN_EXIT_FAILED;
}

/* Opens what the plan runs on: the registry, or for a dry run on a folder without one, what a first
 * start would make. */
static int open_and_run(struct plan *plan)
{
    const struct plan_options *options = plan->options;
    struct config_problem problem;
    bool exists = false;
    mx_err err = store_exists(&exists, options->data_dir);
    if (err) {
        return fail(options, options->data_dir, err_text(err));
    }
    err = options->dry_run && !exists ? store_open_scratch(&plan->store, &problem)
                                      : store_open(&plan->store, options->data_dir, &problem);
    if (err) {
        fprintf(options->err, "error: %s\n", problem.text);
        return PLAN_EXIT_FAILED;
    }
    return run_on_store(plan);
}

static int run_locked(struct plan *plan)
{
    const struct plan_options *options = plan->options;
    char path[STORE_PATH_MAX];
    int len = snprintf(path, sizeof(path), "%s/lock", options->data_dir);
    if (len < 0 || (size_t)len >= sizeof(path)) {
        return fail(options, options->data_dir, "the path is too long");
    }
    bool folder = false;
    mx_err err = sys_exists(&folder, options->data_dir);
    if (!err && !folder && options->dry_run) {
        return open_and_run(plan);
    }
    if (!err && !folder) {
        err = sys_mkdirs(options->data_dir);
    }
    if (err) {
        return fail(options, options->data_dir, err_text(err));
    }
    int lock = -1;
    err = sys_lock(&lock, path);
    if (err == MX_ERR_LOCKED) {
        fprintf(options->err,
                "error: %s is in use by process %d. Stop that server first: plans are applied to a "
                "stopped server.\n",
                options->data_dir, sys_lock_owner(path));
        return PLAN_EXIT_FAILED;
    }
    if (err) {
        return fail(options, path, err_text(err));
    }
    int code = open_and_run(plan);
    store_close(plan->store);
    plan->store = NULL;
    sys_close(lock);
    return code;
}

static struct plan *plan_new(const struct plan_options *options)
{
    struct plan *plan = calloc(1, sizeof(*plan));
    if (!plan) {
        return NULL;
    }
    plan->options = options;
    plan->declared = json_object();
    plan->made = json_object();
    plan->touched = json_object();
    plan->last_line = calloc(reg_type_count, sizeof(*plan->last_line));
    if (!plan->declared || !plan->made || !plan->touched || !plan->last_line) {
        plan_free(plan);
        return NULL;
    }
    return plan;
}

/* To the end, whatever it is: a pipe does not tell its size. *out_bytes has a NUL behind. */
static const char *read_stream(uint8_t **out_bytes, size_t *out_len, FILE *file)
{
    size_t cap = 0, len = 0;
    uint8_t *bytes = NULL;
    for (bool more = true; more;) {
        if (len == cap) {
            cap = cap ? 2 * cap : PLAN_FIRST_BYTES;
            uint8_t *larger = cap <= PLAN_BYTES_MAX ? realloc(bytes, cap + 1) : NULL;
            if (!larger) {
                free(bytes);
                return cap > PLAN_BYTES_MAX ? "is too large" : err_text(MX_ERR_NOMEM);
            }
            bytes = larger;
        }
        size_t got = fread(bytes + len, 1, cap - len, file);
        len += got;
        more = got > 0;
    }
    if (ferror(file)) {
        free(bytes);
        return strerror(errno);
    }
    bytes[len] = 0;
    *out_bytes = bytes;
    *out_len = len;
    return NULL;
}

/* "-" is standard input. Returns the exit code. */
static int read_whole(const struct plan_options *options, const char *path, uint8_t **out_bytes,
                      size_t *out_len)
{
    bool standard = strcmp(path, "-") == 0;
    FILE *file = standard ? stdin : fopen(path, "re");
    const char *problem = file ? read_stream(out_bytes, out_len, file) : strerror(errno);
    if (file && !standard) {
        (void)fclose(file);
    }
    return problem ? fail(options, path, problem) : PLAN_EXIT_OK;
}

static int read_recipients(struct plan *plan, const char *name, struct slice text)
{
    uint32_t line;
    char why[128];
    mx_err err = plan_explain_new(&plan->explain, text, &line);
    if (!err) {
        return PLAN_EXIT_OK;
    }
    if (err == MX_ERR_SYNTAX) {
        snprintf(why, sizeof(why), "line %u is not an address", (unsigned)line);
    } else if (err == MX_ERR_LIMIT) {
        snprintf(why, sizeof(why), "more than %d recipients", PLAN_EXPLAIN_MAX);
    } else {
        snprintf(why, sizeof(why), "%s", err_text(err));
    }
    return fail(plan->options, name, why);
}

static int read_recipients_file(struct plan *plan)
{
    const struct plan_options *options = plan->options;
    uint8_t *bytes = NULL;
    size_t len = 0;
    if (!options->explain) {
        return PLAN_EXIT_OK;
    }
    int code = read_whole(options, options->explain, &bytes, &len);
    if (code == PLAN_EXIT_OK) {
        code = read_recipients(plan, options->explain, slice_of(bytes, len));
    }
    free(bytes);
    return code;
}

int plan_apply(const struct plan_options *options)
{
    struct plan *plan = plan_new(options);
    if (!plan) {
        return fail(options, options->path, err_text(MX_ERR_NOMEM));
    }
    int code = read_whole(options, options->path, &plan->bytes, &plan->len);
    if (code == PLAN_EXIT_OK) {
        code = read_recipients_file(plan);
    }
    if (code == PLAN_EXIT_OK) {
        code = run_locked(plan);
    }
    plan_free(plan);
    return code;
}

int plan_dry_run(const struct plan_options *options, struct store *store, struct slice plan_text,
                 struct slice recipients)
{
    MX_ASSERT(options->dry_run);
    struct plan *plan = plan_new(options);
    uint8_t *bytes = plan ? malloc(plan_text.len + 1) : NULL;
    if (!bytes) {
        plan_free(plan);
        return fail(options, "plan", err_text(MX_ERR_NOMEM));
    }
    if (plan_text.len > 0) {
        memcpy(bytes, plan_text.ptr, plan_text.len);
    }
    plan->bytes = bytes;
    plan->len = plan_text.len;
    int code = read_recipients(plan, "recipients", recipients);
    if (code == PLAN_EXIT_OK) {
        plan->store = store;
        code = run_on_store(plan);
        plan->store = NULL; /* stays the caller's */
    }
    plan_free(plan);
    return code;
}

static int usage(FILE *err, const char *problem)
{
    fprintf(err,
            "error: %s\nusage: ringmx apply --data DIR [--dry-run [--explain FILE]] plan.ndjson\n",
            problem);
    return PLAN_EXIT_USAGE;
}

int plan_apply_command(int argc, char **argv, FILE *out, FILE *err)
{
    struct plan_options options = {.out = out, .err = err};
    for (int i = 1; i < argc; i++) {
        struct slice arg = slice_of_text(argv[i]);
        if (slice_equal(arg, SLICE_LITERAL("--dry-run"))) {
            options.dry_run = true;
        } else if (slice_equal(arg, SLICE_LITERAL("--data"))) {
            if (++i == argc) {
                return usage(err, "--data needs a folder");
            }
            options.data_dir = argv[i];
        } else if (slice_equal(arg, SLICE_LITERAL("--explain"))) {
            if (++i == argc) {
                return usage(err, "--explain needs a file");
            }
            options.explain = argv[i];
        } else if (arg.len > 1 && arg.ptr[0] == '-') {
            char problem[128];
            snprintf(problem, sizeof(problem), "unknown option %.80s", argv[i]);
            return usage(err, problem);
        } else if (options.path) {
            return usage(err, "more than one plan");
        } else {
            options.path = argv[i];
        }
    }
    if (!options.data_dir || !options.data_dir[0]) {
        return usage(err, "--data is missing");
    }
    if (!options.path) {
        return usage(err, "the plan is missing");
    }
    if (options.explain && !options.dry_run) {
        return usage(err, "--explain is for --dry-run");
    }
    if (options.explain && strcmp(options.explain, "-") == 0 && strcmp(options.path, "-") == 0) {
        return usage(err, "only one of plan and recipients can be standard input");
    }
    return plan_apply(&options);
}
