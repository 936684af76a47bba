/* Runs verified bytecode: no allocation, a bound on steps, scratch and array memory. */
#include "core/check.h"
#include "route/expr_private.h"
#include "route/lookup.h"

static bool call(struct expr_vm *vm, const struct expr_instruction *in)
{
    struct expr_value result;
    if (!expr_function_row(in->b)->run(vm, &vm->stack[vm->depth - in->a], &result)) {
        return false;
    }
    vm->depth -= in->a;
    vm->stack[vm->depth++] = result;
    return true;
}

static bool match(struct expr_vm *vm, uint32_t regex, struct expr_value *top)
{
    struct slice subject;
    bool found;
    if (!expr_to_text(vm, top, &subject) ||
        !expr_regex_search(vm, vm->program->regexes[regex], subject, &found)) {
        return false;
    }
    *top = expr_from_bool(found);
    return true;
}

static bool look_up(struct expr_vm *vm, const struct expr_instruction *in, struct expr_value *top)
{
    const struct lookups *lookups = vm->program->lookups;
    struct slice key;
    if (lookups == NULL) {
        return expr_fail(vm, "the lists are not known");
    }
    if (!expr_to_text(vm, top, &key) || !expr_spend(vm, lookups_steps(lookups, in->b, key.len))) {
        return false;
    }
    const struct lookup_row *row = lookups_get(lookups, in->b, key);
    *top = in->a != 0       ? expr_from_bool(row != NULL)
           : row == NULL    ? expr_from_text(SLICE_EMPTY)
           : row->has_value ? expr_from_text(row->value)
                            : expr_from_int(1);
    return true;
}

/* The answer takes the place of the arguments. */
static enum expr_status ask(struct expr_vm *vm, const struct expr_instruction *in)
{
    const struct expr_function *f = expr_function_row(in->b);
    struct expr_value answer;
    vm->question = (struct expr_question){.kind = f->ask,
                                          .function = f->name,
                                          .changes = f->changes,
                                          .args = &vm->stack[vm->depth - in->a],
                                          .argc = in->a};
    switch (vm->host->ask(vm->host->arg, &vm->question, &answer, &vm->failure)) {
    case EXPR_ANSWERED:
        vm->depth -= in->a;
        vm->stack[vm->depth++] = answer;
        return EXPR_DONE;
    case EXPR_LATER:
        return EXPR_WAITING;
    default:
        return EXPR_FAILED;
    }
}

static void trace(struct expr_vm *vm, const struct expr_instruction *in)
{
    uint32_t at = (uint32_t)(in - vm->program->code);
    const struct expr_where *where = &vm->program->where[at];
    if ((in->op == OP_AND || in->op == OP_OR) && vm->pc == at + 1) {
        return; /* popped: the right side decides */
    }
    struct expr_step step = {.part = where->part,
                             .start = where->start,
                             .end = where->end,
                             .decides = in->op == OP_UNLESS,
                             .result = in->op == OP_RETURN,
                             /* What OP_UNLESS popped is still there. */
                             .value = &vm->stack[vm->depth - (in->op != OP_UNLESS)]};
    vm->trace->step(vm->trace->arg, &step);
}

/* Instructions that do not jump. */
static inline __attribute__((always_inline)) bool step(struct expr_vm *vm,
                                                       const struct expr_instruction *in)
{
    struct expr_value *top = &vm->stack[vm->depth];
    switch (in->op) {
    case OP_CONST:
        *top = vm->program->constants[in->b];
        vm->depth++;
        return true;
    case OP_VARIABLE:
        vm->host->variable(vm->host->arg, (uint16_t)in->b, top);
        vm->depth++;
        return vm->failure == NULL; /* no room for an array */
    case OP_CAPTURE:
        *top = expr_from_text(in->b < vm->capture_count ? vm->captures[in->b] : SLICE_EMPTY);
        vm->depth++;
        return true;
    case OP_CALL:
        return call(vm, in);
    case OP_MATCH:
        return match(vm, in->b, &top[-1]);
    case OP_LOOKUP:
        return look_up(vm, in, &top[-1]);
    case OP_ARRAY:
        vm->depth = vm->depth - in->a + 1;
        return expr_make_array(vm, top - in->a, in->a);
    case OP_NOT:
    case OP_NEGATE:
    case OP_BOOL:
        return expr_unary(vm, (enum expr_op)in->op, &top[-1]);
    default:
        vm->depth--;
        return expr_binary(vm, (enum expr_op)in->op, &top[-2], &top[-1]);
    }
}

static inline __attribute__((always_inline)) enum expr_status
run(struct expr_vm *vm, struct expr_value *out, const bool traced)
{
    for (;;) {
        const struct expr_instruction *in = &vm->program->code[vm->pc++];
        enum expr_status status = EXPR_DONE;
        if (MX_UNLIKELY(++vm->steps > EXPR_STEPS_MAX)) {
            (void)expr_fail(vm, "the expression takes too many steps");
            return EXPR_FAILED;
        }
        switch (in->op) {
        case OP_AND:
        case OP_OR:
            if (expr_truthy(&vm->stack[vm->depth - 1]) == (in->op == OP_OR)) {
                vm->pc = in->b;
            } else {
                vm->depth--;
            }
            break;
        case OP_UNLESS:
            vm->depth--;
            vm->pc = expr_truthy(&vm->stack[vm->depth]) ? vm->pc : in->b;
            break;
        case OP_ASK:
            status = ask(vm, in);
            break;
        case OP_RETURN:
            break;
        default:
            status = step(vm, in) ? EXPR_DONE : EXPR_FAILED;
        }
        if (status != EXPR_DONE) {
            return status;
        }
        if (traced) {
            trace(vm, in);
        }
        if (in->op == OP_RETURN) {
            *out = vm->stack[vm->depth - 1];
            return EXPR_DONE;
        }
    }
}

static enum expr_status go_on(struct expr_vm *vm, struct expr_value *out)
{
    enum expr_status status = vm->trace != NULL ? run(vm, out, true) : run(vm, out, false);
    if (status != EXPR_WAITING) {
        count_one(&vm->stats.evaluations);
        count_add(&vm->stats.steps, vm->steps);
        count_add(&vm->stats.failed, status != EXPR_DONE);
    }
    return status;
}

void expr_start(struct expr_vm *vm, const struct expr_program *program,
                const struct expr_host *host, const struct expr_trace *traced)
{
    vm->program = program;
    vm->host = host;
    vm->trace = traced;
    vm->pc = 0;
    vm->depth = 0;
    vm->steps = 0;
    vm->scratch_used = 0;
    vm->arrays_used = 0;
    vm->capture_count = 0;
    vm->failure = NULL;
}

enum expr_status expr_run(struct expr_vm *vm, const struct expr_program *program,
                          const struct expr_host *host, const struct expr_trace *traced,
                          struct expr_value *out)
{
    expr_start(vm, program, host, traced);
    return go_on(vm, out);
}

/* Into the VM's memory. */
static bool copy_answer(struct expr_vm *vm, struct expr_value *value)
{
    if (value->type == EXPR_STRING && value->string.len > 0) {
        uint8_t *copy = expr_scratch(vm, value->string.len);
        if (copy == NULL) {
            return false;
        }
        memcpy(copy, value->string.ptr, value->string.len);
        value->string.ptr = copy;
    } else if (value->type == EXPR_ARRAY) {
        struct expr_value *items = expr_array(vm, value->array.count);
        for (uint32_t i = 0; items != NULL && i < value->array.count; i++) {
            items[i] = value->array.items[i];
            if (items[i].type == EXPR_ARRAY) {
                return expr_fail(vm, "an array inside an array");
            }
            if (!copy_answer(vm, &items[i])) {
                return false;
            }
        }
        value->array.items = items;
        return items != NULL;
    }
    return true;
}

enum expr_status expr_resume(struct expr_vm *vm, const struct expr_value *answer,
                             const char *reason, struct expr_value *out)
{
    const struct expr_instruction *in = &vm->program->code[vm->pc - 1];
    MX_ASSERT(in->op == OP_ASK);
    if (answer == NULL) {
        vm->failure = reason;
        return EXPR_FAILED;
    }
    struct expr_value value = *answer;
    if (!copy_answer(vm, &value)) {
        return EXPR_FAILED;
    }
    vm->depth -= in->a;
    vm->stack[vm->depth++] = value;
    if (vm->trace != NULL) {
        trace(vm, in);
    }
    return go_on(vm, out);
}

bool expr_uses(const struct expr_program *program, uint16_t variable)
{
    for (uint32_t pc = 0; pc < program->code_len; pc++) {
        if (program->code[pc].op == OP_VARIABLE && program->code[pc].b == variable) {
            return true;
        }
    }
    return false;
}

bool expr_asks(const struct expr_program *program)
{
    for (uint32_t pc = 0; pc < program->code_len; pc++) {
        if (program->code[pc].op == OP_ASK) {
            return true;
        }
    }
    return false;
}

bool expr_changes(const struct expr_program *program)
{
    for (uint32_t pc = 0; pc < program->code_len; pc++) {
        if (program->code[pc].op == OP_ASK && expr_function_row(program->code[pc].b)->changes) {
            return true;
        }
    }
    return false;
}
