/* Expressions: what compiles is verified and runs to an end; problems point into the text. */
#include "fuzz.h"
#include "route/expr.h"

static void variable(void *arg, uint16_t index, struct expr_value *out)
{
    (void)arg;
    *out = (struct expr_value){.type = EXPR_STRING,
                               .string = slice_of_text(expr_variable_name(index))};
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

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct expr_vm vm;
    static const struct expr_host host = {.variable = variable,
                                          .is_local_domain = is_local,
                                          .is_local_address = is_local,
                                          .system = system_value};
    struct fuzz_source s = {slice_of(data, size)};
    struct expr_branch branch = {.condition = fuzz_piece(&s), .then = fuzz_piece(&s)};
    struct expr_source source = {
        .branches = &branch, .branch_count = fuzz_byte(&s) % 2, .otherwise = s.left};
    struct expr_program *program;
    struct expr_problem problem;
    struct expr_value value;
    if (expr_compile(&program, &source, EXPR_QRCPT, &problem) != MX_OK) {
        FUZZ_CHECK(problem.message[0] != '\0');
        return 0;
    }
    enum expr_status status = expr_run(&vm, program, &host, &value);
    FUZZ_CHECK(status == EXPR_DONE || vm.failure != NULL);
    (void)expr_constant(program, &value);
    expr_free(program);
    return 0;
}
