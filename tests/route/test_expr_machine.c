/* The machine beyond values: captures, blocks, questions that are answered later, traces. */
#include "route/expr_support.h"
#include "route/expr_tables.h"

static struct expr_program *compile(const struct expr_branch *branches, uint32_t count,
                                    const char *otherwise, uint32_t asks)
{
    struct expr_source source = {branches, count, slice_of_text(otherwise)};
    struct expr_problem problem;
    struct expr_program *program;
    struct expr_environment environment = {.asks = asks};
    cr_assert_eq(expr_compile_in(&program, &source, EXPR_QRCPT, &environment, &problem), MX_OK,
                 "branch %d at %u: %s", (int)problem.branch, problem.position, problem.message);
    return program;
}

static const char *shown(const struct expr_value *value)
{
    static char text[512];
    struct writer w = writer_init(text, sizeof text - 1);
    put_expr_value(&w, value);
    text[w.len] = '\0';
    return text;
}

static const char *run_block(const struct expr_branch *branches, uint32_t count,
                             const char *otherwise)
{
    struct expr_value value;
    struct expr_program *program = compile(branches, count, otherwise, 0);
    cr_assert_eq(expr_run(&vm, program, &host, NULL, &value), EXPR_DONE);
    const char *text = shown(&value);
    expr_free(program);
    return text;
}

#define IF(condition, then)                           \
    {                                                 \
        SLICE_LITERAL(condition), SLICE_LITERAL(then) \
    }

Test(expr_machine, captures)
{
    static const struct expr_branch user[] = {
        IF("matches('^([^+]+)\\+([^@]*)@(.+)$', rcpt)", "$1 + '/' + $2 + '/' + $3")};
    cr_assert_str_eq(run_block(user, 1, "''"), "'Bob/News/Example.org'");
    /* A search that finds nothing clears them; the next branch and the else see that. */
    static const struct expr_branch cleared[] = {
        IF("matches('(B)', rcpt) && matches('(z)', rcpt)", "'no'"), IF("$0 || $1", "'kept'")};
    cr_assert_str_eq(run_block(cleared, 2, "'[' + $1 + ']'"), "'[]'");
    static const struct expr_branch kept[] = {IF("matches('(B)', rcpt) && size == 1", "'no'")};
    cr_assert_str_eq(run_block(kept, 1, "$1"), "'B'");
    /* A group that took no part is empty. */
    cr_assert_str_eq(result_of("matches('(x)|(B)', rcpt) && '[' + $1 + $2 + ']' == '[B]'"), "1");
    cr_assert_str_eq(result_of("matches('B(z)?', rcpt) && $1 == ''"), "1");
    cr_assert_str_eq(result_of("matches('o', rcpt) && $0 + matches('b', rcpt) + $0 == 'o1b'"), "1");
}

Test(expr_machine, blocks)
{
    static const struct expr_branch three[] = {IF("size == 1", "1"), IF("size == 1000", "2"),
                                               IF("true", "3")};
    cr_assert_str_eq(run_block(three, 3, "4"), "2");
    cr_assert_str_eq(run_block(three + 2, 1, "4"), "3");
    cr_assert_str_eq(run_block(three, 1, "4"), "4");
    static const struct expr_branch known[] = {IF("1 > 2", "'a'"), IF("'x'", "'b' + 'c'")};
    struct expr_value value;
    struct expr_program *program = compile(known, 2, "rcpt", 0);
    cr_assert(expr_constant(program, &value), "nothing in it depends on the message");
    cr_assert_str_eq(shown(&value), "'bc'");
    expr_free(program);
    program = compile(known, 1, "rcpt", 0);
    cr_assert_not(expr_constant(program, &value));
    expr_free(program);
    program = compile(three, 3, "4", 0);
    cr_assert_not(expr_constant(program, &value));
    expr_free(program);
    program = compile(NULL, 0, "size == 1 && 'a'", 0);
    cr_assert_not(expr_constant(program, &value));
    expr_free(program);
    program = compile(NULL, 0, "[1, 2]", 0);
    cr_assert_not(expr_constant(program, &value), "an array is no setting");
    expr_free(program);
}

/* --- questions ---------------------------------------------------------------------------------
 */

static unsigned asked;

static enum expr_answer ask(void *arg, const struct expr_question *question, struct expr_value *out,
                            const char **reason)
{
    const enum expr_answer *how = arg;
    asked++;
    cr_assert_eq(question->kind, EXPR_ASK_DNS);
    cr_assert_str_eq(question->function, "dns_query");
    cr_assert_eq(question->argc, 2);
    cr_assert_str_eq(shown(&question->args[0]), "'Example.org'");
    cr_assert_str_eq(shown(&question->args[1]), "'mx'");
    *out = (struct expr_value){.type = EXPR_STRING, .string = SLICE_LITERAL("at once")};
    *reason = "the name server does not answer";
    return *how;
}

static void note_step(void *arg, const struct expr_step *step)
{
    unsigned *steps = arg;
    cr_assert_not_null(step->value);
    ++*steps;
}

Test(expr_machine, questions)
{
    enum expr_answer how = EXPR_ANSWERED;
    struct expr_host asking = host;
    asking.arg = &how;
    asking.ask = ask;
    struct expr_program *program =
        compile(NULL, 0, "'=' + dns_query(rcpt_domain, 'mx') + '.'", 1u << EXPR_ASK_DNS);
    struct expr_value value;
    cr_assert_eq(expr_run(&vm, program, &asking, NULL, &value), EXPR_DONE);
    cr_assert_str_eq(shown(&value), "'=at once.'");
    how = EXPR_UNANSWERED;
    cr_assert_eq(expr_run(&vm, program, &asking, NULL, &value), EXPR_FAILED);
    cr_assert_str_eq(vm.failure, "the name server does not answer");
    how = EXPR_LATER;
    unsigned steps = 0;
    struct expr_trace trace = {&steps, note_step};
    cr_assert_eq(expr_run(&vm, program, &asking, &trace, &value), EXPR_WAITING);
    cr_assert_eq(vm.question.argc, 2);
    char text[] = "late";
    struct expr_value answer = {.type = EXPR_STRING, .string = slice_of_text(text)};
    cr_assert_eq(expr_resume(&vm, &answer, NULL, &value), EXPR_DONE);
    memset(text, 'x', 4); /* it was copied */
    cr_assert_str_eq(shown(&value), "'=late.'");
    cr_assert_eq(steps, 8, "%u", steps);
    cr_assert_eq(expr_run(&vm, program, &asking, NULL, &value), EXPR_WAITING);
    cr_assert_eq(expr_resume(&vm, NULL, "no answer came", &value), EXPR_FAILED);
    cr_assert_str_eq(vm.failure, "no answer came");
    cr_assert_eq(asked, 4);
    expr_free(program);
}

/* What a program asks and changes is known without running it. */
Test(expr_machine, what_a_program_does)
{
    static const struct {
        const char *text;
        bool asks, changes;
    } cases[] = {
        {"counter_incr('*', rcpt)", true, true},
        {"key_set('*', rcpt, 1)", true, true},
        {"counter_get('*', rcpt)", true, false},
        {"key_exists('*', rcpt)", true, false},
        {"key_get('known', rcpt)", false, false},
        {"metric('queue.count')", false, false},
        {"dns_query(rcpt, 'mx')", true, false},
        {"size == 1 && key_set('*', 1, 1)", true, true},
        {"true || key_set('*', 1, 1)", false, false},
    };
    for (size_t i = 0; i < mx_countof(cases); i++) {
        struct expr_program *program = compile(NULL, 0, cases[i].text, UINT32_MAX);
        cr_assert_eq(expr_asks(program), cases[i].asks, "%s", cases[i].text);
        cr_assert_eq(expr_changes(program), cases[i].changes, "%s", cases[i].text);
        expr_free(program);
    }
}

Test(expr_machine, answers_are_bounded)
{
    static uint8_t large[EXPR_SCRATCH_BYTES + 1];
    static struct expr_value many[EXPR_ARRAY_MAX + 1];
    enum expr_answer how = EXPR_LATER;
    struct expr_host asking = host;
    asking.arg = &how;
    asking.ask = ask;
    struct expr_program *program =
        compile(NULL, 0, "sort(dns_query(rcpt_domain, 'mx'), true)", 1u << EXPR_ASK_DNS);
    struct expr_value value, inner = {.type = EXPR_ARRAY};
    struct expr_value text = {.type = EXPR_STRING, .string = slice_of(large, sizeof large)};
    struct expr_value two[] = {{.type = EXPR_INTEGER, .integer = 2},
                               {.type = EXPR_STRING, .string = SLICE_LITERAL("1")}};
    const struct {
        struct expr_value answer;
        const char *result;
    } cases[] = {
        {text, "the expression's values need too much memory"},
        {{.type = EXPR_ARRAY, .array = {&text, 1}}, "the expression's values need too much memory"},
        {{.type = EXPR_ARRAY, .array = {many, EXPR_ARRAY_MAX + 1}},
         "the expression's arrays are too large"},
        {{.type = EXPR_ARRAY, .array = {&inner, 1}}, "an array inside an array"},
        {{.type = EXPR_ARRAY, .array = {two, 2}}, "['1', 2]"},
        {{.type = EXPR_ARRAY}, "[]"},
    };
    for (size_t i = 0; i < mx_countof(cases); i++) {
        cr_assert_eq(expr_run(&vm, program, &asking, NULL, &value), EXPR_WAITING);
        enum expr_status status = expr_resume(&vm, &cases[i].answer, NULL, &value);
        cr_assert_str_eq(status == EXPR_DONE ? shown(&value) : vm.failure, cases[i].result);
    }
    expr_free(program);
}

/* --- traces ------------------------------------------------------------------------------------
 */

struct notes {
    const struct expr_program *program;
    struct writer w;
};

static void note(void *arg, const struct expr_step *step)
{
    struct notes *notes = arg;
    struct slice part = expr_part_text(notes->program, step->part);
    cr_assert_leq(step->end, part.len);
    put_decimal(&notes->w, step->part);
    put_text(&notes->w, step->decides ? "? " : step->result ? "! " : " ");
    put_slice(&notes->w, slice_first(slice_from(part, step->start), step->end - step->start));
    put_text(&notes->w, " = ");
    put_expr_value(&notes->w, step->value);
    put_char(&notes->w, '\n');
}

Test(expr_machine, traces)
{
    static const struct expr_branch rule[] = {
        IF("is_local_address(rcpt)", "'local'"),
        IF(" size  > 5 * 100 && ( sender_domain == 'x' || !(size < 3) )", "'so' + 'urce'")};
    char text[2048];
    struct notes notes = {compile(rule, 2, "'mx'", 0), writer_init(text, sizeof text - 1)};
    struct expr_trace trace = {&notes, note};
    struct expr_value traced, plain;
    cr_assert_eq(expr_part_count(notes.program), 5);
    cr_assert_eq(expr_run(&vm, notes.program, &host, &trace, &traced), EXPR_DONE);
    text[notes.w.len] = '\0';
    cr_assert_str_eq(text, "0 rcpt = 'Bob+News@Example.org'\n"
                           "0 is_local_address(rcpt) = 0\n"
                           "0? is_local_address(rcpt) = 0\n"
                           "2 size = 1000\n"
                           "2 5 * 100 = 500\n"
                           "2 size  > 5 * 100 = 1\n"
                           "2 sender_domain = ''\n"
                           "2 'x' = 'x'\n"
                           "2 sender_domain == 'x' = 0\n"
                           "2 size = 1000\n"
                           "2 3 = 3\n"
                           "2 size < 3 = 0\n"
                           "2 !(size < 3) = 1\n"
                           "2 sender_domain == 'x' || !(size < 3) = 1\n"
                           "2 size  > 5 * 100 && ( sender_domain == 'x' || !(size < 3) ) = 1\n"
                           "2? size  > 5 * 100 && ( sender_domain == 'x' || !(size < 3) ) = 1\n"
                           "3 'so' + 'urce' = 'source'\n"
                           "3! 'so' + 'urce' = 'source'\n");
    cr_assert_eq(expr_run(&vm, notes.program, &host, NULL, &plain), EXPR_DONE);
    cr_assert(slice_equal(plain.string, traced.string));
    expr_free((struct expr_program *)(uintptr_t)notes.program);
}

/* --- tables ------------------------------------------------------------------------------------
 */

Test(expr_machine, tables)
{
    const struct expr_variable *row;
    for (uint16_t i = 0; (row = expr_variable_row(i)) != NULL; i++) {
        cr_assert_eq(expr_variable(slice_of_text(row->name)), i, "%s", row->name);
        cr_assert_str_eq(expr_variable_name(i), row->name);
        cr_assert(row->contexts != 0 && row->description[0] != '\0', "%s", row->name);
    }
    cr_assert_str_eq(expr_variable_name(UINT16_MAX), "");
    cr_assert_eq(expr_variable(SLICE_LITERAL("nothing")), UINT16_MAX);
    for (unsigned i = 0; i < EXPR_CONTEXTS; i++) {
        cr_assert(expr_context_row((enum expr_context)i)->name[0] != '\0');
    }
    const struct expr_constant_row *constant;
    for (uint32_t i = 0; (constant = expr_constant_row(i)) != NULL; i++) {
        cr_assert(constant->description[0] != '\0');
        cr_assert_not(expr_is_constant_name(slice_of_text(constant->names)), "one of several");
    }
    cr_assert(expr_is_constant_name(SLICE_LITERAL("ipv6_then_ipv4")));
    cr_assert_not(expr_has_word("ab cd", SLICE_LITERAL("b")));
    const struct expr_metric_row *metric;
    for (unsigned i = 0; (metric = expr_metric_row(i)) != NULL; i++) {
        cr_assert_eq(expr_metric_find(slice_of_text(metric->name)), i, "%s", metric->name);
        cr_assert(metric->description[0] != '\0', "%s", metric->name);
    }
    cr_assert_eq(expr_metric_find(SLICE_LITERAL("nothing")), EXPR_METRICS);
    /* Both spellings of an operator mean the same. */
    const struct expr_binary *binary;
    for (uint32_t i = 0; (binary = expr_binary_row(i)) != NULL; i++) {
        char one[64], other[64];
        snprintf(one, sizeof one, "[size %s 7, 7 %s size, 0 %s 0]", binary->text, binary->text,
                 binary->text);
        snprintf(other, sizeof other, "[size %s 7, 7 %s size, 0 %s 0]",
                 binary->also ? binary->also : binary->text,
                 binary->also ? binary->also : binary->text,
                 binary->also ? binary->also : binary->text);
        char first[256];
        snprintf(first, sizeof first, "%s", result_of(one));
        cr_assert_eq(first[0], '[', "%s: %s", one, first);
        cr_assert_str_eq(result_of(other), first, "%s", other);
        cr_assert_lt(binary->level, EXPR_LEVELS);
    }
}

/* An array that a host has no room for is a failure, not an empty array. */
Test(expr_machine, arrays_of_the_host_are_bounded)
{
    static char text[16384];
    size_t len = 0;
    for (unsigned i = 0; i < EXPR_ARRAY_MAX / 2; i++) {
        len += (size_t)snprintf(text + len, sizeof text - len, "count(recipients) == 2 && ");
    }
    snprintf(text + len, sizeof text - len, "1");
    cr_assert_str_eq(result_of(text), "1");
    snprintf(text + len, sizeof text - len, "recipients == []");
    cr_assert_str_eq(result_of(text), "failed: the expression's arrays are too large");
}

Test(expr_machine, values_as_text)
{
    char text[8];
    struct expr_value long_text = {.type = EXPR_STRING, .string = SLICE_LITERAL("0123456789")};
    struct writer w = writer_init(text, sizeof text);
    put_expr_value(&w, &long_text);
    cr_assert(slice_equal(writer_slice(&w), SLICE_LITERAL("'012345'")), "%.*s",
              SLICE_ARGS(writer_slice(&w)));
    cr_assert_not(w.overflow);
}

/* A text of a host that is about to end is kept; what lives longer stays where it is. */
Test(expr_machine, texts_of_the_host_are_kept)
{
    static uint8_t frame[32], other[32];
    struct expr_value value = {.type = EXPR_STRING, .string = slice_of(frame + 4, 8)};
    memset(frame, 'f', sizeof frame);
    memset(&vm, 0, sizeof vm);
    cr_assert(expr_keep_text(&vm, &value, frame, frame + sizeof frame));
    memset(frame, 'x', sizeof frame);
    cr_assert(slice_equal(value.string, SLICE_LITERAL("ffffffff")));
    const struct expr_value unchanged[] = {
        value,
        {.type = EXPR_STRING, .string = slice_of(other, 8)},
        {.type = EXPR_STRING, .string = slice_of(frame, 0)},
        {.type = EXPR_STRING, .string = slice_of(frame + sizeof frame, 1)},
        {.type = EXPR_INTEGER, .integer = 5}};
    for (size_t i = 0; i < mx_countof(unchanged); i++) {
        value = unchanged[i];
        cr_assert(expr_keep_text(&vm, &value, frame, frame + sizeof frame));
        cr_assert_eq(value.string.ptr, unchanged[i].string.ptr, "%zu", i);
    }
    vm.scratch_used = EXPR_SCRATCH_BYTES - 7;
    value = (struct expr_value){.type = EXPR_STRING, .string = slice_of(frame, 8)};
    cr_assert_not(expr_keep_text(&vm, &value, frame, frame + sizeof frame));
    cr_assert_str_eq(vm.failure, "the expression's values need too much memory");
}
