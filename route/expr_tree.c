/* Nodes of the tree. A node whose operands are all known becomes a constant at once, by the code
 * that would run it. */
#include "core/check.h"
#include "route/expr_private.h"

#include <stdlib.h>

enum { BLOCK_BYTES = 8192 };

struct expr_block {
    struct expr_block *next;
    size_t used, size;
    _Alignas(16) uint8_t bytes[];
};

void *expr_memory_take(struct expr_memory *memory, size_t bytes)
{
    struct expr_block *block = memory->blocks;
    bytes = mx_round_up(bytes + (bytes == 0), 16);
    if (block == NULL || bytes > block->size - block->used) {
        size_t size = mx_max_size(bytes, BLOCK_BYTES);
        block = calloc(1, sizeof *block + size);
        if (block == NULL) {
            return NULL;
        }
        block->size = size;
        block->next = memory->blocks;
        memory->blocks = block;
    }
    void *at = block->bytes + block->used;
    block->used += bytes;
    return at;
}

void expr_memory_free(struct expr_memory *memory)
{
    while (memory->blocks != NULL) {
        struct expr_block *block = memory->blocks;
        memory->blocks = block->next;
        free(block);
    }
}

void expr_refuse(struct expr_compiler *c, mx_err err, uint32_t position, const char *message)
{
    if (c->failed) {
        return;
    }
    c->failed = true;
    c->err = err;
    c->problem->position = position;
    struct slice text = slice_first(slice_of_text(message), EXPR_MESSAGE_MAX - 1);
    memcpy(c->problem->message, text.ptr, text.len);
    c->problem->message[text.len] = '\0';
}

/* --- folding -----------------------------------------------------------------------------------
 */

/* Copies what lies in the VM's memory into the program's. */
static bool keep(struct expr_program *program, struct expr_value *value)
{
    if (value->type == EXPR_STRING && value->string.len > 0) {
        uint8_t *copy = expr_memory_take(&program->memory, value->string.len);
        if (copy == NULL) {
            return false;
        }
        memcpy(copy, value->string.ptr, value->string.len);
        value->string.ptr = copy;
    } else if (value->type == EXPR_ARRAY && value->array.count > 0) {
        uint32_t count = value->array.count;
        struct expr_value *items = expr_memory_take(&program->memory, count * sizeof *items);
        if (items == NULL) {
            return false;
        }
        memcpy(items, value->array.items, count * sizeof *items);
        value->array.items = items;
        for (uint32_t i = 0; i < count; i++) { /* holds no arrays */
            if (!keep(program, &items[i])) {
                return false;
            }
        }
    }
    return true;
}

static void be_known(struct expr_node *node, struct expr_value value)
{
    node->kind = NODE_CONST;
    node->value = value;
    node->first = NULL;
    node->child_count = 0;
    node->height = 1;
}

bool expr_all_known(const struct expr_node *node)
{
    for (const struct expr_node *child = node->first; child != NULL; child = child->next) {
        if (child->kind != NODE_CONST) {
            return false;
        }
    }
    return true;
}

/* However many there are: they need not be on the stack together. */
static void fold_array(struct expr_compiler *c, struct expr_node *node)
{
    struct expr_value *items =
        expr_memory_take(&c->program->memory, node->child_count * sizeof *items);
    uint32_t count = 0;
    if (items == NULL) {
        expr_refuse(c, MX_ERR_NOMEM, node->start, "out of memory");
        return;
    }
    for (const struct expr_node *child = node->first; child != NULL; child = child->next) {
        if (child->value.type == EXPR_ARRAY) {
            expr_refuse(c, MX_ERR_SYNTAX, child->start, "an array inside an array");
            return;
        }
        items[count++] = child->value;
    }
    be_known(node, (struct expr_value){.type = EXPR_ARRAY, .array = {items, count}});
}

static bool is_pure(const struct expr_node *node)
{
    return node->kind == NODE_OPERATOR ||
           (node->kind == NODE_CALL && expr_function_row(node->index)->run != NULL &&
            !expr_function_row(node->index)->host);
}

/* Works a node out whose operands lie on the stack; the result takes the place of the first. */
static bool work_out(struct expr_vm *vm, const struct expr_node *node, uint8_t count)
{
    if (node->kind == NODE_CALL) {
        struct expr_value result;
        bool good = expr_function_row(node->index)->run(vm, vm->stack, &result);
        vm->stack[0] = good ? result : vm->stack[0];
        return good;
    }
    return count == 1 ? expr_unary(vm, (enum expr_op)node->op, &vm->stack[0])
                      : expr_binary(vm, (enum expr_op)node->op, &vm->stack[0], &vm->stack[1]);
}

static void fold(struct expr_compiler *c, struct expr_node *node)
{
    struct expr_vm *vm = c->vm;
    uint8_t count = 0;
    expr_start(vm, c->program, NULL, NULL);
    for (const struct expr_node *child = node->first; child != NULL; child = child->next) {
        vm->stack[count++] = child->value;
    }
    if (!work_out(vm, node, count)) {
        expr_refuse(c, MX_ERR_SYNTAX, node->start, vm->failure);
    } else if (!keep(c->program, &vm->stack[0])) {
        expr_refuse(c, MX_ERR_NOMEM, node->start, "out of memory");
    } else {
        be_known(node, vm->stack[0]);
    }
}

/* "known && x" and "known || x": the result is what is known, or the truth of x. */
static struct expr_node *fold_left(struct expr_compiler *c, struct expr_node *node)
{
    struct expr_node *left = node->first, *right = left->next;
    if (expr_truthy(&left->value) == (node->op == OP_OR)) {
        left->next = NULL;
        return left;
    }
    return expr_node(c, (struct expr_node){.kind = NODE_OPERATOR,
                                           .op = OP_BOOL,
                                           .start = node->start,
                                           .end = node->end,
                                           .first = right,
                                           .child_count = 1});
}

struct expr_node *expr_node(struct expr_compiler *c, struct expr_node node)
{
    bool logical = node.kind == NODE_OPERATOR && (node.op == OP_AND || node.op == OP_OR);
    if (c->failed) {
        return NULL;
    }
    if (logical && node.first->kind == NODE_CONST) {
        return fold_left(c, &node);
    }
    node.height = 1;
    for (const struct expr_node *child = node.first; child != NULL; child = child->next) {
        node.height = (uint32_t)mx_max_size(node.height, child->height + 1u);
    }
    if (node.height > EXPR_HEIGHT_MAX) {
        expr_refuse(c, MX_ERR_LIMIT, node.start, "the expression is too large");
    } else if (node.kind == NODE_ARRAY && expr_all_known(&node)) {
        fold_array(c, &node);
    } else if (!logical && is_pure(&node) && expr_all_known(&node)) {
        fold(c, &node);
    }
    struct expr_node *made = c->failed ? NULL : expr_memory_take(&c->tree, sizeof *made);
    if (made == NULL) {
        expr_refuse(c, MX_ERR_NOMEM, node.start, "out of memory");
        return NULL;
    }
    *made = node;
    return made;
}
