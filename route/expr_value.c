/* Values: their forms, their order, and the operators. */
#include "core/text.h"
#include "route/expr_private.h"

#include <math.h>

/* --- memory ------------------------------------------------------------------------------------
 */

bool expr_fail(struct expr_vm *vm, const char *reason)
{
    vm->failure = reason;
    return false;
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

bool expr_spend(struct expr_vm *vm, size_t steps)
{
    if (vm->steps + steps > EXPR_STEPS_MAX) {
        return expr_fail(vm, "the expression takes too many steps");
    }
    vm->steps += (uint32_t)steps;
    return true;
}

struct expr_value *expr_array(struct expr_vm *vm, size_t count)
{
    if (count > EXPR_ARRAY_MAX - vm->arrays_used) {
        vm->failure = "the expression's arrays are too large";
        return NULL;
    }
    struct expr_value *items = &vm->arrays[vm->arrays_used];
    vm->arrays_used += (uint32_t)count;
    return items;
}

bool expr_make_array(struct expr_vm *vm, struct expr_value *values, uint8_t count)
{
    struct expr_value *items = expr_array(vm, count);
    if (items == NULL) {
        return false;
    }
    for (uint8_t i = 0; i < count; i++) {
        if (values[i].type == EXPR_ARRAY) {
            return expr_fail(vm, "an array inside an array");
        }
        items[i] = values[i];
    }
    values[0] = (struct expr_value){.type = EXPR_ARRAY, .array = {items, count}};
    return true;
}

/* --- forms -------------------------------------------------------------------------------------
 */

static bool parse_float(struct slice text, double *out)
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

/* A string that is a number as that number, any other as 0; what is a number stays. */
static struct expr_value numeric(const struct expr_value *value)
{
    if (value->type == EXPR_INTEGER || value->type == EXPR_FLOAT) {
        return *value;
    }
    struct slice text = value->type == EXPR_STRING ? value->string : SLICE_EMPTY;
    bool negative = text.len > 0 && text.ptr[0] == '-';
    uint64_t whole;
    double number;
    if (text_to_u64(&whole, slice_from(text, negative)) == MX_OK && whole <= INT64_MAX) {
        return expr_from_int(negative ? -(int64_t)whole : (int64_t)whole);
    }
    if (parse_float(text, &number)) {
        return (struct expr_value){.type = EXPR_FLOAT, .number = number};
    }
    return expr_from_int(0);
}

bool expr_is_numeric(const struct expr_value *value)
{
    double ignored;
    return value->type == EXPR_INTEGER || value->type == EXPR_FLOAT ||
           (value->type == EXPR_STRING && parse_float(value->string, &ignored));
}

double expr_to_number(const struct expr_value *value)
{
    struct expr_value number = numeric(value);
    return number.type == EXPR_INTEGER ? (double)number.integer : number.number;
}

int64_t expr_to_int(const struct expr_value *value)
{
    static const double most = 9e18;
    struct expr_value number = numeric(value);
    if (number.type == EXPR_INTEGER) {
        return number.integer;
    }
    return number.number > most    ? INT64_MAX
           : number.number < -most ? INT64_MIN
           : number.number == number.number /* not for what is not a number */
               ? (int64_t)number.number
               : 0;
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

static void put_integer(struct writer *w, int64_t value)
{
    if (value < 0) {
        put_char(w, '-');
    }
    put_decimal(w, value < 0 ? 0 - (uint64_t)value : (uint64_t)value);
}

bool expr_print(struct expr_vm *vm, const struct expr_value *value, struct slice *out)
{
    if (value->type == EXPR_ARRAY) {
        *out = SLICE_EMPTY;
        return true;
    }
    uint8_t *at = expr_scratch(vm, 32);
    if (at == NULL) {
        return false;
    }
    struct writer w = writer_init(at, 32);
    if (value->type == EXPR_FLOAT) {
        put_float(&w, value->number);
    } else {
        put_integer(&w, value->integer);
    }
    *out = writer_slice(&w);
    return true;
}

bool expr_value_text(struct expr_vm *vm, const struct expr_value *value, struct slice *out)
{
    return expr_to_text(vm, value, out);
}

bool expr_keep_text(struct expr_vm *vm, struct expr_value *value, const void *from, const void *to)
{
    uintptr_t at = (uintptr_t)value->string.ptr;
    if (value->type != EXPR_STRING || value->string.len == 0 || at < (uintptr_t)from ||
        at >= (uintptr_t)to) {
        return true;
    }
    uint8_t *copy = expr_scratch(vm, value->string.len);
    if (copy == NULL) {
        return false;
    }
    memcpy(copy, value->string.ptr, value->string.len);
    value->string.ptr = copy;
    return true;
}

void put_expr_value(struct writer *w, const struct expr_value *value)
{
    switch (value->type) {
    case EXPR_STRING:
        put_char(w, '\'');
        put_slice(w, slice_first(value->string, writer_room(w) > 1 ? writer_room(w) - 1 : 0));
        put_char(w, '\'');
        break;
    case EXPR_INTEGER:
        put_integer(w, value->integer);
        break;
    case EXPR_FLOAT:
        put_float(w, value->number);
        break;
    case EXPR_ARRAY:
        put_char(w, '[');
        for (uint32_t i = 0; i < value->array.count && writer_room(w) > 2; i++) {
            put_text(w, i > 0 ? ", " : "");
            put_expr_value(w, &value->array.items[i]); /* arrays hold no arrays */
        }
        put_char(w, ']');
        break;
    default:
        put_slice(w, slice_first(value->string, writer_room(w)));
    }
}

/* --- order -------------------------------------------------------------------------------------
 */

static int compare_text(struct slice a, struct slice b)
{
    size_t n = mx_min_size(a.len, b.len);
    int order = n == 0 ? 0 : memcmp(a.ptr, b.ptr, n);
    return order != 0 ? (order > 0) - (order < 0) : (a.len > b.len) - (a.len < b.len);
}

static int compare_scalars(const struct expr_value *a, const struct expr_value *b)
{
    if (a->type == EXPR_STRING && b->type == EXPR_STRING) {
        return compare_text(a->string, b->string);
    }
    struct expr_value x = numeric(a), y = numeric(b);
    if (x.type == EXPR_INTEGER && y.type == EXPR_INTEGER) {
        return (x.integer > y.integer) - (x.integer < y.integer);
    }
    double p = expr_to_number(&x), q = expr_to_number(&y);
    return (p > q) - (p < q);
}

int expr_compare(const struct expr_value *a, const struct expr_value *b)
{
    if (a->type != EXPR_ARRAY && b->type != EXPR_ARRAY) {
        return compare_scalars(a, b);
    }
    if (a->type != b->type) {
        return 2;
    }
    uint32_t i = 0;
    while (i < a->array.count && i < b->array.count) {
        int order = compare_scalars(&a->array.items[i], &b->array.items[i]);
        if (order != 0) {
            return order;
        }
        i++;
    }
    return (a->array.count > b->array.count) - (a->array.count < b->array.count);
}

bool expr_equal(const struct expr_value *a, const struct expr_value *b)
{
    if (a->type == EXPR_CONSTANT_NAME || b->type == EXPR_CONSTANT_NAME) {
        return false; /* never equal to anything */
    }
    if (a->type != EXPR_ARRAY || b->type != EXPR_ARRAY) {
        return expr_compare(a, b) == 0;
    }
    bool same = a->array.count == b->array.count;
    for (uint32_t i = 0; same && i < a->array.count; i++) {
        same = expr_equal(&a->array.items[i], &b->array.items[i]); /* arrays hold no arrays */
    }
    return same;
}

/* --- operators ---------------------------------------------------------------------------------
 */

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

static bool is_text(const struct expr_value *value)
{
    return value->type == EXPR_STRING || value->type == EXPR_CONSTANT_NAME;
}

static bool concatenate(struct expr_vm *vm, struct expr_value *a, const struct expr_value *b)
{
    struct slice left, right;
    if (a->type == EXPR_STRING && a->string.len == 0) { /* "" + x is x */
        *a = *b;
        return true;
    }
    if (!expr_to_text(vm, a, &left) || !expr_to_text(vm, b, &right)) {
        return false;
    }
    uint8_t *at = expr_scratch(vm, left.len + right.len);
    if (at == NULL) {
        return false;
    }
    memcpy(at, left.ptr, left.len); /* a constant's name and a number are never empty */
    if (right.len > 0) {
        memcpy(at + left.len, right.ptr, right.len);
    }
    *a = expr_from_text(slice_of(at, left.len + right.len));
    return true;
}

/* An array, or a single value as one. */
static struct expr_value as_array(const struct expr_value *value)
{
    return value->type == EXPR_ARRAY ? *value
                                     : (struct expr_value){.type = EXPR_ARRAY, .array = {value, 1}};
}

static bool join_arrays(struct expr_vm *vm, struct expr_value *a, const struct expr_value *b)
{
    struct expr_value x = as_array(a), y = as_array(b);
    uint32_t count = x.array.count + y.array.count;
    struct expr_value *items = expr_array(vm, count);
    if (items == NULL || !expr_spend(vm, count / 16)) {
        return false;
    }
    for (uint32_t i = 0; i < count; i++) {
        items[i] = i < x.array.count ? x.array.items[i] : y.array.items[i - x.array.count];
    }
    *a = (struct expr_value){.type = EXPR_ARRAY, .array = {items, count}};
    return true;
}

/* Without the items that are equal to b, or to one of b's. */
static bool take_from_array(struct expr_vm *vm, struct expr_value *a, const struct expr_value *b)
{
    struct expr_value y = as_array(b);
    struct expr_value *items = expr_array(vm, a->array.count);
    uint32_t count = 0;
    if (items == NULL || !expr_spend(vm, a->array.count * (size_t)y.array.count / 16)) {
        return false;
    }
    for (uint32_t i = 0; i < a->array.count; i++) {
        bool equal = false;
        for (uint32_t k = 0; k < y.array.count && !equal; k++) {
            equal = expr_equal(&a->array.items[i], &y.array.items[k]);
        }
        if (!equal) {
            items[count++] = a->array.items[i];
        }
    }
    *a = (struct expr_value){.type = EXPR_ARRAY, .array = {items, count}};
    return true;
}

static bool arithmetic(struct expr_vm *vm, enum expr_op op, struct expr_value *a,
                       const struct expr_value *b)
{
    bool arrays = a->type == EXPR_ARRAY || b->type == EXPR_ARRAY;
    if (op == OP_ADD && arrays) {
        return join_arrays(vm, a, b);
    }
    if (op == OP_ADD && (is_text(a) || is_text(b))) {
        return concatenate(vm, a, b);
    }
    if (op == OP_SUBTRACT && a->type == EXPR_ARRAY) {
        return take_from_array(vm, a, b);
    }
    if (arrays) {
        return expr_fail(vm, "arithmetic on an array");
    }
    struct expr_value x = numeric(a), y = numeric(b);
    if (op != OP_DIVIDE && x.type == EXPR_INTEGER && y.type == EXPR_INTEGER) {
        *a = expr_from_int(saturate(op, x.integer, y.integer));
        return true;
    }
    double p = expr_to_number(&x), q = expr_to_number(&y);
    double result = op == OP_ADD        ? p + q
                    : op == OP_SUBTRACT ? p - q
                    : op == OP_MULTIPLY ? p * q
                    : q == 0            ? 0
                                        : p / q;
    *a = (struct expr_value){.type = EXPR_FLOAT, .number = result};
    return true;
}

static bool logical(enum expr_op op, const struct expr_value *a, const struct expr_value *b)
{
    switch (op) {
    case OP_EQUAL:
        return expr_equal(a, b);
    case OP_NOT_EQUAL:
        return !expr_equal(a, b);
    case OP_XOR:
        return expr_truthy(a) != expr_truthy(b);
    default:
        break;
    }
    int order = expr_compare(a, b);
    return order != 2 && (op == OP_GREATER         ? order > 0
                          : op == OP_GREATER_EQUAL ? order >= 0
                          : op == OP_LESS          ? order < 0
                                                   : order <= 0);
}

static void index_array(struct expr_value *a, const struct expr_value *index)
{
    int64_t at = expr_to_int(index);
    bool inside = a->type == EXPR_ARRAY && at >= 0 && at < a->array.count;
    *a = inside ? a->array.items[at] : expr_from_text(SLICE_EMPTY);
}

bool expr_binary(struct expr_vm *vm, enum expr_op op, struct expr_value *a,
                 const struct expr_value *b)
{
    if (op == OP_INDEX) {
        index_array(a, b);
        return true;
    }
    if (op >= OP_MULTIPLY && op <= OP_SUBTRACT) {
        return arithmetic(vm, op, a, b);
    }
    *a = expr_from_bool(logical(op, a, b));
    return true;
}

bool expr_unary(struct expr_vm *vm, enum expr_op op, struct expr_value *a)
{
    if (op != OP_NEGATE) {
        *a = expr_from_bool(expr_truthy(a) == (op == OP_BOOL));
        return true;
    }
    if (a->type == EXPR_ARRAY) {
        return expr_fail(vm, "arithmetic on an array");
    }
    struct expr_value x = numeric(a);
    *a = x.type == EXPR_FLOAT ? (struct expr_value){.type = EXPR_FLOAT, .number = -x.number}
                              : expr_from_int(x.integer == INT64_MIN ? INT64_MAX : -x.integer);
    return true;
}
