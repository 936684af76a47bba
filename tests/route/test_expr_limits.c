/* Bounds of expressions: what is too large is refused at load or fails at run time with a reason,
 * and programs that the compiler would never make are refused by the verifier. */
#include "route/expr_private.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>

enum { TEXT_BYTES = 1 << 18 };

static struct expr_vm vm;
static char text[TEXT_BYTES];

static void variable(void *arg, uint16_t index, struct expr_value *out)
{
    static uint8_t large[6000];
    static struct expr_value items[1020];
    (void)arg;
    if (index == EXPR_VAR_RECIPIENTS) {
        *out = (struct expr_value){.type = EXPR_ARRAY, .array = {items, mx_countof(items)}};
        return;
    }
    memset(large, 'x', sizeof large);
    *out = (struct expr_value){.type = EXPR_STRING, .string = slice_of(large, sizeof large)};
}

static bool nowhere(void *arg, struct slice name)
{
    (void)arg;
    (void)name;
    return false;
}

static struct slice nothing(void *arg, struct slice name)
{
    (void)arg;
    (void)name;
    return SLICE_EMPTY;
}

static size_t digest(void *arg, struct slice algorithm, struct slice data,
                     uint8_t out[EXPR_DIGEST_MAX])
{
    (void)arg;
    (void)algorithm;
    (void)data;
    memset(out, 0xa5, EXPR_DIGEST_MAX);
    return EXPR_DIGEST_MAX;
}

static const struct expr_host host = {.variable = variable,
                                      .is_local_domain = nowhere,
                                      .is_local_address = nowhere,
                                      .system = nothing,
                                      .digest = digest};

static mx_err compile(struct expr_program **out, const char *source, struct expr_problem *problem)
{
    return expr_compile(out, &(struct expr_source){.otherwise = slice_of_text(source)}, EXPR_QRCPT,
                        problem);
}

/* The reason of a run that fails, or of a refusal; "" when it runs. */
static const char *reason(const char *source)
{
    static struct expr_problem problem;
    struct expr_program *program;
    struct expr_value value;
    if (compile(&program, source, &problem) != MX_OK) {
        return problem.message;
    }
    enum expr_status status = expr_run(&vm, program, &host, NULL, &value);
    expr_free(program);
    return status == EXPR_DONE ? "" : vm.failure;
}

/* before, then part count times, then after. */
static const char *repeat(const char *before, const char *part, unsigned count, const char *after)
{
    size_t len = (size_t)snprintf(text, sizeof text, "%s", before);
    for (unsigned i = 0; i < count; i++) {
        len += (size_t)snprintf(text + len, sizeof text - len, "%s", part);
    }
    snprintf(text + len, sizeof text - len, "%s", after);
    cr_assert_lt(strlen(text), sizeof text - 1);
    return text;
}

Test(expr_limits, run_time)
{
    static const char *const much = "the expression's values need too much memory";
    cr_assert_str_eq(reason("sender + sender + sender"), much);
    cr_assert_str_eq(reason("to_lowercase(sender) + to_uppercase(sender) + 'x'"), much);
    cr_assert_str_eq(reason("to_lowercase(sender + to_lowercase(sender))"), much);
    /* Numbers become text in the same memory. */
    cr_assert_str_eq(reason(repeat("contains([", "len(sender), ", 15, "2], 'x')")), "");
    cr_assert_str_eq(
        reason(repeat("0", " || count([sender,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1]) == 9", 61, "")),
        "the expression's arrays are too large");
    cr_assert_str_eq(reason("[[sender]]"), "an array inside an array");
    cr_assert_str_eq(reason("-[sender]"), "arithmetic on an array");
    cr_assert_str_eq(reason("[sender] * 1"), "arithmetic on an array");
    cr_assert_str_eq(reason("1 - [sender]"), "arithmetic on an array");
    cr_assert_str_eq(reason("count(split(sender, 'x'))"), "the expression's arrays are too large");
    /* All but one place is used up before. */
    static const char *const large[] = {
        "rsplit(sender, 'x')",     "recipients + recipients",    "sort(recipients, 1)",
        "dedup(recipients)",       "winnow(recipients)",         "recipients - 'x'",
        "split_once(sender, 'x')", "rsplit_once(sender, 'xx')",  "[sender, 1]",
        "split_n(sender, 'x', 2)", "lines(sender + '\n' + 'x')", "split_words('a b' + ' ' + size)"};
    for (size_t i = 0; i < mx_countof(large); i++) {
        snprintf(text, sizeof text, "sort(recipients, 1) && [sender, 1, 1] && (%s)", large[i]);
        const char *why = reason(text);
        cr_assert_str_eq(why, "the expression's arrays are too large", "%s: %s", large[i], why);
    }
    /* Work is bounded too: of a regular expression, and of many. */
    static const char *const regex = "a regular expression takes too many steps or too much memory";
    cr_assert_str_eq(reason("matches('(x+x+)+[yz]', sender)"), regex);
    cr_assert_str_eq(reason("matches('^(x|y|z)*$', sender)"), regex);
    cr_assert_str_eq(reason("matches('^x*$', sender)"), "");
    cr_assert_str_eq(reason(repeat("0", " || matches('y', sender)", 101, "")),
                     "the expression takes too many steps");
    cr_assert_str_eq(reason(repeat("matches('y', sender)", " || matches('y', sender)", 98, "")),
                     "");
}

/* What is known when it is loaded is refused there, with its place. */
Test(expr_limits, known_at_load)
{
    static const char *const cases[] = {"[[1]]", "-[1]", "[1] * 1", "1 - [1]", "[1] / 2"};
    for (size_t i = 0; i < mx_countof(cases); i++) {
        struct expr_problem problem;
        struct expr_program *program;
        cr_assert_eq(compile(&program, cases[i], &problem), MX_ERR_SYNTAX, "%s", cases[i]);
        cr_assert_not_null(strstr(problem.message, " array"));
    }
}

/* " || CALL && 0", with a number that is not known before it runs in the place of "half". */
static size_t put_call(char *out, size_t cap, const char *call)
{
    const char *half = strstr(call, "half");
    return (size_t)(half == NULL ? snprintf(out, cap, " || %s && 0", call)
                                 : snprintf(out, cap, " || %.*s(len(sender)/2)%s && 0",
                                            (int)(half - call), call, half + 4));
}

Test(expr_limits, memory_runs_out_in_every_function)
{
    static const char *const calls[] = {"contains(half, 'x')",
                                        "contains('x', half)",
                                        "contains([1], half)",
                                        "starts_with(half, 1)",
                                        "is_email(half)",
                                        "email_part(half, 'local')",
                                        "to_lowercase(half)",
                                        "to_uppercase(half)",
                                        "len(half)",
                                        "has_digits(half)",
                                        "is_ip_addr(half)",
                                        "is_ip_in_cidr(half, '::/0')",
                                        "half + 'x'",
                                        "'x' + half",
                                        "contains_ignore_case(half, 1)",
                                        "contains_ignore_case(['x'], half)",
                                        "contains_ignore_case([half], 'x')",
                                        "ip_reverse_name('192.0.2.' + len(sender))",
                                        "trim(half)",
                                        "substring(half, 0, 1)",
                                        "lines(half)",
                                        "split(half, 'x')",
                                        "rsplit(half, 'x')",
                                        "split_once(half, 'x')",
                                        "rsplit_once(half, 'x')",
                                        "split_words(half)",
                                        "hash(half, 'md5')",
                                        "hash(sender, 'md5')",
                                        "is_local_domain(half)",
                                        "is_local_address(half)"};
    for (size_t i = 0; i < mx_countof(calls); i++) {
        /* Two lower-cased senders leave less than a number needs, in the end. */
        static char source[32768];
        size_t len = (size_t)snprintf(source, sizeof source,
                                      "contains(to_lowercase(sender), 'y') || "
                                      "contains(to_lowercase(sender), 'y')");
        for (unsigned k = 0; k < 150; k++) {
            len += put_call(source + len, sizeof source - len, calls[i]);
        }
        const char *why = reason(source);
        cr_assert_str_eq(why, "the expression's values need too much memory", "%s: %s", calls[i],
                         why);
    }
}

/* What gives the memory of a number's text back at once still needs it. */
Test(expr_limits, memory_runs_out_beside_arrays)
{
    static const char *const calls[] = {"count(dedup([half]))", "is_intersect(half, 'x')",
                                        "is_intersect('x', half)", "contains([half], 'x')",
                                        "contains_ignore_case([half], 'x')"};
    for (size_t i = 0; i < mx_countof(calls); i++) {
        size_t len = (size_t)snprintf(text, sizeof text,
                                      "contains(to_lowercase(sender), 'y') || "
                                      "contains(to_lowercase(sender), 'y')");
        for (unsigned k = 0; k < (EXPR_SCRATCH_BYTES - 12000) / 32; k++) {
            len += put_call(text + len, sizeof text - len, "len(half)");
        }
        cr_assert_str_eq(reason(text), "");
        (void)put_call(text + len, sizeof text - len, calls[i]);
        cr_assert_str_eq(reason(text), "the expression's values need too much memory", "%s",
                         calls[i]);
    }
}

Test(expr_limits, load_time)
{
    cr_assert_not_null(strstr(reason(repeat("[", "1,", EXPR_ARRAY_MAX, "1]")),
                              "too many values in one list, found \"1\""));
    cr_assert_not_null(strstr(reason(repeat("[", "rcpt,", 32, "1]")),
                              "a list of more than 32 values can only hold values that are known"));
    cr_assert_not_null(strstr(reason(repeat("len(", "1,", 32, "1)")), "too many arguments"));
    cr_assert_not_null(strstr(reason(repeat("[", "1,", 40, "[2]]")), "an array inside an array"));
    cr_assert_not_null(strstr(reason(repeat("'", "x", EXPR_SOURCE_MAX, "'")),
                              "too long or has too many branches"));
    const char *why = reason(repeat("", "1+", 20000, "1"));
    cr_assert(why[0] == '\0' || strstr(why, "too large") != NULL, "%s", why);
    static char deep[4000];
    size_t len = 0;
    for (unsigned i = 0; i < 20; i++) {
        len += (size_t)snprintf(deep + len, sizeof deep - len, "[rcpt,2,3,4,5,6,7,8,9,10,11,12,");
    }
    memset(deep + len - 1, ']', 20);
    why = reason(deep);
    cr_assert_not_null(strstr(why, "too deep"), "%s", why);
    static struct expr_branch branches[EXPR_BRANCHES_MAX + 1];
    struct expr_problem problem;
    struct expr_program *program;
    for (size_t i = 0; i < mx_countof(branches); i++) {
        branches[i] = (struct expr_branch){SLICE_LITERAL("1"), SLICE_LITERAL("'x'")};
    }
    struct expr_source source = {.branches = branches,
                                 .branch_count = EXPR_BRANCHES_MAX + 1,
                                 .otherwise = SLICE_LITERAL("'y'")};
    cr_assert_eq(expr_compile(&program, &source, EXPR_QRCPT, &problem), MX_ERR_LIMIT);
    cr_assert_not_null(strstr(problem.message, "too many branches"));
    source.branch_count = EXPR_BRANCHES_MAX;
    cr_assert_eq(expr_compile(&program, &source, EXPR_QRCPT, &problem), MX_OK);
    expr_free(program);
}

Test(expr_limits, numbers_as_text)
{
    static const char *const cases[][2] = {
        {"'' + ('' + (3 - 1.5))", "1.500000"},
        {"'=' + (0.9999999 - 0)", "=1.000000"},
        {"'=' + (0 - 2.25)", "=-2.250000"},
        {"'=' + (0 - 7)", "=-7"},
        {"'=' + (1000000000 * 1000000000 * 10.5)", "=1000000000000000000.000000"},
    };
    for (size_t i = 0; i < mx_countof(cases); i++) {
        struct expr_problem problem;
        struct expr_program *program;
        struct expr_value value;
        cr_assert_eq(compile(&program, cases[i][0], &problem), MX_OK, "%s", problem.message);
        cr_assert_eq(expr_run(&vm, program, &host, NULL, &value), EXPR_DONE);
        struct slice shown;
        cr_assert(expr_to_text(&vm, &value, &shown));
        cr_assert(slice_equal(shown, slice_of_text(cases[i][1])), "%s: %.*s", cases[i][0],
                  SLICE_ARGS(shown));
        expr_free(program);
    }
    /* Digits without end are a number without end, or none: still text of a bounded length. */
    char digits[900];
    snprintf(digits, sizeof digits, "'=' + ('%0400d.%0400d' - 0)", 1, 1);
    memset(digits + 8, '9', 400);
    cr_assert_str_eq(reason(digits), "");
}

/* --- the verifier ------------------------------------------------------------------------------
 */

static mx_err verify(const struct expr_instruction *code, uint32_t len)
{
    struct expr_value constant = {.type = EXPR_INTEGER, .integer = 1};
    struct expr_program program = {.code = (struct expr_instruction *)(uintptr_t)code,
                                   .code_len = len,
                                   .constants = &constant,
                                   .constant_count = 1};
    return expr_verify(&program);
}
#define VERIFY(...)                                                 \
    verify((const struct expr_instruction[]){__VA_ARGS__},          \
           sizeof((const struct expr_instruction[]){__VA_ARGS__}) / \
               sizeof(struct expr_instruction))

Test(expr_verify, refuses)
{
    cr_assert_eq(VERIFY({OP_CONST}, {OP_RETURN}), MX_OK);
    cr_assert_eq(VERIFY({OP_RETURN}), MX_ERR_LIMIT, "nothing to return");
    cr_assert_eq(VERIFY({OP_CONST}), MX_ERR_LIMIT, "runs off the end");
    cr_assert_eq(VERIFY({OP_CONST, 0, 1}, {OP_RETURN}), MX_ERR_LIMIT, "no such constant");
    cr_assert_eq(VERIFY({OP_VARIABLE, 0, 9999}, {OP_RETURN}), MX_ERR_LIMIT, "no such variable");
    cr_assert_eq(VERIFY({OP_VARIABLE, 0, 1 << 20}, {OP_RETURN}), MX_ERR_LIMIT);
    cr_assert_eq(VERIFY({OP_CALL, 0, 9999}, {OP_RETURN}), MX_ERR_LIMIT, "no such function");
    cr_assert_eq(VERIFY({OP_COUNT}, {OP_RETURN}), MX_ERR_LIMIT, "no such instruction");
    cr_assert_eq(VERIFY({OP_CAPTURE, 0, 31}, {OP_RETURN}), MX_OK);
    cr_assert_eq(VERIFY({OP_CAPTURE, 0, 32}, {OP_RETURN}), MX_ERR_LIMIT, "no such capture");
    cr_assert_eq(VERIFY({OP_CONST}, {OP_MATCH, 0, 0}, {OP_RETURN}), MX_ERR_LIMIT, "no such regex");
    uint32_t matches = expr_function_find(SLICE_LITERAL("matches"));
    uint32_t dns = expr_function_find(SLICE_LITERAL("dns_query"));
    uint32_t len = expr_function_find(SLICE_LITERAL("len"));
    cr_assert_eq(VERIFY({OP_CONST}, {OP_CALL, 1, len}, {OP_RETURN}), MX_OK);
    cr_assert_eq(VERIFY({OP_CONST}, {OP_CALL, 2, len}, {OP_RETURN}), MX_ERR_LIMIT, "arguments");
    cr_assert_eq(VERIFY({OP_CONST}, {OP_ASK, 1, len}, {OP_RETURN}), MX_ERR_LIMIT, "asks nothing");
    cr_assert_eq(VERIFY({OP_CONST}, {OP_CONST}, {OP_CALL, 2, matches}, {OP_RETURN}), MX_ERR_LIMIT);
    cr_assert_eq(VERIFY({OP_CONST}, {OP_CONST}, {OP_CALL, 2, dns}, {OP_RETURN}), MX_ERR_LIMIT);
    cr_assert_eq(VERIFY({OP_CONST}, {OP_CONST}, {OP_ASK, 2, dns}, {OP_RETURN}), MX_OK);
    cr_assert_eq(VERIFY({OP_CONST}, {OP_ADD}, {OP_RETURN}), MX_ERR_LIMIT, "one operand");
    cr_assert_eq(VERIFY({OP_CONST}, {OP_AND, 0, 0}, {OP_CONST}, {OP_RETURN}), MX_ERR_LIMIT,
                 "jumps back");
    cr_assert_eq(VERIFY({OP_CONST}, {OP_AND, 0, 9}, {OP_CONST}, {OP_RETURN}), MX_ERR_LIMIT,
                 "jumps out");
    /* Two ways to one place with different depths. */
    cr_assert_eq(VERIFY({OP_CONST}, {OP_AND, 0, 4}, {OP_CONST}, {OP_CONST}, {OP_RETURN}),
                 MX_ERR_LIMIT);
    cr_assert_eq(VERIFY({OP_CONST}, {OP_CONST}, {OP_AND, 0, 4}, {OP_CONST}, {OP_NOT}, {OP_RETURN}),
                 MX_OK);
    /* Code that no way leads to need not hold. */
    cr_assert_eq(VERIFY({OP_CONST}, {OP_RETURN}, {OP_ADD}, {OP_RETURN}), MX_OK);
    struct expr_instruction deep[EXPR_STACK_MAX + 2] = {{OP_CONST}};
    deep[EXPR_STACK_MAX + 1].op = OP_RETURN;
    cr_assert_eq(verify(deep, EXPR_STACK_MAX + 2), MX_ERR_LIMIT, "stack");
}

/* The last guard of the machine: jumps only go forward, so it needs a very long program. */
Test(expr_limits, steps)
{
    enum { LEN = EXPR_STEPS_MAX + 8 };
    struct expr_instruction *code = calloc(LEN, sizeof *code);
    struct expr_value constant = {.type = EXPR_INTEGER, .integer = 1}, value;
    struct expr_program program = {
        .code = code, .code_len = LEN, .constants = &constant, .constant_count = 1};
    for (uint32_t i = 1; i < LEN - 1; i++) {
        code[i].op = OP_NOT;
    }
    code[LEN - 1].op = OP_RETURN;
    cr_assert_eq(expr_verify(&program), MX_OK);
    cr_assert_eq(expr_run(&vm, &program, &host, NULL, &value), EXPR_FAILED);
    cr_assert_str_eq(vm.failure, "the expression takes too many steps");
    free(code);
}
