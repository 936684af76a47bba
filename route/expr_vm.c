/* Runs verified bytecode: no allocation, a bound on steps, scratch and array memory. */
#include "core/check.h"
#include "core/cursor.h"
#include "core/text.h"
#include "route/expr_private.h"

#include <math.h>

/* --- values ------------------------------------------------------------------------------------
 */

struct expr_value expr_from_bool(bool value)
{
    return (struct expr_value){.type = EXPR_INTEGER, .integer = value};
}

struct expr_value expr_from_text(struct slice text)
{
    return (struct expr_value){.type = EXPR_STRING, .string = text};
}

uint8_t *expr_scratch(struct expr_vm *vm, size_t len)
{
    if (len > EXPR_SCRATCH_BYTES - vm->scratch_used) {
        vm->failure = "the expression's values need too much memory";
        return NULL;
    }
    uint8_t *at = vm->scratch + vm->scratch_used;
    vm->scratch_used += (uint32_t)len;
    return at;
}

bool expr_fail(struct expr_vm *vm, const char *reason)
{
    vm->failure = reason;
    return false;
}

bool expr_truthy(const struct expr_value *value)
{
    switch (value->type) {
    case EXPR_STRING:
        return value->string.len > 0;
    case EXPR_INTEGER:
        return value->integer != 0;
    case EXPR_FLOAT:
        return value->number != 0;
    case EXPR_ARRAY:
        return value->array.count > 0;
    default:
        return true;
    }
}

static bool parse_number(struct slice text, double *out)
{
    bool negative = text.len > 0 && text.ptr[0] == '-';
    double value = 0, scale = 1;
    bool point = false, digits = false;
    for (size_t i = negative ? 1 : 0; i < text.len; i++) {
        if (text.ptr[i] == '.' && !point) {
            point = true;
        } else if (ascii_is_digit(text.ptr[i])) {
            value = value * 10 + (text.ptr[i] - '0');
            scale *= point ? 10 : 1;
            digits = true;
        } else {
            return false;
        }
    }
    *out = (negative ? -value : value) / scale;
    return digits;
}

bool expr_is_numeric(const struct expr_value *value)
{
    double ignored;
    return value->type == EXPR_INTEGER || value->type == EXPR_FLOAT ||
           (value->type == EXPR_STRING && parse_number(value->string, &ignored));
}

double expr_to_number(const struct expr_value *value)
{
    double number = 0;
    switch (value->type) {
    case EXPR_INTEGER:
        return (double)value->integer;
    case EXPR_FLOAT:
        return value->number;
    case EXPR_STRING:
        return parse_number(value->string, &number) ? number : 0;
    default:
        return 0;
    }
}

static void put_float(struct writer *w, double number)
{
    static const double most = 1e18; /* also for what is not a number, or without end */
    double size = fabs(number) < most ? fabs(number) : most;
    uint64_t whole = (uint64_t)size;
    uint64_t millionths = (uint64_t)((size - (double)whole) * 1e6 + 0.5);
    if (millionths == 1000000) {
        whole++;
        millionths = 0;
    }
    if (number < 0) {
        put_char(w, '-');
    }
    put_decimal(w, whole);
    put_char(w, '.');
    put_decimal_padded(w, millionths, 6);
}

bool expr_to_text(struct expr_vm *vm, const struct expr_value *value, struct slice *out)
{
    if (value->type == EXPR_STRING || value->type == EXPR_CONSTANT_NAME) {
        *out = value->string;
        return true;
    }
    uint8_t *at = expr_scratch(vm, 32);
    if (at == NULL) {
        return false;
    }
    struct writer w = writer_init(at, 32);
    if (value->type == EXPR_FLOAT) {
        put_float(&w, value->number);
    } else if (value->type == EXPR_INTEGER) {
        if (value->integer < 0) {
            put_char(&w, '-');
        }
        put_decimal(&w,
                    value->integer < 0 ? 0 - (uint64_t)value->integer : (uint64_t)value->integer);
    }
    *out = writer_slice(&w);
    return true;
}

/* --- operators ---------------------------------------------------------------------------------
 */

static bool both_integers(const struct expr_value *a, const struct expr_value *b)
{
    return a->type == EXPR_INTEGER && b->type == EXPR_INTEGER;
}

static int64_t saturate(enum expr_op op, int64_t a, int64_t b)
{
    int64_t result;
    bool over = op == OP_ADD        ? __builtin_add_overflow(a, b, &result)
                : op == OP_SUBTRACT ? __builtin_sub_overflow(a, b, &result)
                                    : __builtin_mul_overflow(a, b, &result);
    if (!over) {
        return result;
    }
    bool negative = op == OP_MULTIPLY ? (a < 0) != (b < 0) : op == OP_ADD ? b < 0 : b > 0;
    return negative ? INT64_MIN : INT64_MAX;
}

static bool concatenate(struct expr_vm *vm, struct expr_value *a, const struct expr_value *b)
{
    struct slice left, right;
    if (!expr_to_text(vm, a, &left) || !expr_to_text(vm, b, &right)) {
        return false;
    }
    if (left.len == 0) { /* "" + x is x */
        *a = *b;
        return true;
    }
    uint8_t *at = expr_scratch(vm, left.len + right.len);
    if (at == NULL) {
        return false;
    }
    memcpy(at, left.ptr, left.len);
    if (right.len > 0) {
        memcpy(at + left.len, right.ptr, right.len);
    }
    *a = expr_from_text(slice_of(at, left.len + right.len));
    return true;
}

static bool arithmetic(struct expr_vm *vm, enum expr_op op, struct expr_value *a,
                       const struct expr_value *b)
{
    if (op == OP_ADD && (a->type == EXPR_STRING || b->type == EXPR_STRING)) {
        return concatenate(vm, a, b);
    }
    if (a->type == EXPR_ARRAY || b->type == EXPR_ARRAY) {
        return expr_fail(vm, "arithmetic on an array");
    }
    if (op != OP_DIVIDE && both_integers(a, b)) {
        a->integer = saturate(op, a->integer, b->integer);
        return true;
    }
    double x = expr_to_number(a), y = expr_to_number(b);
    double result = op == OP_ADD        ? x + y
                    : op == OP_SUBTRACT ? x - y
                    : op == OP_MULTIPLY ? x * y
                    : y == 0            ? 0
                                        : x / y;
    *a = (struct expr_value){.type = EXPR_FLOAT, .number = result};
    return true;
}

static int compare_text(struct slice a, struct slice b)
{
    size_t n = mx_min_size(a.len, b.len);
    int order = n == 0 ? 0 : memcmp(a.ptr, b.ptr, n);
    return order != 0 ? order : (a.len > b.len) - (a.len < b.len);
}

static int compare(const struct expr_value *a, const struct expr_value *b)
{
    if (a->type == EXPR_STRING && b->type == EXPR_STRING) {
        return compare_text(a->string, b->string);
    }
    if (both_integers(a, b)) {
        return (a->integer > b->integer) - (a->integer < b->integer);
    }
    double x = expr_to_number(a), y = expr_to_number(b);
    return (x > y) - (x < y);
}

static bool equal(const struct expr_value *a, const struct expr_value *b)
{
    if (a->type == EXPR_CONSTANT_NAME || b->type == EXPR_CONSTANT_NAME) {
        return false; /* never equal to anything */
    }
    if (a->type != EXPR_ARRAY && b->type != EXPR_ARRAY) {
        return compare(a, b) == 0;
    }
    if (a->type != b->type || a->array.count != b->array.count) {
        return false;
    }
    for (uint32_t i = 0; i < a->array.count; i++) {
        /* Arrays hold no arrays: see make_array. */
        if (compare(&a->array.items[i], &b->array.items[i]) != 0) {
            return false;
        }
    }
    return true;
}

static bool logical(enum expr_op op, const struct expr_value *a, const struct expr_value *b)
{
    switch (op) {
    case OP_EQUAL:
        return equal(a, b);
    case OP_NOT_EQUAL:
        return !equal(a, b);
    case OP_XOR:
        return expr_truthy(a) != expr_truthy(b);
    case OP_GREATER:
        return compare(a, b) > 0;
    case OP_GREATER_EQUAL:
        return compare(a, b) >= 0;
    case OP_LESS:
        return compare(a, b) < 0;
    default:
        return compare(a, b) <= 0;
    }
}

static bool negate(struct expr_vm *vm, struct expr_value *a)
{
    if (a->type == EXPR_INTEGER) {
        a->integer = a->integer == INT64_MIN ? INT64_MAX : -a->integer;
        return true;
    }
    if (a->type == EXPR_ARRAY) {
        return expr_fail(vm, "arithmetic on an array");
    }
    *a = (struct expr_value){.type = EXPR_FLOAT, .number = -expr_to_number(a)};
    return true;
}

static bool make_array(struct expr_vm *vm, struct expr_value *values, uint8_t count)
{
    if (count > EXPR_ARRAY_MAX - vm->arrays_used) {
        return expr_fail(vm, "the expression's arrays are too large");
    }
    struct expr_value *items = &vm->arrays[vm->arrays_used];
    for (uint8_t i = 0; i < count; i++) {
        if (values[i].type == EXPR_ARRAY) {
            return expr_fail(vm, "an array inside an array");
        }
        items[i] = values[i];
    }
    vm->arrays_used += count;
    values[0] = (struct expr_value){.type = EXPR_ARRAY, .array = {items, count}};
    return true;
}

static void index_array(struct expr_value *a, const struct expr_value *index)
{
    double at = expr_to_number(index);
    bool inside = a->type == EXPR_ARRAY && at >= 0 && at < a->array.count;
    *a = inside ? a->array.items[(uint32_t)at] : expr_from_text(SLICE_EMPTY);
}

/* --- the machine -------------------------------------------------------------------------------
 */

/* Instructions with two operands. */
static bool run_binary(struct expr_vm *vm, enum expr_op op)
{
    struct expr_value *a = &vm->stack[vm->depth - 2];
    const struct expr_value *b = &vm->stack[vm->depth - 1];
    bool good = true;
    if (op == OP_INDEX) {
        index_array(a, b);
    } else if (op >= OP_MULTIPLY && op <= OP_SUBTRACT) {
        good = arithmetic(vm, op, a, b);
    } else {
        *a = expr_from_bool(logical(op, a, b));
    }
    vm->depth--;
    return good;
}

static bool run_call(struct expr_vm *vm, const struct expr_instruction *in)
{
    struct expr_value result;
    if (!expr_function_row(in->b)->run(vm, &vm->stack[vm->depth - in->a], &result)) {
        return false;
    }
    vm->depth -= in->a;
    vm->stack[vm->depth++] = result;
    return true;
}

static enum expr_status run(struct expr_vm *vm, struct expr_value *out)
{
    for (;;) {
        const struct expr_instruction *in = &vm->program->code[vm->pc++];
        struct expr_value *top = &vm->stack[vm->depth];
        bool good = true;
        if (++vm->steps > EXPR_STEPS_MAX) {
            vm->failure = "the expression takes too many steps";
            return EXPR_FAILED;
        }
        switch (in->op) {
        case OP_CONST:
            *top = vm->program->constants[in->b];
            vm->depth++;
            break;
        case OP_VARIABLE:
            vm->host->variable(vm->host->arg, (uint16_t)in->b, top);
            vm->depth++;
            break;
        case OP_CALL:
            good = run_call(vm, in);
            break;
        case OP_ARRAY:
            good = make_array(vm, top - in->a, in->a);
            vm->depth = vm->depth - in->a + 1;
            break;
        case OP_NOT:
            top[-1] = expr_from_bool(!expr_truthy(&top[-1]));
            break;
        case OP_NEGATE:
            good = negate(vm, &top[-1]);
            break;
        case OP_BOOL:
            top[-1] = expr_from_bool(expr_truthy(&top[-1]));
            break;
        case OP_AND:
        case OP_OR:
            if (expr_truthy(&top[-1]) == (in->op == OP_OR)) {
                vm->pc = in->b;
            } else {
                vm->depth--;
            }
            break;
        case OP_UNLESS:
            vm->depth--;
            vm->pc = expr_truthy(&vm->stack[vm->depth]) ? vm->pc : in->b;
            break;
        case OP_RETURN:
            *out = top[-1];
            return EXPR_DONE;
        default:
            good = run_binary(vm, (enum expr_op)in->op);
        }
        if (!good) {
            return EXPR_FAILED;
        }
    }
}

enum expr_status expr_run(struct expr_vm *vm, const struct expr_program *program,
                          const struct expr_host *host, struct expr_value *out)
{
    vm->program = program;
    vm->host = host;
    vm->pc = 0;
    vm->depth = 0;
    vm->steps = 0;
    vm->scratch_used = 0;
    vm->arrays_used = 0;
    vm->failure = NULL;
    enum expr_status status = run(vm, out);
    count_one(&vm->stats.evaluations);
    count_add(&vm->stats.steps, vm->steps);
    count_add(&vm->stats.failed, status != EXPR_DONE);
    return status;
}
