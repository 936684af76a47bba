/* The expressions of --assert. */
#include "bench/assert_parse.h"

#include <criterion/criterion.h>

static struct assert_list parsed(const char *text)
{
    struct assert_list list = {0};
    struct slice term = SLICE_EMPTY;
    cr_assert_eq(assert_parse(&list, &term, slice_of_text(text)), MX_OK, "%s", text);
    return list;
}

Test(assert_parse, terms)
{
    static const struct {
        const char *text, *name;
        enum assert_kind kind;
        enum assert_op op;
        double percent, value;
    } cases[] = {
        {"p99<20ms", "", ASSERT_PERCENTILE, ASSERT_LT, 99, 20e6},
        {"p99.9<=1.5s", "", ASSERT_PERCENTILE, ASSERT_LE, 99.9, 1.5e9},
        {"mail.p50>100us", "mail", ASSERT_PERCENTILE, ASSERT_GT, 50, 100e3},
        {"mail.p99.99>=7ns", "mail", ASSERT_PERCENTILE, ASSERT_GE, 99.99, 7},
        {"max!=0ms", "", ASSERT_MAX, ASSERT_NE, 0, 0},
        {"connect.mean<1ms", "connect", ASSERT_MEAN, ASSERT_LT, 0, 1e6},
        {"errors=0", "errors", ASSERT_NUMBER, ASSERT_EQ, 0, 0},
        {"rate>5000.5", "rate", ASSERT_NUMBER, ASSERT_GT, 0, 5000.5},
        {"idle_lost<=3", "idle_lost", ASSERT_NUMBER, ASSERT_LE, 0, 3},
    };
    for (size_t i = 0; i < mx_countof(cases); i++) {
        struct assert_list list = parsed(cases[i].text);
        const struct assert_term *term = &list.terms[0];
        cr_assert_eq(list.count, 1);
        cr_assert(slice_equal(term->name, slice_of_text(cases[i].name)), "%s", cases[i].text);
        cr_assert_eq(term->kind, cases[i].kind, "%s", cases[i].text);
        cr_assert_eq(term->op, cases[i].op, "%s", cases[i].text);
        cr_assert_float_eq(term->value, cases[i].value, 1e-6, "%s", cases[i].text);
        if (term->kind == ASSERT_PERCENTILE) {
            cr_assert_float_eq(term->percent, cases[i].percent, 1e-9, "%s", cases[i].text);
        }
    }
    cr_assert_eq(parsed("p99<20ms,errors=0, rate>5000").count, 3);
}

Test(assert_parse, refuses)
{
    static const char *const wrong[] = {
        "",        ",",        "p99",       "p99<",   "p99<20",   "p99<20mss",
        "p99<ms",  "rate>5s",  "errors==0", "<5",     "rate>5,",  "rate>-1",
        "rate>1.", "p99<<1ms", "rate>.",    "rate>x", "rate>1 2", "p101<20ms",
    };
    for (size_t i = 0; i < mx_countof(wrong); i++) {
        struct assert_list list = {.count = 99};
        struct slice term = SLICE_EMPTY;
        cr_assert_eq(assert_parse(&list, &term, slice_of_text(wrong[i])), MX_ERR_SYNTAX, "'%s'",
                     wrong[i]);
        cr_assert_eq(list.count, 99);
    }
    char many[ASSERT_TERMS_MAX * 8 + 16] = "rate>1";
    struct assert_list list;
    struct slice term;
    for (unsigned i = 0; i < ASSERT_TERMS_MAX; i++) {
        strcat(many, ",rate>1");
    }
    cr_assert_eq(assert_parse(&list, &term, slice_of_text(many)), MX_ERR_LIMIT);
}

Test(assert_parse, names_the_term_that_is_wrong)
{
    struct assert_list list;
    struct slice term = SLICE_EMPTY;
    cr_assert_eq(assert_parse(&list, &term, SLICE_LITERAL("errors=0, p99<7 ,rate>1")),
                 MX_ERR_SYNTAX);
    cr_assert(slice_equal(term, SLICE_LITERAL("p99<7")));
}

Test(assert_parse, holds)
{
    static const struct {
        const char *text;
        bool below, equal, above; /* of 4, 5 and 6 */
    } cases[] = {{"x<5", true, false, false}, {"x<=5", true, true, false},
                 {"x>5", false, false, true}, {"x>=5", false, true, true},
                 {"x=5", false, true, false}, {"x!=5", true, false, true}};
    for (size_t i = 0; i < mx_countof(cases); i++) {
        struct assert_list list = parsed(cases[i].text);
        cr_assert_eq(assert_holds(&list.terms[0], 4), cases[i].below, "%s", cases[i].text);
        cr_assert_eq(assert_holds(&list.terms[0], 5), cases[i].equal, "%s", cases[i].text);
        cr_assert_eq(assert_holds(&list.terms[0], 6), cases[i].above, "%s", cases[i].text);
    }
}
