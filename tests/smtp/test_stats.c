#include "smtp/stats.h"

#include "core/cursor.h"
#include "core/text.h"

#include <criterion/criterion.h>
#include <stdio.h>

/* Rows are found by name; when all are taken, further names share the first. */
Test(stats, rows_by_name)
{
    static struct route_row rows[STATS_ROWS_MAX];
    char name[200];
    cr_assert_eq(stats_row(rows, sizeof rows[0], SLICE_LITERAL("mx")), 1);
    cr_assert_eq(stats_row(rows, sizeof rows[0], SLICE_LITERAL("local")), 2);
    cr_assert_eq(stats_row(rows, sizeof rows[0], SLICE_LITERAL("mx")), 1);
    cr_assert_eq(stats_row(rows, sizeof rows[0], SLICE_EMPTY), STATS_OTHERS);
    memset(name, 'n', sizeof name);
    unsigned row = stats_row(rows, sizeof rows[0], slice_of((uint8_t *)name, sizeof name));
    cr_assert_eq(row, 3);
    cr_assert_lt(strlen(rows[row].name), (size_t)STATS_NAME_MAX);
    for (unsigned i = 4; i < STATS_ROWS_MAX + 5; i++) {
        snprintf(name, sizeof name, "route-%u", i);
        row = stats_row(rows, sizeof rows[0], slice_of_text(name));
        cr_assert_eq(row, i < STATS_ROWS_MAX ? i : STATS_OTHERS);
    }
    cr_assert_eq(rows[STATS_OTHERS].name[0], 0);
}

/* Long names that begin alike have rows of their own, in UTF-8, wherever they are cut; and none of
 * them is what another name is. */
Test(stats, long_names_stay_apart)
{
    for (size_t shift = 0; shift < 8; shift++) {
        static struct route_row rows[STATS_ROWS_MAX];
        char name[4 * STATS_NAME_MAX];
        unsigned last = STATS_OTHERS;
        memset(rows, 0, sizeof rows);
        for (unsigned i = 0; i < 4; i++) {
            struct writer w = writer_init(name, sizeof name);
            put_bytes(&w, "12345678", shift);
            while (w.len < 2 * STATS_NAME_MAX) {
                put_text(&w, "\U0001F4E7"); /* four bytes */
            }
            put_decimal(&w, i);
            unsigned row = stats_row(rows, sizeof rows[0], writer_slice(&w));
            cr_assert_eq(row, last + 1);
            cr_assert_eq(stats_row(rows, sizeof rows[0], writer_slice(&w)), row);
            struct slice shown = slice_of_text(rows[row].name);
            cr_assert(text_is_utf8(shown), "%zu: %s", shift, rows[row].name);
            char copy[STATS_NAME_MAX];
            memcpy(copy, rows[row].name, sizeof copy);
            cr_assert_eq(stats_row(rows, sizeof rows[0], slice_of_text(copy)), row + 1,
                         "a name like the abridged one is another");
            last = row + 1;
        }
    }
}

/* Label values are words that need no escaping. */
Test(stats, names)
{
    for (unsigned i = 0; i < SRV_VERBS; i++) {
        cr_assert(
            strspn(srv_verb_name(i), "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ") ==
            strlen(srv_verb_name(i)));
    }
    static const char word[] = "abcdefghijklmnopqrstuvwxyz_";
    for (unsigned i = 0; i < SRV_STATES; i++) {
        cr_assert_eq(strspn(srv_state_name(i), word), strlen(srv_state_name(i)));
    }
    for (unsigned i = 0; i < STATS_REFUSALS; i++) {
        cr_assert_eq(strspn(stats_refusal_name(i), word), strlen(stats_refusal_name(i)));
    }
    for (unsigned i = 0; i < STATS_VERDICTS; i++) {
        cr_assert_eq(strspn(stats_verdict_name(i), word), strlen(stats_verdict_name(i)));
    }
    for (unsigned i = 0; i < STATS_CLASSES; i++) {
        cr_assert_eq(strspn(stats_class_name(i), word), strlen(stats_class_name(i)));
    }
    cr_assert_str_eq(reply_name(REPLY_NO_SUCH_USER), "NO_SUCH_USER");
}
