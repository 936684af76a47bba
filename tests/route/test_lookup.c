#include "route/lookup.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>

static const char *shown(const struct lookups *lookups, const char *list, const char *key)
{
    static char text[64];
    int found = lookups_find(lookups, slice_of_text(list));
    if (found == LOOKUP_NONE) {
        return "no list";
    }
    const struct lookup_row *row = lookups_get(lookups, (uint32_t)found, slice_of_text(key));
    if (row == NULL) {
        return "no key";
    }
    snprintf(text, sizeof text, "%.*s=%.*s", SLICE_ARGS(row->key), SLICE_ARGS(row->value));
    return row->has_value ? text : "key";
}

Test(lookup, keys_and_patterns)
{
    const struct lookup_row rows[] = {
        {SLICE_LITERAL("vip"), SLICE_LITERAL("*@example.org"), .pattern = true},
        {SLICE_LITERAL("routes"), SLICE_LITERAL("a"), SLICE_LITERAL("one"), .has_value = true},
        {SLICE_LITERAL("vip"), SLICE_LITERAL("bob@example.org"), SLICE_LITERAL("b"),
         .has_value = true},
        {SLICE_LITERAL("vip"), SLICE_LITERAL("?@*.net"), SLICE_LITERAL("net"), .has_value = true,
         .pattern = true},
        {SLICE_LITERAL("vip"), SLICE_LITERAL("b*@*.net"), .pattern = true},
        {SLICE_LITERAL("routes"), SLICE_LITERAL(""), SLICE_LITERAL("empty"), .has_value = true},
        {SLICE_LITERAL("route"), SLICE_LITERAL("*")},
    };
    static const char *const cases[][3] = {
        {"vip", "bob@example.org", "bob@example.org=b"}, /* before any pattern */
        {"vip", "Bob@example.org", "key"},
        {"vip", "bob@example.com", "no key"},
        {"vip", "x@y.net", "?@*.net=net"},
        {"vip", "b@y.net", "?@*.net=net"}, /* the older one */
        {"vip", "ba@y.net", "key"},
        {"vip", "@example.org", "key"},
        {"vip", "", "no key"},
        {"routes", "a", "a=one"},
        {"routes", "A", "no key"},
        {"routes", "", "=empty"},
        {"route", "*", "key"},
        {"route", "a", "no key"}, /* it is no pattern */
        {"rout", "a", "no list"},
        {"", "a", "no list"},
        {"zzz", "a", "no list"},
    };
    struct lookups *lookups;
    size_t at;
    cr_assert_eq(lookups_new(&lookups, rows, mx_countof(rows), &at), MX_OK);
    cr_assert_eq(lookups_count(lookups), 3);
    cr_assert(slice_equal(lookups_name(lookups, 0), SLICE_LITERAL("route")));
    cr_assert(slice_equal(lookups_name(lookups, 2), SLICE_LITERAL("vip")));
    for (size_t i = 0; i < mx_countof(cases); i++) {
        const char *text = shown(lookups, cases[i][0], cases[i][1]);
        cr_assert_str_eq(text, cases[i][2], "%s %s: %s", cases[i][0], cases[i][1], text);
    }
    /* Patterns cost, keys do not. */
    cr_assert_eq(lookups_steps(lookups, 1, 63), 1);
    cr_assert_eq(lookups_steps(lookups, 2, 64), 1 + 1 + 3 + 13 + 7 + 8);
    lookups_free(lookups);
}

Test(lookup, what_fits)
{
    static const struct {
        const char *pattern, *text;
        bool fits;
    } cases[] = {
        {"", "", true},
        {"", "a", false},
        {"*", "", true},
        {"*", "abc", true},
        {"?", "", false},
        {"?", "a", true},
        {"?", "ab", false},
        {"a*", "a", true},
        {"a*", "ba", false},
        {"*a", "ba", true},
        {"*a", "ab", false},
        {"a*b*c", "abc", true},
        {"a*b*c", "axbxbxc", true},
        {"a*b*c", "acb", false},
        {"**", "x", true},
        {"*?", "", false},
        {"*?", "x", true},
        {"?*?", "x", false},
        {"?*?", "xy", true},
        {"*aab", "aaaab", true},
        {"*aab*", "aaaabb", true},
        {"a", "*", false},
        {"[a]", "a", false},
        {"\\*", "*", false},
    };
    for (size_t i = 0; i < mx_countof(cases); i++) {
        cr_assert_eq(lookup_fits(slice_of_text(cases[i].pattern), slice_of_text(cases[i].text)),
                     cases[i].fits, "%s %s", cases[i].pattern, cases[i].text);
    }
}

/* By trying every way to divide the text. */
static bool fits_plainly(const char *pattern, const char *text)
{
    if (*pattern == '\0') {
        return *text == '\0';
    }
    if (*pattern == '*') {
        return fits_plainly(pattern + 1, text) ||
               (*text != '\0' && fits_plainly(pattern, text + 1));
    }
    return *text != '\0' && (*pattern == '?' || *pattern == *text) &&
           fits_plainly(pattern + 1, text + 1);
}

Test(lookup, random_patterns)
{
    unsigned fitting = 0;
    srand(5);
    for (unsigned round = 0; round < 200000; round++) {
        char pattern[8], text[10];
        unsigned p = (unsigned)rand() % sizeof pattern, t = (unsigned)rand() % sizeof text;
        for (unsigned i = 0; i < p; i++) {
            pattern[i] = "ab*?"[rand() % 4];
        }
        for (unsigned i = 0; i < t; i++) {
            text[i] = "ab"[rand() % 2];
        }
        pattern[p] = text[t] = '\0';
        bool fits = lookup_fits(slice_of_text(pattern), slice_of_text(text));
        cr_assert_eq(fits, fits_plainly(pattern, text), "%s %s", pattern, text);
        fitting += fits;
    }
    cr_assert_gt(fitting, 20000);
}

Test(lookup, many_keys)
{
    enum { COUNT = LOOKUP_ROWS_MAX };
    static char keys[COUNT][8];
    static struct lookup_row rows[COUNT + 1];
    struct lookups *lookups;
    size_t at;
    for (unsigned i = 0; i < COUNT; i++) {
        snprintf(keys[i], sizeof keys[i], "%u", i);
        rows[i] = (struct lookup_row){i % 2 ? SLICE_LITERAL("odd") : SLICE_LITERAL("even"),
                                      slice_of_text(keys[i])};
    }
    cr_assert_eq(lookups_new(&lookups, rows, COUNT, &at), MX_OK);
    for (unsigned i = 0; i < COUNT; i++) {
        cr_assert_str_eq(shown(lookups, "odd", keys[i]), i % 2 ? "key" : "no key");
        cr_assert_str_eq(shown(lookups, "even", keys[i]), i % 2 ? "no key" : "key");
    }
    lookups_free(lookups);
    cr_assert_eq(lookups_new(&lookups, rows, COUNT + 1, &at), MX_ERR_LIMIT);
}

Test(lookup, refusals)
{
    static struct lookup_row rows[LOOKUP_PATTERNS_MAX + 2];
    static char keys[mx_countof(rows)][8];
    struct lookups *lookups;
    size_t at;
    for (unsigned i = 0; i < mx_countof(rows); i++) {
        snprintf(keys[i], sizeof keys[i], "%u*", i);
        rows[i] = (struct lookup_row){SLICE_LITERAL("l"), slice_of_text(keys[i]), .pattern = true};
    }
    rows[1].list = SLICE_LITERAL("other"); /* bounds are of one list */
    cr_assert_eq(lookups_new(&lookups, rows, mx_countof(rows) - 1, &at), MX_OK);
    lookups_free(lookups);
    cr_assert_eq(lookups_new(&lookups, rows, mx_countof(rows), &at), MX_ERR_LIMIT);
    cr_assert_eq(at, mx_countof(rows) - 1);
    rows[4].key = rows[3].key;
    cr_assert_eq(lookups_new(&lookups, rows, 6, &at), MX_ERR_EXISTS);
    cr_assert_eq(at, 4);
    rows[3].pattern = false; /* a key and a pattern of the same text */
    cr_assert_eq(lookups_new(&lookups, rows, 6, &at), MX_OK);
    lookups_free(lookups);
    rows[4].pattern = false;
    rows[4].has_value = true;
    cr_assert_eq(lookups_new(&lookups, rows, 6, &at), MX_ERR_EXISTS);
    cr_assert_eq(at, 4);
    cr_assert_eq(lookups_new(&lookups, rows, 0, &at), MX_OK);
    cr_assert_eq(lookups_count(lookups), 0);
    cr_assert_eq(lookups_find(lookups, SLICE_LITERAL("l")), LOOKUP_NONE);
    lookups_free(lookups);
    cr_assert_eq(lookups_count(NULL), 0);
    lookups_free(NULL);
}
