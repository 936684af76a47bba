/* Expressions: what compiles is verified and runs to an end, in bounds; with a trace and with
 * answers that come later it yields the same; problems point into the text. */
#include "fuzz.h"
#include "route/expr.h"
#include "route/lookup.h"

#include <string.h>

static struct expr_vm vm;

static void variable(void *arg, uint16_t index, struct expr_value *out)
{
    (void)arg;
    *out = (struct expr_value){.type = EXPR_STRING,
                               .string = slice_of_text(expr_variable_name(index))};
    if (index == EXPR_VAR_SIZE) {
        *out = (struct expr_value){.type = EXPR_INTEGER, .integer = 1000};
    } else if (index == EXPR_VAR_RECIPIENTS) {
        struct expr_value *items = expr_array(&vm, 2);
        if (items != NULL) {
            items[0] = items[1] = *out;
            *out = (struct expr_value){.type = EXPR_ARRAY, .array = {items, 2}};
        }
    }
}

static bool is_local(void *arg, struct slice text)
{
    (void)arg;
    return text.len % 2 == 0;
}

static struct slice system_value(void *arg, struct slice name)
{
    (void)arg;
    return name;
}

static size_t digest(void *arg, struct slice algorithm, struct slice text,
                     uint8_t out[EXPR_DIGEST_MAX])
{
    (void)arg;
    memset(out, (int)text.len, EXPR_DIGEST_MAX);
    return algorithm.len;
}

static enum expr_answer ask(void *arg, const struct expr_question *question, struct expr_value *out,
                            const char **reason)
{
    *reason = "no answer";
    *out = question->args[0];
    return *(const bool *)arg ? EXPR_LATER : question->argc > 2 ? EXPR_UNANSWERED : EXPR_ANSWERED;
}

/* As ask() would have answered at once. */
static enum expr_status resume(struct expr_value *value)
{
    struct expr_value answer = vm.question.args[0];
    return expr_resume(&vm, vm.question.argc > 2 ? NULL : &answer, "no answer", value);
}

static void step(void *arg, const struct expr_step *step)
{
    const struct expr_program *program = arg;
    FUZZ_CHECK(step->part < expr_part_count(program));
    FUZZ_CHECK(step->start < step->end);
    FUZZ_CHECK(step->end <= expr_part_text(program, step->part).len);
    (void)expr_truthy(step->value);
}

/* The end of a run as text. */
static size_t run(const struct expr_program *program, bool later, bool traced, char *out,
                  size_t cap)
{
    struct expr_host host = {.arg = &later,
                             .variable = variable,
                             .is_local_domain = is_local,
                             .is_local_address = is_local,
                             .system = system_value,
                             .digest = digest,
                             .ask = ask};
    struct expr_trace trace = {(void *)(uintptr_t)program, step};
    struct expr_value value;
    struct writer w = writer_init(out, cap);
    enum expr_status status = expr_run(&vm, program, &host, traced ? &trace : NULL, &value);
    for (unsigned questions = 0; status == EXPR_WAITING; questions++) {
        FUZZ_CHECK(questions < EXPR_STEPS_MAX);
        status = resume(&value);
    }
    if (status == EXPR_DONE) {
        put_expr_value(&w, &value);
    } else {
        FUZZ_CHECK(vm.failure != NULL);
        put_text(&w, vm.failure);
    }
    return w.len;
}

static const struct lookups *lists(void)
{
    static const struct lookup_row rows[] = {
        {SLICE_LITERAL("l"), SLICE_LITERAL("rcpt"), SLICE_LITERAL("value"), .has_value = true},
        {SLICE_LITERAL("l"), SLICE_LITERAL("*e*r*"), .pattern = true},
        {SLICE_LITERAL("m"), SLICE_LITERAL("1000")},
    };
    static struct lookups *lookups;
    size_t at;
    if (lookups == NULL) {
        FUZZ_CHECK(lookups_new(&lookups, rows, mx_countof(rows), &at) == MX_OK);
    }
    return lookups;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static char plain[65536], other[65536];
    struct fuzz_source s = {slice_of(data, size)};
    struct expr_branch branch = {.condition = fuzz_piece(&s), .then = fuzz_piece(&s)};
    struct expr_source source = {
        .branches = &branch, .branch_count = fuzz_byte(&s) % 2, .otherwise = s.left};
    struct expr_program *program;
    struct expr_problem problem;
    struct expr_value value;
    static struct expr_metrics metrics;
    struct expr_environment environment = {.asks = UINT32_MAX, .lookups = lists()};
    metrics.collected = true;
    vm.metrics = &metrics;
    if (expr_compile_in(&program, &source, EXPR_QRCPT, &environment, &problem) != MX_OK) {
        struct slice text = problem.branch < 0     ? source.otherwise
                            : problem.in_condition ? branch.condition
                                                   : branch.then;
        FUZZ_CHECK(problem.message[0] != '\0');
        FUZZ_CHECK(problem.position <= text.len);
        return 0;
    }
    size_t len = run(program, false, false, plain, sizeof plain);
    FUZZ_CHECK(run(program, false, true, other, sizeof other) == len);
    FUZZ_CHECK(memcmp(plain, other, len) == 0);
    /* Answers that come later are copied, so memory may end sooner. */
    size_t late = run(program, true, false, other, sizeof other);
    FUZZ_CHECK((late == len && memcmp(plain, other, len) == 0) || vm.failure != NULL);
    (void)expr_constant(program, &value);
    FUZZ_CHECK(!expr_changes(program) || expr_asks(program));
    expr_free(program);
    return 0;
}
