/* Shared by the files of the expression compiler and its VM. */
#pragma once

#include "route/expr.h"

enum expr_op {
    OP_CONST,    /* push constants[b] */
    OP_VARIABLE, /* push variable b */
    OP_CALL,     /* function b with a arguments */
    OP_ARRAY,    /* a values become an array */
    OP_INDEX,    /* array, index -> element or "" */
    OP_NOT,
    OP_NEGATE,
    OP_MULTIPLY,
    OP_DIVIDE,
    OP_ADD,
    OP_SUBTRACT,
    OP_GREATER,
    OP_GREATER_EQUAL,
    OP_LESS,
    OP_LESS_EQUAL,
    OP_EQUAL,
    OP_NOT_EQUAL,
    OP_XOR,
    OP_BOOL,   /* top becomes 0 or 1 */
    OP_AND,    /* top false: keep it and go to b; else pop */
    OP_OR,     /* top true: keep it and go to b; else pop */
    OP_UNLESS, /* pop; false: go to b */
    OP_RETURN, /* top is the result */
    OP_COUNT
};

struct expr_instruction {
    uint8_t op;
    uint8_t a;
    uint32_t b;
};

struct expr_program {
    struct expr_instruction *code;
    uint32_t code_len, code_cap;
    struct expr_value *constants;
    uint32_t constant_count, constant_cap;
    uint8_t *text; /* copy of the source: string constants point into it */
    uint32_t result_consts[EXPR_BRANCHES_MAX +
                           1]; /* constant that is a whole then/else, or UINT32_MAX */
    uint32_t result_count;
};

/* --- tables --- */

struct expr_variable {
    const char *name;
    uint32_t contexts; /* bit per enum expr_context */
};
const struct expr_variable *expr_variable_row(uint16_t index); /* NULL behind the last */
bool expr_is_constant_name(struct slice name);

typedef bool (*expr_function_fn)(struct expr_vm *vm, const struct expr_value *args,
                                 struct expr_value *out);
struct expr_function {
    const char *name;
    uint8_t argc;
    bool host;            /* asks the host: not foldable */
    expr_function_fn run; /* NULL: exists in the language, refused by this build */
};
const struct expr_function *expr_function_row(uint32_t index);
uint32_t expr_function_find(struct slice name); /* UINT32_MAX: none */

/* --- shared by the VM and the functions --- */
struct expr_value expr_from_bool(bool value);
struct expr_value expr_from_text(struct slice text);
/* Memory that lives as long as the run; NULL when used up (the run fails then). */
uint8_t *expr_scratch(struct expr_vm *vm, size_t len);
bool expr_fail(struct expr_vm *vm, const char *reason);
/* Text form of a value; numbers are printed into scratch. */
bool expr_to_text(struct expr_vm *vm, const struct expr_value *value, struct slice *out);
bool expr_is_numeric(const struct expr_value *value);
double expr_to_number(const struct expr_value *value); /* strings are parsed; others are 0 */

/* Proves bounds, stack depth and forward jumps of a program. */
MX_MUST_CHECK mx_err expr_verify(const struct expr_program *program);
