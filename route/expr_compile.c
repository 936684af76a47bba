/* Trees to bytecode, block by block. All checks happen before the program is given out. */
#include "core/check.h"
#include "core/cursor.h"
#include "route/expr_private.h"

#include <stdlib.h>

/* --- code --------------------------------------------------------------------------------------
 */

static bool grow_code(struct expr_compiler *c)
{
    struct expr_program *p = c->program;
    uint32_t cap = p->code_cap ? p->code_cap * 2 : 32;
    if (cap > EXPR_CODE_MAX) {
        expr_refuse(c, MX_ERR_LIMIT, 0, "the expression is too large");
        return false;
    }
    struct expr_instruction *code = realloc(p->code, cap * sizeof *code);
    p->code = code != NULL ? code : p->code;
    struct expr_where *where = realloc(p->where, cap * sizeof *where);
    p->where = where != NULL ? where : p->where;
    if (code == NULL || where == NULL) {
        expr_refuse(c, MX_ERR_NOMEM, 0, "out of memory");
        return false;
    }
    p->code_cap = cap;
    return true;
}

static uint32_t emit(struct expr_compiler *c, const struct expr_node *node, enum expr_op op,
                     uint8_t a, uint32_t b)
{
    struct expr_program *p = c->program;
    if (c->failed || (p->code_len == p->code_cap && !grow_code(c))) {
        return 0;
    }
    p->code[p->code_len] = (struct expr_instruction){.op = (uint8_t)op, .a = a, .b = b};
    p->where[p->code_len] = (struct expr_where){p->part_count - 1, node->start, node->end};
    return p->code_len++;
}

static void emit_const(struct expr_compiler *c, const struct expr_node *node)
{
    struct expr_program *p = c->program;
    if (p->constant_count == p->constant_cap) {
        uint32_t cap = p->constant_cap ? p->constant_cap * 2 : 16;
        struct expr_value *constants = realloc(p->constants, cap * sizeof *constants);
        if (constants == NULL) {
            expr_refuse(c, MX_ERR_NOMEM, node->start, "out of memory");
            return;
        }
        p->constants = constants;
        p->constant_cap = cap;
    }
    p->constants[p->constant_count] = node->value;
    (void)emit(c, node, OP_CONST, 0, p->constant_count++);
}

static void patch(struct expr_compiler *c, uint32_t at)
{
    if (!c->failed) {
        c->program->code[at].b = c->program->code_len;
    }
}

static void emit_tree(struct expr_compiler *c, const struct expr_node *node);

static void emit_operator(struct expr_compiler *c, const struct expr_node *node)
{
    bool jumps = node->op == OP_AND || node->op == OP_OR;
    emit_tree(c, node->first);
    uint32_t jump = jumps ? emit(c, node, (enum expr_op)node->op, 0, 0) : 0;
    if (node->child_count == 2) {
        emit_tree(c, node->first->next);
    }
    (void)emit(c, node, jumps ? OP_BOOL : (enum expr_op)node->op, 0, 0);
    if (jumps) {
        patch(c, jump);
    }
}

static void emit_tree(struct expr_compiler *c, const struct expr_node *node)
{
    if (node->kind == NODE_OPERATOR) {
        emit_operator(c, node);
        return;
    }
    for (const struct expr_node *child = node->first; child != NULL; child = child->next) {
        emit_tree(c, child);
    }
    uint8_t count = (uint8_t)node->child_count;
    switch (node->kind) {
    case NODE_CONST:
        emit_const(c, node);
        break;
    case NODE_VARIABLE:
        (void)emit(c, node, OP_VARIABLE, 0, node->index);
        break;
    case NODE_CAPTURE:
        (void)emit(c, node, OP_CAPTURE, 0, node->index);
        break;
    case NODE_MATCH:
        (void)emit(c, node, OP_MATCH, 0, node->index);
        break;
    case NODE_LOOKUP:
        (void)emit(c, node, OP_LOOKUP, node->op, node->index);
        break;
    case NODE_ARRAY:
        (void)emit(c, node, OP_ARRAY, count, 0);
        break;
    default:
        (void)emit(c, node, expr_function_row(node->index)->ask ? OP_ASK : OP_CALL, count,
                   node->index);
    }
}

/* --- blocks ------------------------------------------------------------------------------------
 */

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

/* Code for one text; the instruction `last` ends it. Returns its place. */
static uint32_t compile_part(struct expr_compiler *c, struct writer *text, struct slice source,
                             enum expr_op last)
{
    struct expr_program *p = c->program;
    if (c->failed) {
        return 0;
    }
    struct slice kept = keep_text(text, source);
    p->parts[p->part_count++] = kept;
    struct expr_node *node = expr_parse(c, kept);
    if (node == NULL) {
        return 0;
    }
    uint32_t start = p->code_len;
    emit_tree(c, node);
    if (last == OP_RETURN && !c->failed) {
        bool literal = node->kind == NODE_CONST;
        p->result_consts[p->result_count++] = literal ? p->code[start].b : UINT32_MAX;
    }
    uint32_t at = emit(c, node, last, 0, 0);
    expr_memory_free(&c->tree);
    return at;
}

static void compile_blocks(struct expr_compiler *c, const struct expr_source *source,
                           struct writer *text)
{
    for (uint32_t i = 0; !c->failed && i < source->branch_count; i++) {
        c->problem->branch = (int32_t)i;
        c->problem->in_condition = true;
        uint32_t jump = compile_part(c, text, source->branches[i].condition, OP_UNLESS);
        if (!c->failed) {
            c->problem->in_condition = false;
            (void)compile_part(c, text, source->branches[i].then, OP_RETURN);
        }
        patch(c, jump);
    }
    if (!c->failed) {
        c->problem->branch = -1;
        c->problem->in_condition = false;
        (void)compile_part(c, text, source->otherwise, OP_RETURN);
    }
}

static bool make_room(struct expr_compiler *c, const struct expr_source *source, size_t bytes)
{
    c->program = calloc(1, sizeof *c->program);
    c->vm = malloc(sizeof *c->vm);
    if (c->program != NULL) {
        c->program->text = malloc(bytes + 1);
        c->program->parts = calloc(2 * (size_t)source->branch_count + 1, sizeof(struct slice));
    }
    return c->vm != NULL && c->program != NULL && c->program->text != NULL &&
           c->program->parts != NULL;
}

static void verify(struct expr_compiler *c)
{
    mx_err err = expr_verify(c->program);
    if (err) {
        expr_refuse(c, err, 0,
                    err == MX_ERR_NOMEM ? "out of memory"
                                        : "the expression needs too deep a stack");
    }
}

mx_err expr_compile_in(struct expr_program **out_program, const struct expr_source *source,
                       enum expr_context context, const struct expr_environment *environment,
                       struct expr_problem *problem)
{
    *problem = (struct expr_problem){.branch = -1};
    struct expr_compiler c = {.context = context, .environment = environment, .problem = problem};
    size_t bytes = source_bytes(source);
    if (bytes > EXPR_SOURCE_MAX || source->branch_count > EXPR_BRANCHES_MAX) {
        expr_refuse(&c, MX_ERR_LIMIT, 0, "the expression is too long or has too many branches");
    } else if (!make_room(&c, source, bytes)) {
        expr_refuse(&c, MX_ERR_NOMEM, 0, "out of memory");
    } else {
        struct writer w = writer_init(c.program->text, bytes + 1);
        c.program->lookups = environment->lookups;
        compile_blocks(&c, source, &w);
    }
    if (!c.failed) {
        verify(&c);
    }
    expr_memory_free(&c.tree);
    free(c.vm);
    if (c.failed) {
        expr_free(c.program);
        return c.err;
    }
    *out_program = c.program;
    return MX_OK;
}

mx_err expr_compile(struct expr_program **out_program, const struct expr_source *source,
                    enum expr_context context, struct expr_problem *problem)
{
    struct expr_environment environment = {.asks = expr_context_row(context)->asks};
    return expr_compile_in(out_program, source, context, &environment, problem);
}

void expr_free(struct expr_program *program)
{
    if (program == NULL) {
        return;
    }
    for (uint32_t i = 0; i < program->regex_count; i++) {
        expr_regex_free(program->regexes[i]);
    }
    expr_memory_free(&program->memory);
    free(program->regexes);
    free(program->code);
    free(program->where);
    free(program->constants);
    free(program->parts);
    free(program->text);
    free(program);
}

/* --- what is known of a program ----------------------------------------------------------------
 */

struct slice expr_part_text(const struct expr_program *program, uint32_t part)
{
    MX_ASSERT(part < program->part_count);
    return program->parts[part];
}

uint32_t expr_part_count(const struct expr_program *program)
{
    return program->part_count;
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

bool expr_known_results(const struct expr_program *program,
                        void (*each)(void *arg, const struct expr_value *value), void *arg)
{
    bool all = true;
    for (uint32_t i = 0; i < program->result_count; i++) {
        uint32_t index = program->result_consts[i];
        all = all && index != UINT32_MAX;
        if (index != UINT32_MAX) {
            each(arg, &program->constants[index]);
        }
    }
    return all;
}

/* Conditions and results that depend on nothing are constants since they were folded. */
bool expr_constant(const struct expr_program *program, struct expr_value *out)
{
    uint32_t pc = 0;
    while (pc + 1 < program->code_len && program->code[pc].op == OP_CONST) {
        const struct expr_value *value = &program->constants[program->code[pc].b];
        if (program->code[pc + 1].op == OP_RETURN) {
            *out = *value;
            return value->type != EXPR_ARRAY;
        }
        if (program->code[pc + 1].op != OP_UNLESS) {
            return false;
        }
        pc = expr_truthy(value) ? pc + 2 : program->code[pc + 1].b;
    }
    return false;
}
