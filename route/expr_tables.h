/* The tables of the expression language: what compiles, what the reference page says and what an
 * error message offers is all made from them. */
#pragma once

#include "route/expr.h"

struct expr_variable {
    const char *name;
    enum expr_type type;
    uint32_t contexts;  /* bit per enum expr_context */
    const char *absent; /* NULL, or why this version has no value for it: refused by name */
    const char *description;
};
const struct expr_variable *expr_variable_row(uint16_t index); /* NULL behind the last */

struct expr_context_row {
    const char *name;
    const char *description;
    uint32_t asks; /* questions that the callers of this context answer: bits 1 << enum expr_ask */
};
const struct expr_context_row *expr_context_row(enum expr_context context);

struct expr_constant_row {
    const char *names; /* separated by spaces */
    const char *description;
};
const struct expr_constant_row *expr_constant_row(uint32_t index); /* NULL behind the last */
bool expr_is_constant_name(struct slice name);

/* Operators with two operands; level 0 binds weakest. */
enum { EXPR_LEVELS = 7 };
struct expr_binary {
    const char *text;
    const char *also; /* another spelling, or NULL */
    uint8_t level;
    uint8_t op;
    const char *description;
};
const struct expr_binary *expr_binary_row(uint32_t index); /* NULL behind the last */

typedef bool (*expr_function_fn)(struct expr_vm *vm, const struct expr_value *args,
                                 struct expr_value *out);
struct expr_function {
    const char *name;
    const char *params; /* as the reference page shows them; one word per argument */
    uint8_t argc;
    bool host;          /* asks the host at once: not folded */
    enum expr_ask ask;  /* asks the host, which may answer later */
    bool changes;       /* asked again it does something again */
    bool shorter;       /* the last argument may be left out: 1 */
    bool store;         /* the first argument names a store, in quotes: EXPR_STORE_NAME is asked */
    bool lists;         /* or a list, in which the key is looked up at once */
    const char *words;  /* the last argument is one of these words, in quotes; NULL: any value */
    bool network;       /* the last argument, where it is known, is an address or a network */
    const char *absent; /* NULL, or why this version does not have it: refused by name */
    expr_function_fn run; /* NULL: asks, is absent, or is built into the machine (matches) */
    const char *description;
};
const struct expr_function *expr_function_row(uint32_t index);
uint32_t expr_function_find(struct slice name); /* UINT32_MAX: none */
/* Name and description of a statistic; NULL behind the last. */
struct expr_metric_row {
    const char *name, *description;
};
const struct expr_metric_row *expr_metric_row(unsigned metric);
/* Its number, or EXPR_METRICS. */
unsigned expr_metric_find(struct slice name);
/* Is word one of the words of list, separated by spaces? */
bool expr_has_word(const char *list, struct slice word);
