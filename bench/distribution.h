/* Numbers drawn for a load: sizes, recipients per message, messages per connection, pauses. Pure.
 *
 *   N                          always N
 *   MIN-MAX                    evenly between them
 *   lognormal:MEDIAN:SIGMA     as sizes of real mail are; SIGMA is that of the logarithm, as 1.5
 *   N:SHARE,N:SHARE,...        these values, in proportion to the shares
 *
 * What a distribution draws outside the bounds it was parsed with becomes the nearest bound. */
#pragma once

#include "bench/dice.h"
#include "core/err.h"
#include "core/slice.h"

enum { DISTRIBUTION_VALUES_MAX = 32 };

enum distribution_kind {
    DISTRIBUTION_EVEN,    /* low..high */
    DISTRIBUTION_OCTAVES, /* low..high, as many from each power of two below high */
    DISTRIBUTION_LOGNORMAL,
    DISTRIBUTION_TABLE,
};

struct distribution {
    enum distribution_kind kind;
    uint64_t min, max; /* bounds of what is drawn */
    uint64_t low, high;
    double log_median, sigma;
    uint32_t value_count;
    uint64_t values[DISTRIBUTION_VALUES_MAX];
    uint64_t shares[DISTRIBUTION_VALUES_MAX]; /* running sums */
};

struct distribution distribution_fixed(uint64_t value);
/* MX_ERR_SYNTAX; MX_ERR_RANGE: a value outside min..max; MX_ERR_LIMIT: too many values. */
MX_MUST_CHECK mx_err distribution_parse(struct distribution *out, struct slice text, uint64_t min,
                                        uint64_t max);
uint64_t distribution_draw(const struct distribution *d, struct dice *dice);
/* Evenly in (0, 1]. */
double dice_unit(struct dice *dice);
