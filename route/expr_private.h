/* Shared by the files of the expression compiler and its VM. */
#pragma once

#include "route/expr.h"
#include "route/expr_tables.h"

enum expr_op {
    OP_CONST,    /* push constants[b] */
    OP_VARIABLE, /* push variable b */
    OP_CAPTURE,  /* push capture b, "" when there is none */
    OP_CALL,     /* function b with a arguments */
    OP_ASK,      /* the same; the host may answer later */
    OP_MATCH,    /* search regular expression b in the top; top becomes 0 or 1 */
    OP_LOOKUP,   /* look the top up in list b; a: top becomes 0 or 1, else the value or "" */
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

/* Source of the value that an instruction makes: read by traces only. */
struct expr_where {
    uint32_t part, start, end;
};

/* Memory that is given back all at once. */
struct expr_block;
struct expr_memory {
    struct expr_block *blocks;
};
void *expr_memory_take(struct expr_memory *memory, size_t bytes); /* zeroed; NULL: none left */
void expr_memory_free(struct expr_memory *memory);

struct expr_regex;

struct expr_program {
    struct expr_instruction *code;
    struct expr_where *where; /* code_cap of them */
    uint32_t code_len, code_cap;
    struct expr_value *constants;
    uint32_t constant_count, constant_cap;
    struct expr_regex **regexes;
    uint32_t regex_count, regex_cap;
    const struct lookups *lookups;
    struct expr_memory memory; /* folded texts and arrays */
    uint8_t *text;             /* copy of the source: string constants point into it */
    struct slice *parts;
    uint32_t part_count;
    uint32_t result_consts[EXPR_BRANCHES_MAX +
                           1]; /* constant that is a whole then/else, or UINT32_MAX */
    uint32_t result_count;
};

/* --- the tree ----------------------------------------------------------------------------------
 */

enum expr_node_kind {
    NODE_CONST,
    NODE_VARIABLE, /* index */
    NODE_CAPTURE,  /* index */
    NODE_CALL,     /* index: function */
    NODE_MATCH,    /* index: regular expression; one child */
    NODE_LOOKUP,   /* index: list; op: exists; one child */
    NODE_ARRAY,
    NODE_OPERATOR, /* op; one or two children */
};

struct expr_node {
    enum expr_node_kind kind;
    uint8_t op;
    uint32_t index;
    uint32_t start, end; /* bytes of the text */
    uint32_t height;     /* of the tree below */
    uint32_t child_count;
    struct expr_node *first, *next;
    struct expr_value value; /* NODE_CONST */
};

enum {
    EXPR_NESTING_MAX = 32,  /* parentheses, arguments, unary operators */
    EXPR_HEIGHT_MAX = 1500, /* of a tree: the compiler recurses over it */
    EXPR_CODE_MAX = 65536,
    EXPR_REGEXES_MAX = 256,
};

/* The state of compiling one block. */
struct expr_compiler {
    struct expr_program *program;
    struct expr_problem *problem;
    enum expr_context context;
    const struct expr_environment *environment;
    struct expr_memory tree;
    struct expr_vm *vm; /* for what is known at load */
    uint32_t captures;  /* that a search so far can have set */
    bool failed;
    mx_err err;
};
/* Notes the first problem. */
void expr_refuse(struct expr_compiler *c, mx_err err, uint32_t position, const char *message);
/* All operands are known. */
bool expr_all_known(const struct expr_node *node);
/* The tree of one text, folded; NULL after a problem. */
struct expr_node *expr_parse(struct expr_compiler *c, struct slice text);
/* A node that takes over its children (linked by next). What is known at load becomes a constant.
 */
struct expr_node *expr_node(struct expr_compiler *c, struct expr_node node);

/* --- what messages offer (expr_names.c) --------------------------------------------------------
 */

/* Names, each behind a space, as many as there is room for. */
void expr_put_variables(struct writer *w, enum expr_context context);
/* Those that begin with this letter; all when there are none. */
void expr_put_functions(struct writer *w, uint8_t letter);
/* Those that begin as `given` does up to its dot; all when there are none. */
void expr_put_words(struct writer *w, const char *list, struct slice given);
void expr_put_stores(struct writer *w, const struct lookups *lookups);

/* --- regular expressions (PCRE2, bytes) --------------------------------------------------------
 */

/* MX_ERR_SYNTAX: *out_at and message say what is wrong; MX_ERR_LIMIT: more than
 * EXPR_CAPTURES_MAX - 1 groups. */
MX_MUST_CHECK mx_err expr_regex_new(struct expr_regex **out_regex, struct slice pattern,
                                    uint32_t *out_at, char *message, size_t message_cap);
void expr_regex_free(struct expr_regex *regex);
uint32_t expr_regex_groups(const struct expr_regex *regex);
/* Sets vm->captures; false: failed, vm->failure says why. */
bool expr_regex_search(struct expr_vm *vm, const struct expr_regex *regex, struct slice subject,
                       bool *out_found);

/* --- shared by the VM, the functions and the folding -------------------------------------------
 */

static inline struct expr_value expr_from_int(int64_t value)
{
    return (struct expr_value){.type = EXPR_INTEGER, .integer = value};
}
static inline struct expr_value expr_from_bool(bool value)
{
    return expr_from_int(value);
}
static inline struct expr_value expr_from_text(struct slice text)
{
    return (struct expr_value){.type = EXPR_STRING, .string = text};
}
/* Memory that lives as long as the run; NULL when used up (the run fails then). */
uint8_t *expr_scratch(struct expr_vm *vm, size_t len);
bool expr_fail(struct expr_vm *vm, const char *reason);
/* Counts work of about so many steps; false over the bound. */
bool expr_spend(struct expr_vm *vm, size_t steps);
bool expr_print(struct expr_vm *vm, const struct expr_value *value, struct slice *out);
/* Text form of a value; numbers are printed into scratch. Of an array: "". */
static inline bool expr_to_text(struct expr_vm *vm, const struct expr_value *value,
                                struct slice *out)
{
    if (value->type != EXPR_STRING && value->type != EXPR_CONSTANT_NAME) {
        return expr_print(vm, value, out);
    }
    *out = value->string;
    return true;
}
bool expr_is_numeric(const struct expr_value *value);
double expr_to_number(const struct expr_value *value); /* strings are parsed; others are 0 */
int64_t expr_to_int(const struct expr_value *value);   /* the same, cut to a whole number */
bool expr_equal(const struct expr_value *a, const struct expr_value *b);
/* -1, 0, 1; 2 when they have no order (an array and something else). */
int expr_compare(const struct expr_value *a, const struct expr_value *b);
/* Operators; the result takes the place of a. */
bool expr_unary(struct expr_vm *vm, enum expr_op op, struct expr_value *a);
bool expr_binary(struct expr_vm *vm, enum expr_op op, struct expr_value *a,
                 const struct expr_value *b);
/* values[0] becomes the array. */
bool expr_make_array(struct expr_vm *vm, struct expr_value *values, uint8_t count);
void expr_start(struct expr_vm *vm, const struct expr_program *program,
                const struct expr_host *host, const struct expr_trace *trace);

/* Functions by subject; the table is in expr_functions.c. */
#define EXPR_FUNCTION(name) \
    bool expr_f_##name(struct expr_vm *vm, const struct expr_value *a, struct expr_value *out);
#include "route/expr_functions.def"
#undef EXPR_FUNCTION

/* Proves bounds, stack depth and forward jumps of a program. */
MX_MUST_CHECK mx_err expr_verify(const struct expr_program *program);
