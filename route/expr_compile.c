/* Recursive descent by precedence, straight to bytecode. All checks happen here. */
#include "core/check.h"
#include "core/cursor.h"
#include "route/expr_lex.h"
#include "route/expr_private.h"

#include <stdlib.h>

enum { NESTING_MAX = 32, CODE_MAX = 65536, ARGS_MAX = 32 };

struct compiler {
    struct expr_program *program;
    struct expr_lexer lexer;
    struct expr_token token; /* looked at, not consumed */
    enum expr_context context;
    struct expr_problem *problem;
    unsigned nesting;
    bool failed;
    mx_err err;
};

static void compile_binary(struct compiler *c, unsigned level);

/* --- problems ----------------------------------------------------------------------------------
 */

static void put_found(struct writer *w, const struct expr_token *token)
{
    put_text(w, ", found ");
    if (token->kind == TOKEN_END) {
        put_text(w, "the end");
    } else {
        put_char(w, '"');
        put_slice(w, slice_first(token->text, 40));
        put_char(w, '"');
    }
}

static void fail_at(struct compiler *c, const struct expr_token *token, struct slice message,
                    bool found)
{
    if (c->failed) {
        return;
    }
    c->failed = true;
    c->err = MX_ERR_SYNTAX;
    c->problem->position = token->position;
    struct writer w = writer_init(c->problem->message, sizeof c->problem->message - 1);
    put_slice(&w, slice_first(message, writer_room(&w)));
    if (found) {
        put_found(&w, token);
    }
    c->problem->message[w.len] = '\0';
}

static void fail(struct compiler *c, const char *message)
{
    fail_at(c, &c->token, slice_of_text(message), true);
}

static void fail_limit(struct compiler *c, const char *message)
{
    fail_at(c, &c->token, slice_of_text(message), false);
    c->err = MX_ERR_LIMIT;
}

static void fail_memory(struct compiler *c)
{
    fail_at(c, &c->token, SLICE_LITERAL("out of memory"), false);
    c->err = MX_ERR_NOMEM;
}

static void advance(struct compiler *c)
{
    c->token = expr_lex_next(&c->lexer);
    if (c->token.kind == TOKEN_BAD) {
        fail(c, c->token.problem);
    }
}

static bool is_operator(const struct compiler *c, const char *op)
{
    return c->token.kind == TOKEN_OPERATOR && slice_equal(c->token.text, slice_of_text(op));
}

static void expect(struct compiler *c, const char *op, const char *message)
{
    if (!is_operator(c, op)) {
        fail(c, message);
        return;
    }
    advance(c);
}

/* --- code --------------------------------------------------------------------------------------
 */

static uint32_t emit(struct compiler *c, enum expr_op op, uint8_t a, uint32_t b)
{
    struct expr_program *p = c->program;
    if (c->failed) {
        return 0;
    }
    if (p->code_len == p->code_cap) {
        uint32_t cap = p->code_cap ? p->code_cap * 2 : 32;
        if (cap > CODE_MAX) {
            fail_limit(c, "the expression is too large");
            return 0;
        }
        struct expr_instruction *code = realloc(p->code, cap * sizeof(struct expr_instruction));
        if (code == NULL) {
            fail_memory(c);
            return 0;
        }
        p->code = code;
        p->code_cap = cap;
    }
    p->code[p->code_len] = (struct expr_instruction){.op = (uint8_t)op, .a = a, .b = b};
    return p->code_len++;
}

static void emit_const(struct compiler *c, struct expr_value value)
{
    struct expr_program *p = c->program;
    if (p->constant_count == p->constant_cap) {
        uint32_t cap = p->constant_cap ? p->constant_cap * 2 : 16;
        struct expr_value *constants = realloc(p->constants, cap * sizeof *constants);
        if (constants == NULL) {
            fail_memory(c);
            return;
        }
        p->constants = constants;
        p->constant_cap = cap;
    }
    p->constants[p->constant_count] = value;
    (void)emit(c, OP_CONST, 0, p->constant_count++);
}

static void patch(struct compiler *c, uint32_t at)
{
    if (!c->failed) {
        c->program->code[at].b = c->program->code_len;
    }
}

/* --- operands ----------------------------------------------------------------------------------
 */

static void unknown_name(struct compiler *c, const struct expr_token *name)
{
    char text[200];
    struct writer w = writer_init(text, sizeof text);
    put_text(&w, "unknown or unavailable name \"");
    put_slice(&w, slice_first(name->text, 40));
    put_text(&w, "\"; available here:");
    bool any = false;
    const struct expr_variable *row;
    for (uint16_t i = 0; (row = expr_variable_row(i)) != NULL; i++) {
        if ((row->contexts & 1u << c->context) != 0 && writer_room(&w) > strlen(row->name) + 1) {
            put_char(&w, ' ');
            put_text(&w, row->name);
            any = true;
        }
    }
    if (!any) {
        put_text(&w, " none (a constant is wanted)");
    }
    fail_at(c, name, writer_slice(&w), false);
}

static uint8_t compile_list(struct compiler *c, const char *close, const char *message)
{
    uint8_t count = 0;
    while (!c->failed && !is_operator(c, close)) {
        if (count == ARGS_MAX) {
            fail(c, "too many values in one list");
            return count;
        }
        compile_binary(c, 0);
        count++;
        if (!is_operator(c, ",")) {
            break;
        }
        advance(c);
    }
    expect(c, close, message);
    return count;
}

static void compile_call(struct compiler *c, const struct expr_token *name)
{
    uint32_t index = expr_function_find(name->text);
    const struct expr_function *f = index == UINT32_MAX ? NULL : expr_function_row(index);
    char text[128];
    struct writer w = writer_init(text, sizeof text);
    if (f == NULL || f->run == NULL) {
        put_text(&w,
                 f == NULL ? "unknown function \"" : "function not supported by this version: \"");
        put_slice(&w, slice_first(name->text, 40));
        put_char(&w, '"');
        fail_at(c, name, writer_slice(&w), false);
        return;
    }
    advance(c); /* the parenthesis */
    uint8_t argc = compile_list(c, ")", "expected \")\" or \",\" after an argument");
    if (!c->failed && argc != f->argc) {
        put_slice(&w, name->text);
        put_text(&w, "() takes ");
        put_decimal(&w, f->argc);
        put_text(&w, f->argc == 1 ? " argument, not " : " arguments, not ");
        put_decimal(&w, argc);
        fail_at(c, name, writer_slice(&w), false);
    }
    (void)emit(c, OP_CALL, argc, index);
}

static void compile_name(struct compiler *c)
{
    struct expr_token name = c->token;
    advance(c);
    if (is_operator(c, "(")) {
        compile_call(c, &name);
        return;
    }
    if (slice_equal(name.text, SLICE_LITERAL("true")) ||
        slice_equal(name.text, SLICE_LITERAL("false"))) {
        emit_const(c, expr_from_bool(name.text.len == 4));
        return;
    }
    uint16_t variable = expr_variable(name.text);
    if (variable != UINT16_MAX && (expr_variable_row(variable)->contexts & 1u << c->context) != 0) {
        (void)emit(c, OP_VARIABLE, 0, variable);
    } else if (expr_is_constant_name(name.text)) {
        emit_const(c, (struct expr_value){.type = EXPR_CONSTANT_NAME, .string = name.text});
    } else {
        unknown_name(c, &name);
    }
}

static void compile_primary(struct compiler *c)
{
    struct expr_value value;
    switch (c->token.kind) {
    case TOKEN_INTEGER:
        value = (struct expr_value){.type = EXPR_INTEGER, .integer = c->token.integer};
        break;
    case TOKEN_FLOAT:
        value = (struct expr_value){.type = EXPR_FLOAT, .number = c->token.number};
        break;
    case TOKEN_STRING:
        value = expr_from_text(c->token.text);
        break;
    case TOKEN_NAME:
        compile_name(c);
        return;
    default:
        if (is_operator(c, "(")) {
            advance(c);
            compile_binary(c, 0);
            expect(c, ")", "expected \")\"");
        } else if (is_operator(c, "[")) {
            advance(c);
            (void)emit(c, OP_ARRAY, compile_list(c, "]", "expected \"]\" or \",\""), 0);
        } else {
            fail(c, "expected a value");
        }
        return;
    }
    emit_const(c, value);
    advance(c);
}

static void compile_unary(struct compiler *c)
{
    bool negate = is_operator(c, "-");
    if (negate || is_operator(c, "!")) {
        if (++c->nesting > NESTING_MAX) {
            fail(c, "nested too deeply");
        }
        advance(c);
        if (!c->failed) {
            compile_unary(c);
        }
        c->nesting--;
        (void)emit(c, negate ? OP_NEGATE : OP_NOT, 0, 0);
        return;
    }
    compile_primary(c);
    while (!c->failed && is_operator(c, "[")) {
        advance(c);
        compile_binary(c, 0);
        expect(c, "]", "expected \"]\"");
        (void)emit(c, OP_INDEX, 0, 0);
    }
}

/* --- operators, lowest precedence first --------------------------------------------------------
 */

enum { LEVELS = 7 };

static const struct {
    const char *text;
    uint8_t level;
    uint8_t op;
} binaries[] = {
    {"||", 0, OP_OR},
    {"&&", 1, OP_AND},
    {"^", 2, OP_XOR},
    {"==", 3, OP_EQUAL},
    {"!=", 3, OP_NOT_EQUAL},
    {">", 4, OP_GREATER},
    {">=", 4, OP_GREATER_EQUAL},
    {"<", 4, OP_LESS},
    {"<=", 4, OP_LESS_EQUAL},
    {"+", 5, OP_ADD},
    {"-", 5, OP_SUBTRACT},
    {"*", 6, OP_MULTIPLY},
    {"/", 6, OP_DIVIDE},
};

static int binary_at(const struct compiler *c, unsigned level)
{
    for (size_t i = 0; i < mx_countof(binaries); i++) {
        if (binaries[i].level == level && is_operator(c, binaries[i].text)) {
            return binaries[i].op;
        }
    }
    return -1;
}

static void compile_binary(struct compiler *c, unsigned level)
{
    int op;
    if (level == LEVELS) {
        compile_unary(c);
        return;
    }
    if (++c->nesting > NESTING_MAX * LEVELS) {
        fail(c, "nested too deeply");
    }
    if (!c->failed) {
        compile_binary(c, level + 1);
    }
    while (!c->failed && (op = binary_at(c, level)) >= 0) {
        advance(c);
        bool jumps = op == OP_AND || op == OP_OR;
        uint32_t jump = jumps ? emit(c, (enum expr_op)op, 0, 0) : 0;
        compile_binary(c, level + 1);
        if (jumps) {
            (void)emit(c, OP_BOOL, 0, 0);
            patch(c, jump);
        } else {
            (void)emit(c, (enum expr_op)op, 0, 0);
        }
    }
    c->nesting--;
}

/* --- blocks ------------------------------------------------------------------------------------
 */

static void compile_text(struct compiler *c, struct slice text)
{
    c->lexer = (struct expr_lexer){.in = text};
    c->nesting = 0;
    advance(c);
    compile_binary(c, 0);
    if (!c->failed && c->token.kind != TOKEN_END) {
        fail(c, "expected an operator or the end");
    }
}

static void compile_result(struct compiler *c, struct slice text)
{
    struct expr_program *p = c->program;
    uint32_t start = p->code_len;
    compile_text(c, text);
    bool literal = !c->failed && p->code_len == start + 1 && p->code[start].op == OP_CONST;
    p->result_consts[p->result_count++] = literal ? p->code[start].b : UINT32_MAX;
    (void)emit(c, OP_RETURN, 0, 0);
}

/* One copy of all texts, so that constants may point into it for ever. */
static struct slice keep_text(struct writer *w, struct slice text)
{
    size_t at = w->len;
    put_slice(w, text);
    return slice_of(w->buf + at, text.len);
}

static size_t source_bytes(const struct expr_source *source)
{
    size_t bytes = source->otherwise.len;
    for (uint32_t i = 0; i < source->branch_count; i++) {
        bytes += source->branches[i].condition.len + source->branches[i].then.len;
    }
    return bytes;
}

static void compile_blocks(struct compiler *c, const struct expr_source *source,
                           struct writer *text)
{
    for (uint32_t i = 0; !c->failed && i < source->branch_count; i++) {
        c->problem->branch = (int32_t)i;
        c->problem->in_condition = true;
        compile_text(c, keep_text(text, source->branches[i].condition));
        uint32_t jump = emit(c, OP_UNLESS, 0, 0);
        if (!c->failed) {
            c->problem->in_condition = false;
            compile_result(c, keep_text(text, source->branches[i].then));
        }
        patch(c, jump);
    }
    if (!c->failed) {
        c->problem->branch = -1;
        c->problem->in_condition = false;
        compile_result(c, keep_text(text, source->otherwise));
    }
}

mx_err expr_compile(struct expr_program **out_program, const struct expr_source *source,
                    enum expr_context context, struct expr_problem *problem)
{
    *problem = (struct expr_problem){.branch = -1};
    struct compiler c = {.context = context, .problem = problem};
    size_t bytes = source_bytes(source);
    c.program = calloc(1, sizeof *c.program);
    uint8_t *text = malloc(bytes + 1);
    if (c.program == NULL || text == NULL) {
        free(c.program);
        free(text);
        fail_memory(&c);
        return c.err;
    }
    c.program->text = text;
    if (bytes > EXPR_SOURCE_MAX || source->branch_count > EXPR_BRANCHES_MAX) {
        fail_limit(&c, "the expression is too long or has too many branches");
    } else {
        struct writer w = writer_init(text, bytes + 1);
        compile_blocks(&c, source, &w);
    }
    mx_err verified = c.failed ? MX_OK : expr_verify(c.program);
    if (verified == MX_ERR_NOMEM) {
        fail_memory(&c);
    } else if (verified) {
        fail_limit(&c, "the expression needs too deep a stack");
    }
    if (c.failed) {
        expr_free(c.program);
        return c.err;
    }
    *out_program = c.program;
    return MX_OK;
}

void expr_free(struct expr_program *program)
{
    if (program != NULL) {
        free(program->code);
        free(program->constants);
        free(program->text);
        free(program);
    }
}

bool expr_literal_results(const struct expr_program *program,
                          void (*each)(void *arg, struct slice name), void *arg)
{
    bool all = true;
    for (uint32_t i = 0; i < program->result_count; i++) {
        uint32_t index = program->result_consts[i];
        if (index == UINT32_MAX || program->constants[index].type != EXPR_STRING) {
            all = false;
        } else {
            each(arg, program->constants[index].string);
        }
    }
    return all;
}

bool expr_constant(const struct expr_program *program, struct expr_value *out)
{
    for (uint32_t i = 0; i < program->code_len; i++) {
        const struct expr_instruction *in = &program->code[i];
        if (in->op == OP_VARIABLE || (in->op == OP_CALL && expr_function_row(in->b)->host)) {
            return false;
        }
    }
    struct expr_vm *vm = malloc(sizeof *vm);
    struct expr_host nobody = {0};
    struct expr_value value;
    bool good = vm != NULL && expr_run(vm, program, &nobody, &value) == EXPR_DONE;
    /* What lies in the vm's memory ends with it. */
    const uint8_t *scratch = vm == NULL ? NULL : vm->scratch;
    good = good && value.type != EXPR_ARRAY &&
           (value.type != EXPR_STRING || value.string.ptr < scratch ||
            value.string.ptr >= scratch + EXPR_SCRATCH_BYTES);
    free(vm);
    if (good) {
        *out = value;
    }
    return good;
}
