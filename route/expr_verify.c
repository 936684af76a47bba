#include "core/check.h"
#include "route/expr_private.h"
#include "route/lookup.h"

#include <stdlib.h>

/* How an instruction changes the stack: what it needs and the net effect. */
static bool effect(const struct expr_program *p, const struct expr_instruction *in, int *out_needs,
                   int *out_net)
{
    switch (in->op) {
    case OP_CONST:
        *out_needs = 0;
        *out_net = 1;
        return in->b < p->constant_count;
    case OP_VARIABLE:
        *out_needs = 0;
        *out_net = 1;
        return in->b <= UINT16_MAX && expr_variable_row((uint16_t)in->b) != NULL;
    case OP_CAPTURE:
        *out_needs = 0;
        *out_net = 1;
        return in->b < EXPR_CAPTURES_MAX;
    case OP_CALL:
    case OP_ASK: {
        const struct expr_function *f = expr_function_row(in->b);
        *out_needs = in->a;
        *out_net = 1 - in->a;
        return f != NULL && f->argc == in->a &&
               (in->op == OP_CALL ? f->run != NULL : f->ask != EXPR_ASK_NOTHING);
    }
    case OP_MATCH:
        *out_needs = 1;
        *out_net = 0;
        return in->b < p->regex_count;
    case OP_LOOKUP:
        *out_needs = 1;
        *out_net = 0;
        return p->lookups == NULL || in->b < lookups_count(p->lookups);
    case OP_ARRAY:
        *out_needs = in->a;
        *out_net = 1 - in->a;
        return true;
    case OP_NOT:
    case OP_NEGATE:
    case OP_BOOL:
        *out_needs = 1;
        *out_net = 0;
        return true;
    case OP_AND:
    case OP_OR:
    case OP_UNLESS:
    case OP_RETURN:
        *out_needs = 1;
        *out_net = -1;
        return true;
    default:
        *out_needs = 2;
        *out_net = -1;
        return in->op < OP_COUNT;
    }
}

static bool note(int *depths, uint32_t at, int depth)
{
    if (depths[at] >= 0 && depths[at] != depth) {
        return false;
    }
    depths[at] = depth;
    return true;
}

/* Jumps go forward only, so one pass in order sees every way to an instruction before the
 * instruction itself. */
static bool walk(const struct expr_program *p, int *depths)
{
    depths[0] = 0;
    for (uint32_t i = 0; i < p->code_len; i++) {
        const struct expr_instruction *in = &p->code[i];
        int needs, net;
        if (depths[i] < 0) {
            continue; /* never reached */
        }
        if (!effect(p, in, &needs, &net) || depths[i] < needs || depths[i] + net > EXPR_STACK_MAX) {
            return false;
        }
        bool jumps = in->op == OP_AND || in->op == OP_OR || in->op == OP_UNLESS;
        if (jumps && (in->b <= i || in->b >= p->code_len)) {
            return false;
        }
        int kept = in->op == OP_UNLESS ? depths[i] - 1 : depths[i];
        if (jumps && !note(depths, in->b, kept)) {
            return false;
        }
        if (in->op != OP_RETURN &&
            (i + 1 == p->code_len || !note(depths, i + 1, depths[i] + net))) {
            return false;
        }
    }
    return true;
}

mx_err expr_verify(const struct expr_program *program)
{
    MX_ASSERT(program->code_len > 0);
    int *depths = malloc(program->code_len * sizeof *depths);
    if (depths == NULL) {
        return MX_ERR_NOMEM;
    }
    for (uint32_t i = 0; i < program->code_len; i++) {
        depths[i] = -1;
    }
    bool good = walk(program, depths);
    free(depths);
    return good ? MX_OK : MX_ERR_LIMIT;
}
