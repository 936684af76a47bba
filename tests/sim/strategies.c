#include "tests/sim/strategies.h"

#include "tests/sim/sim.h"

#include <string.h>

enum { MINUTE_MS = 60000 };

static bool some;

#define TIMES                                                                   \
    {                                                                           \
        .connect = MINUTE_MS, .greeting = 5 * MINUTE_MS, .ehlo = 5 * MINUTE_MS, \
        .mail = 5 * MINUTE_MS, .rcpt = 5 * MINUTE_MS, .data = 10 * MINUTE_MS    \
    }

static const struct connection_strategy strategies[] = {
    {.name = {(const uint8_t *)"one", 3},
     .ehlo_name = {(const uint8_t *)"one.example", 11},
     .times = TIMES,
     .effect = 1},
    {.name = {(const uint8_t *)"two", 3},
     .ehlo_name = {(const uint8_t *)"two.example", 11},
     .times = TIMES,
     .effect = 2},
};

void strategies_reset(bool mixed)
{
    some = mixed;
}

mx_err strategies_image(struct image *image)
{
    static const struct expr_branch branches[] = {
        {SLICE_LITERAL("contains(rcpt, '1@')"), SLICE_LITERAL("'one'")},
        {SLICE_LITERAL("contains(rcpt, '2@')"), SLICE_LITERAL("'two'")},
    };
    struct expr_source source = {
        .branches = branches, .branch_count = 2, .otherwise = SLICE_LITERAL("'default'")};
    struct expr_problem problem;
    struct expr_program *program = NULL;
    mx_err err = some ? expr_compile(&program, &source, EXPR_QHOST, &problem) : MX_OK;
    if (err && err != MX_ERR_NOMEM) {
        sim_fail("connection program: %s", problem.message);
    }
    if (program != NULL) {
        image->outbound.tls_fixed = &outbound_tls_default;
        image->outbound.connections = strategies;
        image->outbound.connection_count = mx_countof(strategies);
        image->outbound.connection_program = program;
    }
    return err;
}

void strategies_free(const struct image *image)
{
    expr_free((struct expr_program *)(uintptr_t)image->outbound.connection_program);
}

void strategies_check(const char *ehlo, const char *rcpt)
{
    const char *right = strstr(rcpt, "1@") != NULL   ? "one.example"
                        : strstr(rcpt, "2@") != NULL ? "two.example"
                                                     : "mx"; /* the server's, which may change */
    if (some && strncmp(ehlo, right, strlen(right)) != 0) {
        sim_fail("%s was named over a connection of %s", rcpt, ehlo);
    }
}
