#include "route/expr.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>

static struct expr_vm vm;

static void variable(void *arg, uint16_t index, struct expr_value *out)
{
    (void)arg;
    const char *name = expr_variable_name(index);
    *out = (struct expr_value){.type = EXPR_STRING};
    out->string = strcmp(name, "rcpt") == 0          ? SLICE_LITERAL("Bob@Example.org")
                  : strcmp(name, "rcpt_domain") == 0 ? SLICE_LITERAL("Example.org")
                  : strcmp(name, "sender") == 0      ? SLICE_LITERAL("a@b.example")
                                                     : SLICE_EMPTY;
    if (strcmp(name, "size") == 0) {
        *out = (struct expr_value){.type = EXPR_INTEGER, .integer = 1000};
    }
}

static bool local_domain(void *arg, struct slice domain)
{
    (void)arg;
    return domain.len == 11;
}

static bool local_address(void *arg, struct slice address)
{
    (void)arg;
    return address.len > 0 && (address.ptr[0] | 0x20) == 'a';
}

static struct slice system_value(void *arg, struct slice name)
{
    (void)arg;
    return slice_equal(name, SLICE_LITERAL("hostname")) ? SLICE_LITERAL("mx.example.org")
                                                        : SLICE_EMPTY;
}

static const struct expr_host host = {.variable = variable,
                                      .is_local_domain = local_domain,
                                      .is_local_address = local_address,
                                      .system = system_value};

static struct expr_program *compile(const char *text, enum expr_context context,
                                    struct expr_problem *problem)
{
    struct expr_program *program = NULL;
    struct expr_source source = {.otherwise = slice_of_text(text)};
    return expr_compile(&program, &source, context, problem) == MX_OK ? program : NULL;
}

static void print_value(char *out, size_t cap, const struct expr_value *v)
{
    switch (v->type) {
    case EXPR_STRING:
        snprintf(out, cap, "'%.*s'", SLICE_ARGS(v->string));
        break;
    case EXPR_INTEGER:
        snprintf(out, cap, "%lld", (long long)v->integer);
        break;
    case EXPR_FLOAT:
        snprintf(out, cap, "%.3f", v->number);
        break;
    case EXPR_ARRAY:
        snprintf(out, cap, "[%u]", v->array.count);
        break;
    default:
        snprintf(out, cap, "%.*s", SLICE_ARGS(v->string));
    }
}

Test(expr, results)
{
    static const char *const cases[][2] = {
        {"1", "1"},
        {"1 + 2 * 3", "7"},
        {"(1 + 2) * 3", "9"},
        {"10 - 2 - 3", "5"},
        {"7 / 2", "3.500"},
        {"1 / 0", "0.000"},
        {"-3 + 1", "-2"},
        {"--3", "3"},
        {"2 - -2", "4"},
        {"1.5 + 1", "2.500"},
        {"9223372036854775807 + 1", "9223372036854775807"},
        {"-9223372036854775807 - 10", "-9223372036854775808"},
        {"9223372036854775807 * -2", "-9223372036854775808"},
        {"'a' + 'b'", "'ab'"},
        {"'' + 5", "5"},
        {"'n' + 5", "'n5'"},
        {"'10' - 3", "7.000"},
        {"'x' - 3", "-3.000"},
        {"true", "1"},
        {"!true", "0"},
        {"!''", "1"},
        {"!'x'", "0"},
        {"1 < 2 && 2 < 3", "1"},
        {"0 && 1", "0"},
        {"'' && 1", "''"}, /* the left operand itself */
        {"'x' || 1", "'x'"},
        {"0 || 'x'", "1"}, /* else 0 or 1 */
        {"0 || ''", "0"},
        {"1 ^ 1", "0"},
        {"1 ^ 0", "1"},
        {"1 || 1 / 0 && 0", "1"},
        {"1 == 1", "1"},
        {"1 = 1", "1"},
        {"1=1", "1"},
        {"1 != 2", "1"},
        {"2 => 2", "1"},
        {"1 =< 0", "0"},
        {"'b' > 'a'", "1"},
        {"'10' > 9", "1"},
        {"'10' > '9'", "0"},
        {"relaxed", "relaxed"},
        {"relaxed == relaxed", "0"},
        {"'a\\.b'", "'a\\.b'"},
        {"\"double\"", "'double'"},
        {"5m", "300000"},
        {"2d", "172800000"},
        {"250ms", "250"},
        {"[1, 2, 3]", "[3]"},
        {"[]", "[0]"},
        {"[1, 'b'][1]", "'b'"},
        {"[1][5]", "''"},
        {"[1, 2] == [1, 2]", "1"},
        {"[1, 2] == [1, 3]", "0"},
        {"count([1, 2])", "2"},
        {"len('abc')", "3"},
        {"to_lowercase('AbC')", "'abc'"},
        {"to_uppercase('aBc1')", "'ABC1'"},
        {"trim('  a ')", "'a'"},
        {"contains('abc', 'bc')", "1"},
        {"contains(['a', 'b'], 'b')", "1"},
        {"contains_ignore_case('aBC', 'bc')", "1"},
        {"eq_ignore_case('Ab', 'aB')", "1"},
        {"starts_with('abc', 'ab') && ends_with('abc', 'bc')", "1"},
        {"strip_prefix('abc', 'a') + strip_suffix('abc', 'c')", "'bcab'"},
        {"email_part(rcpt, 'local')", "'Bob'"},
        {"email_part(rcpt, 'domain')", "'Example.org'"},
        {"is_email('a@b') && !is_email('ab')", "1"},
        {"is_ip_in_cidr('192.0.2.7', '192.0.2.0/24')", "1"},
        {"is_ipv4_addr('::1') || is_ipv6_addr('::1')", "1"},
        {"if_then(1 > 2, 'a', 'b')", "'b'"},
        {"is_empty('') && is_empty([]) && !is_empty(0)", "1"},
        {"is_number('12') && !is_number('1x')", "1"},
        {"has_digits('a1')", "1"},
        {"system('hostname')", "'mx.example.org'"},
        {"size > 999", "1"},
        {"is_local_domain(rcpt_domain)", "1"},
        {"\t1\r\n+ 1 ", "2"},
    };
    for (size_t i = 0; i < mx_countof(cases); i++) {
        struct expr_problem problem;
        struct expr_value value;
        char text[256];
        struct expr_program *program = compile(cases[i][0], EXPR_QRCPT, &problem);
        cr_assert_not_null(program, "%s: %s", cases[i][0], problem.message);
        cr_assert_eq(expr_run(&vm, program, &host, &value), EXPR_DONE, "%s", cases[i][0]);
        print_value(text, sizeof text, &value);
        cr_assert_str_eq(text, cases[i][1], "%s gave %s", cases[i][0], text);
        expr_free(program);
    }
}

Test(expr, problems_name_place_and_reason)
{
    static const struct {
        const char *text;
        unsigned position;
        const char *part;
    } cases[] = {
        {"", 0, "expected a value, found the end"},
        {"1 +", 3, "found the end"},
        {"(1", 2, "expected \")\""},
        {"1)", 1, "expected an operator or the end"},
        {"1 2", 2, "found \"2\""},
        {"'abc", 0, "closing quote"},
        {"rcpt == @", 8, "unexpected character"},
        {"unknown_thing", 0, "available here: rcpt rcpt_domain"},
        {"url", 0, "unknown or unavailable name \"url\""},
        {"is_local_domain()", 0, "takes 1 argument, not 0"},
        {"1 + len('a', 'b')", 4, "takes 1 argument, not 2"},
        {"no_such_function(1)", 0, "unknown function"},
        {"matches('a', rcpt)", 0, "not supported by this version"},
        {"sql_query('a', 'b', 'c')", 0, "not supported by this version"},
        {"5x", 0, "unknown unit"},
        {"1.2.3", 0, "malformed number"},
        {"99999999999999999999", 0, "malformed number"},
        {"9999999999999999d", 0, "too large"},
        {"[1, 2", 5, "expected \"]\""},
        {"{", 0, "unexpected character"},
    };
    for (size_t i = 0; i < mx_countof(cases); i++) {
        struct expr_problem problem;
        struct expr_program *program = compile(cases[i].text, EXPR_QRCPT, &problem);
        cr_assert_null(program, "%s was accepted", cases[i].text);
        cr_assert_eq(problem.position, cases[i].position, "%s: at %u", cases[i].text,
                     problem.position);
        cr_assert_not_null(strstr(problem.message, cases[i].part), "%s: %s", cases[i].text,
                           problem.message);
    }
}

static unsigned literals;

static void count_literal(void *arg, struct slice name)
{
    literals += slice_equal(name, slice_of_text(((const char **)arg)[literals]));
}

static struct expr_program *split_rule(void)
{
    static const struct expr_branch branches[] = {
        {{(const uint8_t *)"is_local_address(rcpt)", 22}, {(const uint8_t *)"'local'", 7}},
        {{(const uint8_t *)"is_local_domain(rcpt_domain)", 28}, {(const uint8_t *)"'source'", 8}},
    };
    struct expr_source source = {branches, 2, SLICE_LITERAL("'mx'")};
    struct expr_program *program;
    struct expr_problem problem;
    cr_assert_eq(expr_compile(&program, &source, EXPR_QRCPT, &problem), MX_OK, "%s",
                 problem.message);
    return program;
}

Test(expr, the_rule_of_split_delivery)
{
    const char *names[] = {"local", "source", "mx"};
    struct expr_program *program = split_rule();
    struct expr_value value;
    cr_assert_eq(expr_run(&vm, program, &host, &value), EXPR_DONE);
    cr_assert(slice_equal(value.string, SLICE_LITERAL("source")));
    cr_assert(expr_literal_results(program, count_literal, names));
    cr_assert_eq(literals, 3);
    cr_assert_not(expr_constant(program, &value));
    expr_free(program);
}

Test(expr, constants_are_known_at_load)
{
    struct expr_problem problem;
    struct expr_value value;
    struct expr_program *program = compile("2 * 5m", EXPR_CONSTANT, &problem);
    cr_assert(expr_constant(program, &value));
    cr_assert_eq(value.integer, 600000);
    expr_free(program);
    cr_assert_null(compile("rcpt", EXPR_CONSTANT, &problem));
    cr_assert_not_null(strstr(problem.message, "a constant is wanted"));
}

Test(expr, bounds)
{
    static char deep[4000];
    struct expr_problem problem;
    memset(deep, '(', 1000);
    cr_assert_null(compile(deep, EXPR_QRCPT, &problem));
    memset(deep, '!', 1000);
    cr_assert_null(compile(deep, EXPR_QRCPT, &problem));
    /* Text that doubles: the run ends with a failure, not with memory. */
    struct expr_value value;
    struct expr_program *program = NULL;
    char grow[2048] = "'0123456789abcdef'";
    for (unsigned i = 0; i < 6; i++) {
        char next[2048];
        snprintf(next, sizeof next, "(%.900s + %.900s)", grow, grow);
        memcpy(grow, next, sizeof grow);
    }
    program = compile(grow, EXPR_QRCPT, &problem);
    if (program != NULL) {
        enum expr_status status = expr_run(&vm, program, &host, &value);
        cr_assert(status == EXPR_DONE || vm.failure != NULL);
        expr_free(program);
    }
}

/* Random tokens: no crash, and whatever compiles also runs to an end. */
Test(expr, random_texts)
{
    static const char *const tokens[] = {
        "(",    ")",    "[",         "]",        ",",  "+", "-",    "*",      "/",  "!",
        "&&",   "||",   "==",        "<",        "^",  "1", "0.5",  "'a'",    "''", "rcpt",
        "true", "len(", "contains(", "if_then(", "5m", " ", "size", "relaxed"};
    unsigned compiled = 0;
    srand(17);
    for (unsigned round = 0; round < 60000; round++) {
        char text[256] = "";
        size_t len = 0;
        unsigned count = 1 + (unsigned)rand() % 9;
        for (unsigned i = 0; i < count; i++) {
            len += (size_t)snprintf(text + len, sizeof text - len, "%s ",
                                    tokens[(size_t)rand() % mx_countof(tokens)]);
        }
        struct expr_problem problem;
        struct expr_value value;
        struct expr_program *program = compile(text, EXPR_QRCPT, &problem);
        if (program == NULL) {
            cr_assert_gt(strlen(problem.message), 3);
            cr_assert_leq(problem.position, len);
            continue;
        }
        compiled++;
        enum expr_status status = expr_run(&vm, program, &host, &value);
        cr_assert(status == EXPR_DONE || vm.failure != NULL, "%s", text);
        expr_free(program);
    }
    cr_assert_gt(compiled, 1000);
}
