#include "bench/assert_parse.h"

#include "core/text.h"

static bool is_name_char(uint8_t c)
{
    return ascii_is_alnum(c) || c == '_' || c == '.';
}

/* Takes a decimal from the front of *text: digits, perhaps a point and digits. */
static mx_err take_decimal(double *out, struct slice *text)
{
    double value = 0, unit = 1;
    size_t i = 0, digits = 0;
    bool point = false;
    for (; i < text->len && (ascii_is_digit(text->ptr[i]) || (text->ptr[i] == '.' && !point));
         i++) {
        if (text->ptr[i] == '.') {
            point = true;
            continue;
        }
        unit = point ? unit / 10 : unit;
        value = point ? value + unit * (text->ptr[i] - '0') : value * 10 + (text->ptr[i] - '0');
        digits++;
    }
    if (digits == 0 || digits > 18 || text->ptr[i - 1] == '.') {
        return MX_ERR_SYNTAX;
    }
    *out = value;
    *text = slice_from(*text, i);
    return MX_OK;
}

static mx_err take_op(enum assert_op *out, struct slice *text)
{
    static const struct {
        struct slice sign;
        enum assert_op op;
    } ops[] = {
        {SLICE_LITERAL("<="), ASSERT_LE}, {SLICE_LITERAL(">="), ASSERT_GE},
        {SLICE_LITERAL("!="), ASSERT_NE}, {SLICE_LITERAL("<"), ASSERT_LT},
        {SLICE_LITERAL(">"), ASSERT_GT},  {SLICE_LITERAL("="), ASSERT_EQ},
    };
    for (size_t i = 0; i < mx_countof(ops); i++) {
        if (slice_equal(slice_first(*text, ops[i].sign.len), ops[i].sign)) {
            *out = ops[i].op;
            *text = slice_from(*text, ops[i].sign.len);
            return MX_OK;
        }
    }
    return MX_ERR_SYNTAX;
}

/* "p99.9" */
static bool is_percentile(struct slice name, double *out)
{
    if (name.len < 2 || name.ptr[0] != 'p') {
        return false;
    }
    struct slice digits = slice_from(name, 1);
    return take_decimal(out, &digits) == MX_OK && digits.len == 0 && *out <= 100;
}

/* Which value: "rate", "p99.9", "mail.p99.9". A phase ends at the first point. */
static void set_name(struct assert_term *term, struct slice name)
{
    size_t point = slice_find(name, '.');
    struct slice last = name;
    term->name = SLICE_EMPTY;
    if (!is_percentile(name, &term->percent) && point < name.len) {
        term->name = slice_first(name, point);
        last = slice_from(name, point + 1);
    }
    if (is_percentile(last, &term->percent)) {
        term->kind = ASSERT_PERCENTILE;
    } else if (slice_equal(last, SLICE_LITERAL("mean"))) {
        term->kind = ASSERT_MEAN;
    } else if (slice_equal(last, SLICE_LITERAL("max"))) {
        term->kind = ASSERT_MAX;
    } else {
        term->kind = ASSERT_NUMBER;
        term->name = name;
    }
}

static mx_err set_unit(struct assert_term *term, struct slice unit)
{
    static const struct {
        struct slice name;
        double ns;
    } units[] = {{SLICE_LITERAL("ns"), 1},
                 {SLICE_LITERAL("us"), 1e3},
                 {SLICE_LITERAL("ms"), 1e6},
                 {SLICE_LITERAL("s"), 1e9}};
    if (term->kind == ASSERT_NUMBER) {
        return unit.len == 0 ? MX_OK : MX_ERR_SYNTAX;
    }
    for (size_t i = 0; i < mx_countof(units); i++) {
        if (slice_equal(unit, units[i].name)) {
            term->value *= units[i].ns;
            return MX_OK;
        }
    }
    return MX_ERR_SYNTAX;
}

static mx_err parse_term(struct assert_term *term, struct slice text)
{
    size_t len = 0;
    while (len < text.len && is_name_char(text.ptr[len])) {
        len++;
    }
    term->text = text;
    set_name(term, slice_first(text, len));
    struct slice rest = slice_from(text, len);
    mx_err err = len == 0 ? MX_ERR_SYNTAX : take_op(&term->op, &rest);
    err = err ? err : take_decimal(&term->value, &rest);
    return err ? err : set_unit(term, rest);
}

mx_err assert_parse(struct assert_list *out, struct slice *out_term, struct slice text)
{
    struct assert_list list = {0};
    mx_err err = MX_OK;
    bool more = true;
    while (more && !err) {
        size_t comma = slice_find(text, ',');
        *out_term = text_trim(slice_first(text, comma));
        more = comma < text.len;
        text = more ? slice_from(text, comma + 1) : SLICE_EMPTY;
        err = list.count == ASSERT_TERMS_MAX ? MX_ERR_LIMIT
                                             : parse_term(&list.terms[list.count++], *out_term);
    }
    if (!err) {
        *out = list;
    }
    return err;
}

bool assert_holds(const struct assert_term *term, double value)
{
    switch (term->op) {
    case ASSERT_LT:
        return value < term->value;
    case ASSERT_LE:
        return value <= term->value;
    case ASSERT_GT:
        return value > term->value;
    case ASSERT_GE:
        return value >= term->value;
    case ASSERT_EQ:
        return value == term->value;
    default:
        return value != term->value;
    }
}
