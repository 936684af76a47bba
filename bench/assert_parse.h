/* What a run is to have reached, as an operator writes it: 'p99<20ms,errors=0,rate>5000'. Pure.
 *
 *   TERM,TERM,...    TERM is NAME OP VALUE; all must hold
 *   OP               < <= > >= = !=
 *   NAME             a time: p50, p99.9 (any percentile), mean, max: of a message; PHASE.p99 and so
 *                    on: of a phase; or a number: what the caller's table holds
 *   VALUE            a decimal; behind times one of the units ns, us, ms, s */
#pragma once

#include "core/err.h"
#include "core/slice.h"

enum { ASSERT_TERMS_MAX = 32 };

enum assert_op { ASSERT_LT, ASSERT_LE, ASSERT_GT, ASSERT_GE, ASSERT_EQ, ASSERT_NE };

enum assert_kind {
    ASSERT_NUMBER,     /* the number with this name */
    ASSERT_PERCENTILE, /* of the phase */
    ASSERT_MEAN,
    ASSERT_MAX,
};

struct assert_term {
    struct slice text; /* the whole term */
    struct slice name; /* of ASSERT_NUMBER, else of the phase, which may be empty: the message */
    enum assert_kind kind;
    enum assert_op op;
    double percent; /* of ASSERT_PERCENTILE */
    double value;   /* nanoseconds or a number */
};

struct assert_list {
    uint32_t count;
    struct assert_term terms[ASSERT_TERMS_MAX];
};

/* Borrows text. MX_ERR_SYNTAX (also a time without a unit, a number with one), MX_ERR_LIMIT. On
 * failure *out_term is the term that is wrong. */
MX_MUST_CHECK mx_err assert_parse(struct assert_list *out, struct slice *out_term,
                                  struct slice text);
bool assert_holds(const struct assert_term *term, double value);
