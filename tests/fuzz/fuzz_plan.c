/* Configuration import: any text as a plan, against a registry in memory. All or nothing; what a
 * plan leaves compiles; the same plan again changes nothing or is refused as before; every line
 * that is refused says so. */
#include "admin/config_build.h"
#include "admin/plan_private.h"
#include "admin/store.h"
#include "fuzz.h"

/* The registry as text: every object of every type in order. */
struct dump {
    FILE *out;
    const struct reg_type *type;
};

static mx_err dump_object(void *arg, uint64_t id, json_t *object)
{
    struct dump *dump = arg;
    char *text = json_dumps(object, JSON_COMPACT | JSON_SORT_KEYS);
    FUZZ_CHECK(text != NULL);
    fprintf(dump->out, "%s %llu %s\n", dump->type->shape.name, (unsigned long long)id, text);
    free(text);
    return MX_OK;
}

static char *dump_registry(struct store *store)
{
    char *text = NULL;
    size_t len = 0;
    struct dump dump = {.out = open_memstream(&text, &len)};
    for (size_t i = 0; i < reg_type_count; i++) {
        dump.type = &reg_types[i];
        FUZZ_CHECK(store_each(store, dump.type, dump_object, &dump) == MX_OK);
    }
    fclose(dump.out);
    return text;
}

static void plan_close(struct plan *plan)
{
    for (size_t i = 0; i < mx_min_size((size_t)plan->error_count, PLAN_ERRORS_MAX); i++) {
        FUZZ_CHECK(plan->errors[i].text != NULL && plan->errors[i].text[0] != '\0');
        free(plan->errors[i].text);
    }
    json_decref(plan->declared);
    json_decref(plan->made);
    json_decref(plan->touched);
    free(plan->lines);
    free(plan->last_line);
}

/* Runs the plan in a transaction; true when it may be committed. */
static bool run(struct store *store, const uint8_t *data, size_t size, bool *out_changed)
{
    static const struct plan_options options = {.dry_run = false};
    struct plan plan = {.options = &options,
                        .store = store,
                        .bytes = (uint8_t *)(uintptr_t)data,
                        .len = size,
                        .declared = json_object(),
                        .made = json_object(),
                        .touched = json_object(),
                        .last_line = calloc(reg_type_count, sizeof *plan.last_line)};
    bool parsed = plan_parse(&plan);
    FUZZ_CHECK(parsed || plan.error_count > 0);
    for (size_t i = 0; i < plan.line_count; i++) {
        FUZZ_CHECK(plan.lines[i].text.ptr >= data &&
                   plan.lines[i].text.ptr + plan.lines[i].text.len <= data + size);
    }
    if (parsed && plan.error_count == 0) {
        plan_run(&plan);
        FUZZ_CHECK(plan.failure == MX_OK);
    }
    bool good = plan.error_count == 0;
    *out_changed = plan.created + plan.updated + plan.destroyed > 0;
    plan_close(&plan);
    return good;
}

/* Every object must be in normal form: normalizing it again yields it. */
static mx_err check_normal(void *arg, uint64_t id, json_t *object)
{
    const struct reg_type *type = arg;
    struct set_errors errors;
    (void)id;
    errors.count = 0;
    json_t *nothing = json_object();
    json_t *patched = object_patch(type, object, nothing, NULL, &errors);
    FUZZ_CHECK(patched == NULL || json_equal(patched, object));
    json_decref(nothing);
    json_decref(patched);
    return MX_OK;
}

static void apply(struct store *store, const uint8_t *data, size_t size)
{
    bool changed = false;
    char *before = dump_registry(store);
    FUZZ_CHECK(store_begin(store, "fuzz", 1790000000000) == MX_OK);
    bool good = run(store, data, size, &changed);
    struct config *config = NULL;
    struct config_problem problem = {0};
    const struct reg_type *type;
    if (good) {
        mx_err err = config_build(&config, store, CONFIG_WHOLE, &type, &problem);
        FUZZ_CHECK(err == MX_OK || problem.text[0] != '\0');
        good = err == MX_OK;
    }
    if (good) {
        FUZZ_CHECK(config->image.route_count > 0 && config->image.route_program != NULL);
        config_free(config);
        FUZZ_CHECK(store_commit(store) == MX_OK);
    } else {
        store_rollback(store);
    }
    char *after = dump_registry(store);
    FUZZ_CHECK(good || strcmp(before, after) == 0);
    FUZZ_CHECK(!good || changed || strcmp(before, after) == 0);
    for (size_t i = 0; i < reg_type_count; i++) {
        FUZZ_CHECK(store_each(store, &reg_types[i], check_normal,
                              (void *)(uintptr_t)&reg_types[i]) == MX_OK);
    }
    free(before);
    free(after);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct store *store;
    struct config_problem problem;
    FUZZ_CHECK(store_open_scratch(&store, &problem) == MX_OK);
    apply(store, data, size);
    apply(store, data, size); /* on what it has made itself */
    store_close(store);
    return 0;
}
