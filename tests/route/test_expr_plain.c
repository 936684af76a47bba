/* Random programs: the compiler with its folding and the machine against a plain walk of the tree
 * that the text was written from. */
#include "route/plain.h"

#include "route/expr_support.h"

enum { ROUNDS = 60000, BRANCHES_MAX = 2, TEXT_MAX = 16384 };

static struct expr_value variable_named(const char *name)
{
    struct expr_value value;
    vm.arrays_used = 0; /* the host's arrays lie there */
    vm.program = NULL;
    static const struct expr_value both[] = {
        {.type = EXPR_STRING, .string = {(const uint8_t *)"a@x", 3}},
        {.type = EXPR_STRING, .string = {(const uint8_t *)"b@y", 3}}};
    if (strcmp(name, "recipients") == 0) {
        return (struct expr_value){.type = EXPR_ARRAY, .array = {both, 2}};
    }
    host_variable(NULL, expr_variable(slice_of_text(name)), &value);
    return value;
}

static bool same_result(const struct expr_value *a, const struct expr_value *b)
{
    if (a->type != b->type) {
        return false;
    }
    switch (a->type) {
    case EXPR_INTEGER:
        return a->integer == b->integer;
    case EXPR_FLOAT: /* digits are read in another way there */
        return a->number == b->number || fabs(a->number - b->number) <= fabs(b->number) * 1e-9 ||
               (isnan(a->number) && isnan(b->number));
    case EXPR_ARRAY:
        if (a->array.count != b->array.count) {
            return false;
        }
        for (uint32_t i = 0; i < a->array.count; i++) {
            if (!same_result(&a->array.items[i], &b->array.items[i])) {
                return false;
            }
        }
        return true;
    default:
        return slice_equal(a->string, b->string);
    }
}

/* if, then, if, then, else */
struct block {
    struct plain *trees[2 * BRANCHES_MAX + 1];
    unsigned branches;
    char text[2 * BRANCHES_MAX + 1][TEXT_MAX];
};

static void make_block(struct block *block)
{
    block->branches = plain_dice(BRANCHES_MAX + 1);
    for (unsigned i = 0; i <= 2 * block->branches; i++) {
        struct writer w = writer_init(block->text[i], TEXT_MAX - 1);
        block->trees[i] = plain_random(1 + plain_dice(5));
        plain_write(&w, block->trees[i], 0);
        block->text[i][w.len] = '\0';
        cr_assert_not(w.overflow);
    }
}

static struct expr_value walk(const struct block *block)
{
    for (unsigned i = 0; i < block->branches; i++) {
        struct expr_value condition = plain_eval(block->trees[2 * i], variable_named);
        if (plain.error) {
            return condition;
        }
        if (plain_true(condition)) {
            return plain_eval(block->trees[2 * i + 1], variable_named);
        }
    }
    return plain_eval(block->trees[2 * block->branches], variable_named);
}

static mx_err compile(struct expr_program **program, const struct block *block,
                      struct expr_problem *problem)
{
    struct expr_branch branches[BRANCHES_MAX];
    for (unsigned i = 0; i < block->branches; i++) {
        branches[i].condition = slice_of_text(block->text[2 * i]);
        branches[i].then = slice_of_text(block->text[2 * i + 1]);
    }
    struct expr_source source = {branches, block->branches,
                                 slice_of_text(block->text[2 * block->branches])};
    struct expr_environment environment = {.asks = UINT32_MAX, .lookups = host_lookups()};
    return expr_compile_in(program, &source, EXPR_QRCPT, &environment, problem);
}

static const char *show(const struct block *block)
{
    static char text[8192];
    size_t len = 0;
    for (unsigned i = 0; i <= 2 * block->branches && len < sizeof text; i++) {
        len += (size_t)snprintf(text + len, sizeof text - len, "[%u] %s\n", i, block->text[i]);
    }
    return text;
}

/* No function of the language is left out of the second one. */
Test(expr_plain, has_every_function)
{
    const struct expr_function *row;
    size_t known = 0;
    for (uint32_t i = 0; (row = expr_function_row(i)) != NULL; i++) {
        size_t at = 0;
        while (at < mx_countof(plain_functions) &&
               strcmp(plain_functions[at].name, row->name) != 0) {
            at++;
        }
        cr_assert_neq(at == mx_countof(plain_functions), row->absent == NULL, "%s", row->name);
        if (row->absent == NULL) {
            cr_assert_eq(strlen(plain_functions[at].arguments), row->argc, "%s", row->name);
            known++;
        }
    }
    cr_assert_eq(known, mx_countof(plain_functions));
}

static void count_step(void *arg, const struct expr_step *step)
{
    ++*(unsigned *)arg;
    cr_assert_lt(step->start, step->end);
}

Test(expr_plain, random_programs)
{
    static struct block block;
    static char product[4096], plainly[4096];
    unsigned ran = 0, failed = 0, refused = 0, too_large = 0;
    plain.random = 20240229;
    for (unsigned round = 0; round < ROUNDS; round++) {
        plain.used = 0;
        plain.has_search = false;
        make_block(&block);
        bool broken = false;
        for (unsigned i = 0; i <= 2 * block.branches; i++) {
            (void)plain_known(block.trees[i], &broken);
        }
        struct expr_program *program;
        struct expr_problem problem;
        mx_err err = compile(&program, &block, &problem);
        cr_assert_eq(err != MX_OK, broken, "round %u: %s\n%s", round,
                     err ? problem.message : "accepted", show(&block));
        if (err) {
            refused++;
            continue;
        }
        plain.found = SLICE_EMPTY;
        plain.error = NULL;
        plain_key_count = host_entry_count = 0;
        vm.metrics = host_metrics();
        struct expr_value expected = walk(&block), got;
        unsigned steps = 0;
        struct expr_trace trace = {&steps, count_step};
        enum expr_status status =
            expr_run(&vm, program, &host, plain_dice(2) ? &trace : NULL, &got);
        if (status == EXPR_FAILED && strstr(vm.failure, "too") != NULL) {
            too_large++; /* memory, arrays, steps: bounds that the walk does not have */
        } else if (status == EXPR_FAILED || plain.error != NULL) {
            cr_assert(status == EXPR_FAILED && plain.error != NULL, "round %u: %s, expected %s\n%s",
                      round, status == EXPR_FAILED ? vm.failure : "a result",
                      plain.error ? plain.error : "a result", show(&block));
            cr_assert_str_eq(vm.failure, plain.error);
            failed++;
        } else {
            struct writer w = writer_init(product, sizeof product - 1);
            put_expr_value(&w, &got);
            product[w.len] = '\0';
            w = writer_init(plainly, sizeof plainly - 1);
            put_expr_value(&w, &expected);
            plainly[w.len] = '\0';
            cr_assert(same_result(&got, &expected), "round %u: %s, expected %s\n%s", round, product,
                      plainly, show(&block));
            ran++;
        }
        expr_free(program);
    }
    cr_assert_gt(ran, ROUNDS / 2, "%u ran, %u failed, %u refused", ran, failed, refused);
    cr_assert_gt(failed, ROUNDS / 100);
    cr_assert_gt(refused, ROUNDS / 100);
    cr_assert_lt(too_large, ROUNDS / 100, "%u", too_large);
}
