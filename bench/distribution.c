#include "bench/distribution.h"

#include "core/text.h"

#include <math.h>

enum { UNIT_BITS = 53 };

static const double two_pi = 6.283185307179586;

struct distribution distribution_fixed(uint64_t value)
{
    return (struct distribution){.min = value, .max = value, .low = value, .high = value};
}

double dice_unit(struct dice *dice)
{
    return ((double)(dice_next(dice) >> (64 - UNIT_BITS)) + 1.0) / (double)(1ULL << UNIT_BITS);
}

/* --- parsing -----------------------------------------------------------------------------------
 */

static mx_err number(uint64_t *out, struct slice text, uint64_t min, uint64_t max)
{
    mx_err err = text_to_u64(out, text);
    return err ? err : *out < min || *out > max ? MX_ERR_RANGE : MX_OK;
}

/* "1.5", greater than zero. */
static mx_err decimal(double *out, struct slice text)
{
    size_t dot = slice_find(text, '.');
    struct slice digits = dot < text.len ? slice_from(text, dot + 1) : SLICE_EMPTY;
    uint64_t whole = 0, part = 0;
    mx_err err = text_to_u64(&whole, slice_first(text, dot));
    if (!err && (dot < text.len)) {
        err = digits.len > 9 ? MX_ERR_SYNTAX : text_to_u64(&part, digits);
    }
    *out = (double)whole + (double)part / pow(10, (double)digits.len);
    return err ? err : *out > 0 && *out < 100 ? MX_OK : MX_ERR_RANGE;
}

static mx_err parse_lognormal(struct distribution *d, struct slice text)
{
    size_t colon = slice_find(text, ':');
    uint64_t median;
    if (colon == text.len) {
        return MX_ERR_SYNTAX;
    }
    mx_err err = number(&median, slice_first(text, colon), d->min, d->max);
    err = err ? err : decimal(&d->sigma, slice_from(text, colon + 1));
    if (!err) {
        d->kind = DISTRIBUTION_LOGNORMAL;
        d->log_median = log((double)mx_max_size(median, 1));
    }
    return err;
}

static mx_err parse_table(struct distribution *d, struct slice text)
{
    uint64_t sum = 0;
    d->kind = DISTRIBUTION_TABLE;
    while (text.len > 0) {
        size_t comma = slice_find(text, ',');
        struct slice item = slice_first(text, comma);
        size_t colon = slice_find(item, ':');
        uint64_t share = 0;
        if (d->value_count == DISTRIBUTION_VALUES_MAX) {
            return MX_ERR_LIMIT;
        }
        if (colon == item.len || comma + 1 == text.len) {
            return MX_ERR_SYNTAX;
        }
        uint64_t *value = &d->values[d->value_count];
        mx_err err = number(value, slice_first(item, colon), d->min, d->max);
        err = err ? err : number(&share, slice_from(item, colon + 1), 1, 1000000);
        if (err) {
            return err;
        }
        sum += share;
        d->shares[d->value_count++] = sum;
        text = comma < text.len ? slice_from(text, comma + 1) : SLICE_EMPTY;
    }
    return d->value_count > 0 ? MX_OK : MX_ERR_SYNTAX;
}

static mx_err parse_even(struct distribution *d, struct slice text)
{
    size_t dash = slice_find(text, '-');
    mx_err err = number(&d->low, slice_first(text, dash), d->min, d->max);
    d->high = d->low;
    if (!err && dash < text.len) {
        err = number(&d->high, slice_from(text, dash + 1), d->min, d->max);
    }
    d->kind = DISTRIBUTION_EVEN;
    return err ? err : d->low > d->high ? MX_ERR_RANGE : MX_OK;
}

mx_err distribution_parse(struct distribution *out, struct slice text, uint64_t min, uint64_t max)
{
    static const struct slice lognormal = SLICE_LITERAL("lognormal:");
    struct distribution d = {.min = min, .max = max};
    mx_err err;
    if (text_starts_nocase(text, lognormal)) {
        err = parse_lognormal(&d, slice_from(text, lognormal.len));
    } else if (slice_find(text, ':') < text.len) {
        err = parse_table(&d, text);
    } else {
        err = parse_even(&d, text);
    }
    if (!err) {
        *out = d;
    }
    return err;
}

/* --- drawing -----------------------------------------------------------------------------------
 */

/* As many from each power of two below the largest. */
static uint64_t draw_octaves(const struct distribution *d, struct dice *dice)
{
    uint64_t max = d->high;
    unsigned steps = 1;
    while (max >> steps >= d->low && max >> steps > 0) {
        steps++;
    }
    max >>= dice_below(dice, steps);
    return dice_between(dice, max / 2 >= d->low ? max / 2 + 1 : d->low, max);
}

/* Box and Muller. */
static uint64_t draw_lognormal(const struct distribution *d, struct dice *dice)
{
    double normal = sqrt(-2.0 * log(dice_unit(dice))) * cos(two_pi * dice_unit(dice));
    double value = exp(d->log_median + d->sigma * normal);
    return value >= (double)d->max   ? d->max
           : value <= (double)d->min ? d->min
                                     : (uint64_t)(value + 0.5);
}

static uint64_t draw_table(const struct distribution *d, struct dice *dice)
{
    uint64_t at = dice_below(dice, d->shares[d->value_count - 1]);
    uint32_t i = 0;
    while (at >= d->shares[i]) {
        i++;
    }
    return d->values[i];
}

uint64_t distribution_draw(const struct distribution *d, struct dice *dice)
{
    switch (d->kind) {
    case DISTRIBUTION_OCTAVES:
        return draw_octaves(d, dice);
    case DISTRIBUTION_LOGNORMAL:
        return draw_lognormal(d, dice);
    case DISTRIBUTION_TABLE:
        return draw_table(d, dice);
    default:
        return d->low == d->high ? d->low : dice_between(dice, d->low, d->high);
    }
}
