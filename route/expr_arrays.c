/* Functions about arrays. A value that is no array counts as one with that item. */
#include "route/expr_give.h"

static struct expr_value as_array(const struct expr_value *value)
{
    return value->type == EXPR_ARRAY ? *value
                                     : (struct expr_value){.type = EXPR_ARRAY, .array = {value, 1}};
}

static bool is_empty(const struct expr_value *value)
{
    return value->type == EXPR_STRING && value->string.len == 0;
}

bool expr_f_count(struct expr_vm *vm, const struct expr_value *a, struct expr_value *out)
{
    (void)vm;
    return give_int(out, a->type == EXPR_ARRAY ? a->array.count : !is_empty(a));
}

/* Is the text among the texts of the items? */
static bool has_text(struct expr_vm *vm, const struct expr_value *items, uint32_t count,
                     struct slice what, bool *out)
{
    *out = false;
    if (!expr_spend(vm, count / 8)) {
        return false;
    }
    for (uint32_t i = 0; i < count && !*out; i++) {
        struct slice item;
        uint32_t used = vm->scratch_used;
        if (!expr_to_text(vm, &items[i], &item)) {
            return false;
        }
        *out = slice_equal(item, what);
        vm->scratch_used = used; /* a number's text is not needed any more */
    }
    return true;
}

bool expr_f_contains(struct expr_vm *vm, const struct expr_value *a, struct expr_value *out)
{
    struct slice x, y;
    bool found;
    if (a[0].type == EXPR_ARRAY) {
        return expr_to_text(vm, &a[1], &y) &&
               has_text(vm, a[0].array.items, a[0].array.count, y, &found) && give_bool(out, found);
    }
    return two_texts(vm, a, &x, &y) && expr_spend(vm, x.len / 64) &&
           give_bool(out, expr_find_text(x, y) != SIZE_MAX);
}

bool expr_f_is_intersect(struct expr_vm *vm, const struct expr_value *a, struct expr_value *out)
{
    struct expr_value x = as_array(&a[0]), y = as_array(&a[1]);
    bool found = false;
    for (uint32_t i = 0; i < x.array.count && !found; i++) {
        struct slice item;
        uint32_t used = vm->scratch_used;
        if (!expr_to_text(vm, &x.array.items[i], &item) ||
            !has_text(vm, y.array.items, y.array.count, item, &found)) {
            return false;
        }
        vm->scratch_used = used;
    }
    return give_bool(out, found);
}

bool expr_f_dedup(struct expr_vm *vm, const struct expr_value *a, struct expr_value *out)
{
    struct expr_value x = as_array(a);
    struct expr_value *items = expr_array(vm, x.array.count);
    uint32_t count = 0;
    if (items == NULL) {
        return false;
    }
    for (uint32_t i = 0; i < x.array.count; i++) {
        struct slice item;
        bool found;
        uint32_t used = vm->scratch_used;
        if (!expr_to_text(vm, &x.array.items[i], &item) ||
            !has_text(vm, items, count, item, &found)) {
            return false;
        }
        vm->scratch_used = used;
        if (!found) {
            items[count++] = x.array.items[i];
        }
    }
    return give_array(out, items, count);
}

bool expr_f_winnow(struct expr_vm *vm, const struct expr_value *a, struct expr_value *out)
{
    struct expr_value x = as_array(a);
    struct expr_value *items = expr_array(vm, x.array.count);
    uint32_t count = 0;
    if (items == NULL) {
        return false;
    }
    for (uint32_t i = 0; i < x.array.count; i++) {
        if (!is_empty(&x.array.items[i])) {
            items[count++] = x.array.items[i];
        }
    }
    return give_array(out, items, count);
}

/* The place for an item among the first count that are in order; behind its equals. */
static uint32_t place_of(const struct expr_value *items, uint32_t count,
                         const struct expr_value *item, bool ascending)
{
    uint32_t low = 0, high = count;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        int order = expr_compare(item, &items[middle]);
        if (ascending ? order < 0 : order > 0) {
            high = middle;
        } else {
            low = middle + 1;
        }
    }
    return low;
}

bool expr_f_sort(struct expr_vm *vm, const struct expr_value *a, struct expr_value *out)
{
    struct expr_value x = as_array(&a[0]);
    struct expr_value *items = expr_array(vm, x.array.count);
    if (items == NULL || !expr_spend(vm, x.array.count)) {
        return false;
    }
    for (uint32_t i = 0; i < x.array.count; i++) {
        struct expr_value item = x.array.items[i];
        uint32_t at = place_of(items, i, &item, expr_truthy(&a[1]));
        memmove(&items[at + 1], &items[at], (i - at) * sizeof *items);
        items[at] = item;
    }
    return give_array(out, items, x.array.count);
}
