/* The functions of the language. One row per function; a row without code is known and refused by
 * name. */
#include "core/netaddr.h"
#include "core/text.h"
#include "route/expr_private.h"

typedef const struct expr_value *args;

static bool give_bool(struct expr_value *out, bool value)
{
    *out = expr_from_bool(value);
    return true;
}

static bool give_int(struct expr_value *out, uint64_t value)
{
    *out = (struct expr_value){.type = EXPR_INTEGER, .integer = (int64_t)value};
    return true;
}

static bool give_text(struct expr_value *out, struct slice text)
{
    *out = expr_from_text(text);
    return true;
}

/* Both arguments as text. */
static bool two_texts(struct expr_vm *vm, args a, struct slice *x, struct slice *y)
{
    return expr_to_text(vm, &a[0], x) && expr_to_text(vm, &a[1], y);
}

static size_t find_text(struct slice in, struct slice what, bool nocase)
{
    for (size_t i = 0; i + what.len <= in.len; i++) {
        struct slice part = slice_first(slice_from(in, i), what.len);
        if (nocase ? text_equal_nocase(part, what) : slice_equal(part, what)) {
            return i;
        }
    }
    return SIZE_MAX;
}

/* --- addresses and hosts -----------------------------------------------------------------------
 */

static bool f_is_local_domain(struct expr_vm *vm, args a, struct expr_value *out)
{
    struct slice s;
    return expr_to_text(vm, &a[0], &s) &&
           give_bool(out, vm->host->is_local_domain(vm->host->arg, s));
}

static bool f_is_local_address(struct expr_vm *vm, args a, struct expr_value *out)
{
    struct slice s;
    return expr_to_text(vm, &a[0], &s) &&
           give_bool(out, vm->host->is_local_address(vm->host->arg, s));
}

static bool f_system(struct expr_vm *vm, args a, struct expr_value *out)
{
    struct slice s;
    return expr_to_text(vm, &a[0], &s) && give_text(out, vm->host->system(vm->host->arg, s));
}

static size_t last_at(struct slice s)
{
    size_t at = s.len;
    while (at > 0 && s.ptr[at - 1] != '@') {
        at--;
    }
    return at;
}

static bool f_is_email(struct expr_vm *vm, args a, struct expr_value *out)
{
    struct slice s;
    if (!expr_to_text(vm, &a[0], &s)) {
        return false;
    }
    size_t at = last_at(s);
    return give_bool(out, at > 1 && at < s.len);
}

static bool f_email_part(struct expr_vm *vm, args a, struct expr_value *out)
{
    struct slice s, part;
    if (!two_texts(vm, a, &s, &part)) {
        return false;
    }
    size_t at = last_at(s);
    if (at == 0) {
        return give_text(out, SLICE_EMPTY);
    }
    bool local = slice_equal(part, SLICE_LITERAL("local"));
    return give_text(out, local ? slice_first(s, at - 1) : slice_from(s, at));
}

static bool ip_of_family(struct expr_vm *vm, args a, struct expr_value *out, uint8_t family)
{
    struct slice s;
    struct netaddr addr;
    return expr_to_text(vm, &a[0], &s) &&
           give_bool(out,
                     netaddr_parse(&addr, s) == MX_OK && (family == 0 || addr.family == family));
}

static bool f_is_ip_addr(struct expr_vm *vm, args a, struct expr_value *out)
{
    return ip_of_family(vm, a, out, 0);
}

static bool f_is_ipv4_addr(struct expr_vm *vm, args a, struct expr_value *out)
{
    return ip_of_family(vm, a, out, 4);
}

static bool f_is_ipv6_addr(struct expr_vm *vm, args a, struct expr_value *out)
{
    return ip_of_family(vm, a, out, 6);
}

static bool f_is_ip_in_cidr(struct expr_vm *vm, args a, struct expr_value *out)
{
    struct slice ip, network;
    struct netaddr addr;
    struct netmask mask;
    return two_texts(vm, a, &ip, &network) &&
           give_bool(out, netaddr_parse(&addr, ip) == MX_OK &&
                              netmask_parse(&mask, network) == MX_OK &&
                              netmask_contains(&mask, &addr));
}

/* --- text --------------------------------------------------------------------------------------
 */

static bool f_is_empty(struct expr_vm *vm, args a, struct expr_value *out)
{
    (void)vm;
    bool empty =
        a->type == EXPR_STRING ? a->string.len == 0 : a->type == EXPR_ARRAY && a->array.count == 0;
    return give_bool(out, empty);
}

static bool f_is_number(struct expr_vm *vm, args a, struct expr_value *out)
{
    (void)vm;
    return give_bool(out, expr_is_numeric(a));
}

static bool f_len(struct expr_vm *vm, args a, struct expr_value *out)
{
    struct slice s;
    if (a->type == EXPR_ARRAY) {
        return give_int(out, a->array.count);
    }
    return expr_to_text(vm, a, &s) && give_int(out, s.len);
}

static bool f_count(struct expr_vm *vm, args a, struct expr_value *out)
{
    (void)vm;
    return give_int(out, a->type == EXPR_ARRAY ? a->array.count : expr_truthy(a));
}

static bool change_case(struct expr_vm *vm, args a, struct expr_value *out, bool upper)
{
    struct slice s;
    if (!expr_to_text(vm, a, &s)) {
        return false;
    }
    uint8_t *at = expr_scratch(vm, s.len);
    if (at == NULL) {
        return false;
    }
    text_lower(at, s);
    for (size_t i = 0; upper && i < s.len; i++) {
        at[i] = ascii_is_alpha(at[i]) ? (uint8_t)(at[i] & ~0x20) : at[i];
    }
    return give_text(out, slice_of(at, s.len));
}

static bool f_to_lowercase(struct expr_vm *vm, args a, struct expr_value *out)
{
    return change_case(vm, a, out, false);
}

static bool f_to_uppercase(struct expr_vm *vm, args a, struct expr_value *out)
{
    return change_case(vm, a, out, true);
}

static bool f_trim(struct expr_vm *vm, args a, struct expr_value *out)
{
    struct slice s;
    return expr_to_text(vm, a, &s) && give_text(out, text_trim(s));
}

static bool array_has(const struct expr_value *array, struct expr_vm *vm, struct slice what,
                      bool *out)
{
    *out = false;
    for (uint32_t i = 0; i < array->array.count && !*out; i++) {
        struct slice item;
        if (!expr_to_text(vm, &array->array.items[i], &item)) {
            return false;
        }
        *out = slice_equal(item, what);
    }
    return true;
}

static bool f_contains(struct expr_vm *vm, args a, struct expr_value *out)
{
    struct slice x, y;
    bool found;
    if (a[0].type == EXPR_ARRAY) {
        return expr_to_text(vm, &a[1], &y) && array_has(&a[0], vm, y, &found) &&
               give_bool(out, found);
    }
    return two_texts(vm, a, &x, &y) && give_bool(out, find_text(x, y, false) != SIZE_MAX);
}

static bool f_contains_ignore_case(struct expr_vm *vm, args a, struct expr_value *out)
{
    struct slice x, y;
    return two_texts(vm, a, &x, &y) && give_bool(out, find_text(x, y, true) != SIZE_MAX);
}

static bool f_eq_ignore_case(struct expr_vm *vm, args a, struct expr_value *out)
{
    struct slice x, y;
    return two_texts(vm, a, &x, &y) && give_bool(out, text_equal_nocase(x, y));
}

static bool starts(struct slice x, struct slice y)
{
    return x.len >= y.len && slice_equal(slice_first(x, y.len), y);
}

static bool ends(struct slice x, struct slice y)
{
    return x.len >= y.len && slice_equal(slice_from(x, x.len - y.len), y);
}

static bool f_starts_with(struct expr_vm *vm, args a, struct expr_value *out)
{
    struct slice x, y;
    return two_texts(vm, a, &x, &y) && give_bool(out, starts(x, y));
}

static bool f_ends_with(struct expr_vm *vm, args a, struct expr_value *out)
{
    struct slice x, y;
    return two_texts(vm, a, &x, &y) && give_bool(out, ends(x, y));
}

static bool f_strip_prefix(struct expr_vm *vm, args a, struct expr_value *out)
{
    struct slice x, y;
    return two_texts(vm, a, &x, &y) &&
           give_text(out, starts(x, y) ? slice_from(x, y.len) : SLICE_EMPTY);
}

static bool f_strip_suffix(struct expr_vm *vm, args a, struct expr_value *out)
{
    struct slice x, y;
    return two_texts(vm, a, &x, &y) &&
           give_text(out, ends(x, y) ? slice_first(x, x.len - y.len) : SLICE_EMPTY);
}

static bool f_has_digits(struct expr_vm *vm, args a, struct expr_value *out)
{
    struct slice s;
    bool found = false;
    if (!expr_to_text(vm, a, &s)) {
        return false;
    }
    for (size_t i = 0; i < s.len; i++) {
        found = found || ascii_is_digit(s.ptr[i]);
    }
    return give_bool(out, found);
}

static bool f_if_then(struct expr_vm *vm, args a, struct expr_value *out)
{
    (void)vm;
    *out = expr_truthy(&a[0]) ? a[1] : a[2];
    return true;
}

/* --- the table ---------------------------------------------------------------------------------
 */

static const struct expr_function functions[] = {
    {"is_local_domain", 1, true, f_is_local_domain},
    {"is_local_address", 1, true, f_is_local_address},
    {"system", 1, true, f_system},
    {"is_email", 1, false, f_is_email},
    {"email_part", 2, false, f_email_part},
    {"is_ip_addr", 1, false, f_is_ip_addr},
    {"is_ipv4_addr", 1, false, f_is_ipv4_addr},
    {"is_ipv6_addr", 1, false, f_is_ipv6_addr},
    {"is_ip_in_cidr", 2, false, f_is_ip_in_cidr},
    {"is_empty", 1, false, f_is_empty},
    {"is_number", 1, false, f_is_number},
    {"len", 1, false, f_len},
    {"count", 1, false, f_count},
    {"to_lowercase", 1, false, f_to_lowercase},
    {"to_uppercase", 1, false, f_to_uppercase},
    {"trim", 1, false, f_trim},
    {"contains", 2, false, f_contains},
    {"contains_ignore_case", 2, false, f_contains_ignore_case},
    {"eq_ignore_case", 2, false, f_eq_ignore_case},
    {"starts_with", 2, false, f_starts_with},
    {"ends_with", 2, false, f_ends_with},
    {"strip_prefix", 2, false, f_strip_prefix},
    {"strip_suffix", 2, false, f_strip_suffix},
    {"has_digits", 1, false, f_has_digits},
    {"if_then", 3, false, f_if_then},
    /* Of the language, not of this version: */
    {"matches", 2, false, NULL},
    {"sort", 2, false, NULL},
    {"dedup", 1, false, NULL},
    {"winnow", 1, false, NULL},
    {"is_intersect", 2, false, NULL},
    {"ip_reverse_name", 1, false, NULL},
    {"trim_start", 1, false, NULL},
    {"trim_end", 1, false, NULL},
    {"is_lowercase", 1, false, NULL},
    {"is_uppercase", 1, false, NULL},
    {"count_spaces", 1, false, NULL},
    {"count_uppercase", 1, false, NULL},
    {"count_lowercase", 1, false, NULL},
    {"count_chars", 1, false, NULL},
    {"lines", 1, false, NULL},
    {"substring", 3, false, NULL},
    {"split", 2, false, NULL},
    {"rsplit", 2, false, NULL},
    {"split_once", 2, false, NULL},
    {"rsplit_once", 2, false, NULL},
    {"split_n", 3, false, NULL},
    {"split_words", 1, false, NULL},
    {"hash", 2, false, NULL},
    {"metric", 1, false, NULL},
    {"key_get", 2, false, NULL},
    {"key_exists", 2, false, NULL},
    {"key_set", 3, false, NULL},
    {"counter_incr", 2, false, NULL},
    {"counter_get", 2, false, NULL},
    {"dns_query", 2, false, NULL},
    {"sql_query", 3, false, NULL},
};

const struct expr_function *expr_function_row(uint32_t index)
{
    return index < mx_countof(functions) ? &functions[index] : NULL;
}

uint32_t expr_function_find(struct slice name)
{
    for (uint32_t i = 0; i < mx_countof(functions); i++) {
        if (slice_equal(name, slice_of_text(functions[i].name))) {
            return i;
        }
    }
    return UINT32_MAX;
}
