/* A host of fixed answers, and expressions as text in, result as text out. */
#pragma once

#include "route/expr.h"

#include <criterion/criterion.h>
#include <stdio.h>

static struct expr_vm vm;

static void host_variable(void *arg, uint16_t index, struct expr_value *out)
{
    (void)arg;
    *out = (struct expr_value){.type = EXPR_STRING, .string = SLICE_EMPTY};
    if (index == EXPR_VAR_RCPT) {
        out->string = SLICE_LITERAL("Bob+News@Example.org");
    } else if (index == EXPR_VAR_RCPT_DOMAIN) {
        out->string = SLICE_LITERAL("Example.org");
    } else if (index == EXPR_VAR_SENDER) {
        out->string = SLICE_LITERAL("a@b.example");
    } else if (index == EXPR_VAR_SIZE) {
        *out = (struct expr_value){.type = EXPR_INTEGER, .integer = 1000};
    } else if (index == EXPR_VAR_RECIPIENTS) {
        struct expr_value *items = expr_array(&vm, 2);
        if (items == NULL) {
            return;
        }
        items[0] = (struct expr_value){.type = EXPR_STRING, .string = SLICE_LITERAL("a@x")};
        items[1] = (struct expr_value){.type = EXPR_STRING, .string = SLICE_LITERAL("b@y")};
        *out = (struct expr_value){.type = EXPR_ARRAY, .array = {items, 2}};
    }
}

static bool host_local_domain(void *arg, struct slice domain)
{
    (void)arg;
    return domain.len == 11;
}

static bool host_local_address(void *arg, struct slice address)
{
    (void)arg;
    return address.len > 0 && (address.ptr[0] | 0x20) == 'a';
}

static struct slice host_system(void *arg, struct slice name)
{
    (void)arg;
    return slice_equal(name, SLICE_LITERAL("hostname")) ? SLICE_LITERAL("mx.example.org")
                                                        : SLICE_LITERAL("example.org");
}

/* No digest: the length of what was to be digested, and of the algorithm's name. */
static size_t host_digest(void *arg, struct slice algorithm, struct slice text,
                          uint8_t out[EXPR_DIGEST_MAX])
{
    (void)arg;
    out[0] = (uint8_t)text.len;
    out[1] = (uint8_t)algorithm.len;
    return 2;
}

static __attribute__((unused)) const struct expr_host host = {
    .variable = host_variable,
    .is_local_domain = host_local_domain,
    .is_local_address = host_local_address,
    .system = host_system,
    .digest = host_digest,
};

/* The result of a text, as put_expr_value writes it; "" and the problem's or the failure's text
 * behind it when there is none. */
static __attribute__((unused)) const char *result_of(const char *text)
{
    static char shown[1024];
    struct writer w = writer_init(shown, sizeof shown - 1);
    struct expr_source source = {.otherwise = slice_of_text(text)};
    struct expr_program *program;
    struct expr_problem problem;
    struct expr_value value;
    if (expr_compile(&program, &source, EXPR_QRCPT, &problem) != MX_OK) {
        snprintf(shown, sizeof shown, "refused: %s", problem.message);
        return shown;
    }
    if (expr_run(&vm, program, &host, NULL, &value) == EXPR_DONE) {
        put_expr_value(&w, &value);
    } else {
        put_text(&w, "failed: ");
        put_text(&w, vm.failure);
    }
    shown[w.len] = '\0';
    expr_free(program);
    return shown;
}
