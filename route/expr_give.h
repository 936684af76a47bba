/* Results and arguments of functions, in short. */
#pragma once

#include "route/expr_private.h"

static inline bool give_bool(struct expr_value *out, bool value)
{
    *out = expr_from_bool(value);
    return true;
}

static inline bool give_int(struct expr_value *out, size_t value)
{
    *out = expr_from_int((int64_t)value);
    return true;
}

static inline bool give_text(struct expr_value *out, struct slice text)
{
    *out = expr_from_text(text);
    return true;
}

static inline bool give_array(struct expr_value *out, const struct expr_value *items,
                              uint32_t count)
{
    *out = (struct expr_value){.type = EXPR_ARRAY, .array = {items, count}};
    return true;
}

/* Both arguments as text. */
static inline bool two_texts(struct expr_vm *vm, const struct expr_value *a, struct slice *x,
                             struct slice *y)
{
    return expr_to_text(vm, &a[0], x) && expr_to_text(vm, &a[1], y);
}

/* Where what begins in text; SIZE_MAX: nowhere. */
size_t expr_find_text(struct slice text, struct slice what);
