#include "route/expr_support.h"

#include <stdlib.h>

static struct expr_program *compile(const char *text, enum expr_context context,
                                    struct expr_problem *problem)
{
    struct expr_program *program = NULL;
    struct expr_source source = {.otherwise = slice_of_text(text)};
    struct expr_environment environment = {
        .asks = context == EXPR_QRCPT ? UINT32_MAX : expr_context_row(context)->asks,
        .lookups = host_lookups()};
    return expr_compile_in(&program, &source, context, &environment, problem) == MX_OK ? program
                                                                                       : NULL;
}

Test(expr, results)
{
    static const char *const cases[][2] = {
        {"1", "1"},
        {"1 + 2 * 3", "7"},
        {"(1 + 2) * 3", "9"},
        {"10 - 2 - 3", "5"},
        {"7 / 2", "3.500000"},
        {"1 / 0", "0.000000"},
        {"-3 + 1", "-2"},
        {"--3", "3"},
        {"2 - -2", "4"},
        {"1.5 + 1", "2.500000"},
        {"9223372036854775807 + 1", "9223372036854775807"},
        {"-9223372036854775807 - 10", "-9223372036854775808"},
        {"9223372036854775807 * -2", "-9223372036854775808"},
        {"'a' + 'b'", "'ab'"},
        {"'' + 5", "5"},
        {"'n' + 5", "'n5'"},
        {"'10' - 3", "7"},
        {"'x' - 3", "-3"},
        {"'1.5' * '2'", "3.000000"},
        {"-'5'", "-5"},
        {"-'x'", "0"},
        {"--9223372036854775807 - 1", "9223372036854775806"},
        {"-(-9223372036854775807 - 1)", "9223372036854775807"},
        {"relaxed + '!'", "'relaxed!'"},
        {"[1] + [2, 3]", "[1, 2, 3]"},
        {"([1] + 2)[1]", "2"},
        {"(1 + [2])[0]", "1"},
        {"('' + [2])[0]", "''"},
        {"count([1, 2, 1] - 1)", "1"},
        {"count([1, 2, 3] - [1, 3])", "1"},
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
        {"[1, 'a', relaxed]", "[1, 'a', relaxed]"},
        {"[]", "[]"},
        {"[1, 'b'][1]", "'b'"},
        {"[1][5]", "''"},
        {"[1, 2] == [1, 2]", "1"},
        {"count([1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23,24,25,26,27,28,29,30,"
         "31,32,'33',34.5])",
         "34"},
        {"[0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23,24,25,26,27,28,29,30,31,"
         "32,1+32][33]",
         "33"},
        {"[1, 2] == [1, 3]", "0"},
        {"size > 999", "1"},
        {"is_local_domain(rcpt_domain)", "1"},
        {"\t1\r\n+ 1 ", "2"},
        /* The right side of && and || is not evaluated when the left side decides. */
        {"size == 0 && is_number(1 + [size][2])", "0"},
        {"size == 1000 || -[size]", "1"},
        {"true && size", "1"},
        {"false || size == 0", "0"},
        {"'yes' || size", "'yes'"},
        {"'' && size", "''"},
        {"1 == 1 == 1", "1"},
        {"2 + 3 > 4 == true && !false", "1"},
        {"1 | 0 & 0 ^ 1", "1"},
        {"-2 * -3 + 4 / 2", "8.000000"},
        {"!1 + 1", "1"},
        {"1 != 1 || 2 > 3 || 4 <= 4", "1"},
        {"[1, 2] < [1, 3]", "1"},
        {"[1] < [1, 0]", "1"},
        {"[2] > [1, 9]", "1"},
        {"[1] < 2 || [1] >= 2 || [1] == 1", "0"},
        {"[1] != 1", "1"},
        {"[relaxed] == [relaxed]", "0"},
        {"9007199254740993 > 9007199254740992", "1"},
        {"[1, 2, 3][size - 998]", "3"},
        {"[1, 2][-1]", "''"},
        {"'text'[0]", "''"},
        {"[5][0.9]", "5"},
        {"[5]['0']", "5"},
    };
    for (size_t i = 0; i < mx_countof(cases); i++) {
        const char *text = result_of(cases[i][0]);
        cr_assert_str_eq(text, cases[i][1], "%s gave %s", cases[i][0], text);
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
        {"is_local_domain()", 0, "takes 1 argument (domain), not 0"},
        {"1 + len('a', 'b')", 4, "takes 1 argument (value), not 2"},
        {"if_then(1)", 0, "takes 3 arguments (condition a b), not 1"},
        {"starts_wiht(1, 2)", 0,
         "unknown function \"starts_wiht\"; available: starts_with strip_prefix"},
        {"zero(1)", 0, "available: is_local_domain is_local_address"},
        {"sql_query('a', 'b', 'c')", 0, "there are no SQL stores"},
        {"1 + $name", 4, "variables of Sieve scripts are not supported: \"$name\""},
        {"key_get('a', rcpt)", 8,
         "key_get() takes as its first argument, in quotes, the name of a store, not \"a\" "
         "(a list needs a key: add one, or change this first); available: * known named"},
        {"1 || key_exists('Known', 1)", 16,
         "not \"Known\" (a list needs a key: add one, or change this first); available: * known "
         "named"},
        {"key_exists(rcpt, 1)", 11, "the name of a store; available: * known named"},
        {"key_get('', 1)", 8, "the name of a store, not \"\" (a list needs a key: "},
        {"key_set('known', 1, 2)", 8, "not \"known\"; available: *"},
        {"counter_get('known', 1)", 12, "not \"known\"; available: *"},
        {"counter_incr(sender, 1)", 13, "the name of a store; available: *"},
        {"key_get('known')", 0, "takes 2 arguments (store key), not 1"},
        {"counter_incr('*')", 0, "takes 2 or 3 arguments (store key n), not 1"},
        {"counter_get('*', 1, 2)", 0, "takes 2 arguments (store key), not 3"},
        {"metric('queue.size')", 7,
         "metric() takes as its last argument, in quotes, one of: queue.count "
         "queue.message-queued queue.rescheduled"},
        {"metric('connections')", 7, "one of: smtp.active-connections"},
        {"metric(rcpt)", 7, "one of: smtp.active-connections"},
        {"received_via_port == 25", 0,
         "not supported by this version: \"received_via_port\": a queued"},
        {"listener == 'x'", 0, "unknown or unavailable name \"listener\""},
        {"matches(rcpt, 'a')", 8, "a regular expression in quotes"},
        {"matches(1, 'a')", 8, "a regular expression in quotes"},
        {"matches('a(b', rcpt)", 12, "missing closing parenthesis"},
        {"matches('\\C', rcpt)", 11, "regular expression: "},
        {"$0", 0, "no such capture: \"$0\"; none before the first matches()"},
        {"matches('(a)', rcpt) && $2", 24, "no such capture: \"$2\"; available: $0 $1"},
        {"email_part(rcpt, 'user')", 17, "one of: local domain"},
        {"email_part(rcpt, sender)", 17, "takes as its last argument, in quotes"},
        {"is_ip_in_cidr(rcpt, '10.0.0.0/99')", 20,
         "is_ip_in_cidr() takes as its last argument an address, or a network such as "
         "'192.0.2.0/24' (up to /32) or '2001:db8::/32' (up to /128), not \"10.0.0.0/99\""},
        {"1 && is_ip_in_cidr(rcpt, '10.0.0.0/8/8')", 25, "not \"10.0.0.0/8/8\""},
        {"is_ip_in_cidr(rcpt, '10.0.0/8')", 20, "not \"10.0.0/8\""},
        {"is_ip_in_cidr(rcpt, '2001:db8::/129')", 20, "not \"2001:db8::/129\""},
        {"is_ip_in_cidr(rcpt, '10.0.0.0/')", 20, "not \"10.0.0.0/\""},
        {"is_ip_in_cidr(rcpt, '10.0.0.0' + '/99')", 20, "not \"10.0.0.0/99\""},
        {"is_ip_in_cidr(rcpt, '')", 20, "not \"\""},
        {"is_ip_in_cidr(rcpt, 10)", 20, "(up to /128)"},
        {"is_ip_in_cidr(rcpt, ['10.0.0.0/8'])", 20, "(up to /128)"},
        {"hash(rcpt, 'crc32')", 11, "one of: md5 sha1 sha256 sha512"},
        {"system('uptime')", 7, "one of: hostname domain node_id node_hostname node_role"},
        {"rcpt == -[1]", 8, "arithmetic on an array"},
        {"(rcpt == 'a' || size > ) && 1", 23, "expected a value, found \")\""},
        {"rcpt rcpt", 5, "expected an operator or the end, found \"rcpt\""},
        {"[1, 2", 5, "expected \"]\" or \",\", found the end"},
        {"[1, 2][0", 8, "expected \"]\", found the end"},
        {"5x", 0, "unknown unit"},
        {"1.2.3", 0, "malformed number"},
        {"99999999999999999999", 0, "number too large, found \"99999999999999999999\""},
        {"-9223372036854775808", 1, "number too large"},
        {"unheard_of_function(1)", 0,
         "unknown function \"unheard_of_function\"; available: is_local_domain is_local_address"},
        {"unheard_of_function(1)", 0, " ..."},
        {"9999999999999999d", 0, "too large"},
        {"[1, 2", 5, "expected \"]\""},
        {"{", 0, "unexpected character"},
        /* Texts go into JSON: characters of several bytes stay whole. */
        {"rcpt \xc3\xa9", 5, "found \"\xc3\xa9\""},
        {"\xe2\x82\xac\xe2\x82\xac", 0, "found \"\xe2\x82\xac\""},
        {"1 'xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx\xc3\xa9'", 2,
         "found \"xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx\""},
        {"key_get('xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx\xc3\xa9', 1)", 8,
         "not \"xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx\""},
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

/* What a setting cannot wait for, and what it cannot change, is refused by name. */
Test(expr, questions_by_context)
{
    static const struct {
        enum expr_context context;
        const char *text, *part; /* NULL: accepted */
    } cases[] = {
        {EXPR_QSENDER, "dns_query('a', 'mx')", "cannot wait for what is asked by \"dns_query\"()"},
        {EXPR_QSENDER, "key_get('*', sender)", "cannot wait for what is asked by \"key_get\"()"},
        {EXPR_QSENDER, "key_get('known', sender)", NULL},
        {EXPR_QSENDER, "metric('queue.count')", NULL},
        {EXPR_QSENDER, "counter_incr('*', sender)",
         "cannot change what is changed by \"counter_incr\"()"},
        {EXPR_CONSTANT, "key_exists('known', 'a')", NULL},
    };
    for (size_t i = 0; i < mx_countof(cases); i++) {
        struct expr_problem problem;
        struct expr_program *program = compile(cases[i].text, cases[i].context, &problem);
        cr_assert_eq(program == NULL, cases[i].part != NULL, "%s", cases[i].text);
        if (program == NULL) {
            cr_assert_not_null(strstr(problem.message, cases[i].part), "%s", problem.message);
        }
        expr_free(program);
    }
}

/* A program that was compiled to be looked at alone names any list, and looks nothing up. */
Test(expr, lists_that_are_not_known)
{
    struct expr_source source = {.otherwise = SLICE_LITERAL("key_get('some', sender)")};
    struct expr_program *program;
    struct expr_problem problem;
    struct expr_value value;
    cr_assert_eq(expr_compile(&program, &source, EXPR_QRCPT, &problem), MX_OK);
    cr_assert_eq(expr_run(&vm, program, &host, NULL, &value), EXPR_FAILED);
    cr_assert_str_eq(vm.failure, "the lists are not known");
    expr_free(program);
    source.otherwise = SLICE_LITERAL("metric('queue.count')");
    cr_assert_eq(expr_compile(&program, &source, EXPR_QRCPT, &problem), MX_OK);
    vm.metrics = NULL;
    cr_assert_eq(expr_run(&vm, program, &host, NULL, &value), EXPR_FAILED);
    cr_assert_str_eq(vm.failure, "statistics have not been collected yet");
    static struct expr_metrics metrics;
    vm.metrics = &metrics;
    cr_assert_eq(expr_run(&vm, program, &host, NULL, &value), EXPR_FAILED);
    metrics.collected = true;
    metrics.values[EXPR_METRIC_QUEUED] = 5;
    cr_assert_eq(expr_run(&vm, program, &host, NULL, &value), EXPR_DONE);
    cr_assert_eq(value.integer, 5);
    expr_free(program);
}

/* Long names and many are cut where the message ends. */
Test(expr, many_lists_in_a_message)
{
    static char names[100][32];
    struct lookup_row rows[mx_countof(names)];
    struct lookups *lookups;
    size_t at;
    for (unsigned i = 0; i < mx_countof(names); i++) {
        snprintf(names[i], sizeof names[i], "list-number-%03u", i);
        rows[i] = (struct lookup_row){.list = slice_of_text(names[i])};
    }
    cr_assert_eq(lookups_new(&lookups, rows, mx_countof(rows), &at), MX_OK);
    struct expr_source source = {.otherwise = SLICE_LITERAL("key_get('x', 1)")};
    struct expr_environment environment = {.lookups = lookups};
    struct expr_program *program;
    struct expr_problem problem;
    cr_assert_eq(expr_compile_in(&program, &source, EXPR_QRCPT, &environment, &problem),
                 MX_ERR_SYNTAX);
    cr_assert_not_null(strstr(problem.message, "available: * list-number-000 list-number-001"));
    cr_assert_str_eq(problem.message + strlen(problem.message) - 4, " ...");
    cr_assert_null(strstr(problem.message, "list-number-099"));
    lookups_free(lookups);
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
    cr_assert_eq(expr_run(&vm, program, &host, NULL, &value), EXPR_DONE);
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
        enum expr_status status = expr_run(&vm, program, &host, NULL, &value);
        cr_assert(status == EXPR_DONE || vm.failure != NULL);
        expr_free(program);
    }
}

/* Random tokens: no crash, and whatever compiles also runs to an end. */
Test(expr, random_texts)
{
    static const char *const tokens[] = {
        "(",  ")",     "[",         "]",       ",",         "+",
        "-",  "*",     "/",         "!",       "&&",        "||",
        "==", "<",     "^",         "1",       "0.5",       "'a'",
        "''", "rcpt",  "true",      "len(",    "contains(", "if_then(",
        "5m", " ",     "size",      "relaxed", "split(",    "matches('(.)', ",
        "$0", "sort(", "recipients"};
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
        enum expr_status status = expr_run(&vm, program, &host, NULL, &value);
        cr_assert(status == EXPR_DONE || vm.failure != NULL, "%s", text);
        expr_free(program);
    }
    cr_assert_gt(compiled, 1000);
}
