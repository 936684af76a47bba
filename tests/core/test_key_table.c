#include "core/key_table.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct key_table *new_table(void)
{
    struct key_table *table;
    cr_assert_eq(key_table_new(&table, 7), MX_OK);
    return table;
}

static struct key_value text_value(const char *text)
{
    return (struct key_value){.type = KEY_TEXT, .text = slice_of_text(text)};
}

/* As text; "-": there is none. */
static const char *shown(struct key_table *table, enum key_kind kind, const char *key,
                         uint64_t now_ns)
{
    static char text[KEY_TEXT_MAX + 1];
    struct key_value value;
    if (!key_table_get(table, kind, slice_of_text(key), now_ns, &value)) {
        return "-";
    }
    if (value.type == KEY_TEXT) {
        snprintf(text, sizeof text, "%.*s", SLICE_ARGS(value.text));
    } else if (value.type == KEY_INTEGER) {
        snprintf(text, sizeof text, "%lld", (long long)value.integer);
    } else {
        snprintf(text, sizeof text, "%.1f", value.number);
    }
    return text;
}

static int64_t add(struct key_table *table, const char *key, int64_t n)
{
    int64_t value;
    cr_assert_eq(key_table_add(table, slice_of_text(key), n, 0, &value), MX_OK);
    return value;
}

Test(key_table, values_and_counters)
{
    struct key_table *table = new_table();
    struct key_table_stats stats;
    struct key_value one = text_value("one"), none = text_value("");
    struct key_value integer = {.type = KEY_INTEGER, .integer = -5};
    struct key_value number = {.type = KEY_FLOAT, .number = 2.5};
    cr_assert_str_eq(shown(table, KEY_IS_VALUE, "a", 0), "-");
    cr_assert_eq(key_table_put(table, SLICE_LITERAL("a"), &one, 0), MX_OK);
    cr_assert_str_eq(shown(table, KEY_IS_VALUE, "a", 0), "one");
    cr_assert_str_eq(shown(table, KEY_IS_COUNTER, "a", 0), "-", "the two do not meet");
    cr_assert_eq(key_table_put(table, SLICE_LITERAL("a"), &integer, 0), MX_OK);
    cr_assert_str_eq(shown(table, KEY_IS_VALUE, "a", 0), "-5");
    cr_assert_eq(key_table_put(table, SLICE_LITERAL("a"), &number, 0), MX_OK);
    cr_assert_str_eq(shown(table, KEY_IS_VALUE, "a", 0), "2.5");
    cr_assert_eq(key_table_put(table, SLICE_EMPTY, &none, 0), MX_OK);
    cr_assert_str_eq(shown(table, KEY_IS_VALUE, "", 0), "");
    cr_assert_eq(add(table, "a", 1), 1);
    cr_assert_eq(add(table, "a", 41), 42);
    cr_assert_str_eq(shown(table, KEY_IS_COUNTER, "a", 0), "42");
    cr_assert_str_eq(shown(table, KEY_IS_VALUE, "a", 0), "2.5");
    cr_assert_eq(add(table, "most", INT64_MAX), INT64_MAX);
    cr_assert_eq(add(table, "most", 1), INT64_MAX);
    cr_assert_eq(add(table, "least", -2), -2);
    cr_assert_eq(add(table, "least", INT64_MIN), INT64_MIN);
    key_table_stats(table, &stats);
    cr_assert_eq(stats.keys, 5);
    cr_assert_eq(stats.forgotten, 0);
    key_table_free(table);
    key_table_free(NULL);
}

Test(key_table, bounds_of_a_key)
{
    static char large[KEY_TEXT_MAX + 1];
    struct key_table *table = new_table();
    int64_t value;
    memset(large, 'x', sizeof large);
    struct key_value most = {.type = KEY_TEXT, .text = slice_of(large, KEY_TEXT_MAX)};
    struct key_value over = {.type = KEY_TEXT, .text = slice_of(large, KEY_TEXT_MAX + 1)};
    struct slice key = slice_of(large, KEY_NAME_MAX), long_key = slice_of(large, KEY_NAME_MAX + 1);
    cr_assert_eq(key_table_put(table, key, &most, 0), MX_OK);
    cr_assert_eq(key_table_put(table, key, &over, 0), MX_ERR_LIMIT);
    cr_assert_eq(key_table_put(table, long_key, &most, 0), MX_ERR_LIMIT);
    cr_assert_eq(key_table_add(table, long_key, 1, 0, &value), MX_ERR_LIMIT);
    cr_assert_eq(key_table_add(table, key, 1, 0, &value), MX_OK);
    cr_assert(key_table_get(table, KEY_IS_VALUE, key, 0, &over));
    cr_assert(slice_equal(over.text, most.text));
    key_table_free(table);
}

/* What is used stays, what is not used for long goes. */
Test(key_table, time)
{
    const uint64_t kept = KEY_KEPT_HOURS * 3600 * MX_NS_PER_S;
    struct key_table *table = new_table();
    struct key_table_stats stats;
    struct key_value one = text_value("one");
    cr_assert_eq(key_table_put(table, SLICE_LITERAL("used"), &one, 0), MX_OK);
    cr_assert_eq(key_table_put(table, SLICE_LITERAL("idle"), &one, 0), MX_OK);
    cr_assert_str_eq(shown(table, KEY_IS_VALUE, "used", kept - 1), "one");
    cr_assert_str_eq(shown(table, KEY_IS_VALUE, "other", kept), "-");
    key_table_stats(table, &stats);
    cr_assert_eq(stats.keys, 1, "idle has gone with the next use of the table");
    cr_assert_str_eq(shown(table, KEY_IS_VALUE, "used", 2 * kept - 2), "one");
    cr_assert_str_eq(shown(table, KEY_IS_VALUE, "used", 3 * kept - 2), "-");
    /* More than go at once, and one of them asked for. */
    for (unsigned i = 0; i < 20; i++) {
        char key[8];
        snprintf(key, sizeof key, "%u", i);
        cr_assert_eq(key_table_put(table, slice_of_text(key), &one, 0), MX_OK);
    }
    cr_assert_str_eq(shown(table, KEY_IS_VALUE, "19", kept), "-");
    key_table_stats(table, &stats);
    cr_assert_eq(stats.keys, 15);
    cr_assert_eq(stats.forgotten, 0, "nobody had to give way");
    key_table_free(table);
}

Test(key_table, full_of_keys)
{
    struct key_table *table = new_table();
    struct key_table_stats stats;
    char key[16];
    for (unsigned i = 0; i < KEY_TABLE_KEYS_MAX; i++) {
        snprintf(key, sizeof key, "%u", i);
        cr_assert_eq(add(table, key, i), i);
    }
    key_table_stats(table, &stats);
    cr_assert_eq(stats.keys, KEY_TABLE_KEYS_MAX);
    cr_assert_eq(stats.forgotten, 0);
    cr_assert_str_eq(shown(table, KEY_IS_COUNTER, "0", 0), "0"); /* used: 1 goes first */
    cr_assert_eq(add(table, "new", 1), 1);
    cr_assert_str_eq(shown(table, KEY_IS_COUNTER, "1", 0), "-");
    cr_assert_str_eq(shown(table, KEY_IS_COUNTER, "0", 0), "0");
    cr_assert_str_eq(shown(table, KEY_IS_COUNTER, "2", 0), "2");
    key_table_stats(table, &stats);
    cr_assert_eq(stats.keys, KEY_TABLE_KEYS_MAX);
    cr_assert_eq(stats.forgotten, 1);
    key_table_free(table);
}

Test(key_table, full_of_bytes)
{
    static char large[KEY_TEXT_MAX];
    struct key_table *table = new_table();
    struct key_table_stats stats;
    memset(large, 'x', sizeof large);
    struct key_value value = {.type = KEY_TEXT, .text = slice_of(large, sizeof large)};
    unsigned put = 0;
    char key[16];
    do {
        snprintf(key, sizeof key, "%u", put++);
        cr_assert_eq(key_table_put(table, slice_of_text(key), &value, 0), MX_OK);
        key_table_stats(table, &stats);
        cr_assert_leq(stats.bytes, KEY_TABLE_BYTES_MAX);
    } while (stats.forgotten == 0);
    cr_assert_eq(stats.keys, put - 1);
    cr_assert_gt(put, KEY_TABLE_BYTES_MAX / (KEY_TEXT_MAX + 200));
    cr_assert_str_eq(shown(table, KEY_IS_VALUE, "0", 0), "-");
    cr_assert_neq(shown(table, KEY_IS_VALUE, "1", 0)[0], '-');
    key_table_free(table);
}

/* Against an array that is searched from its beginning. */
Test(key_table, random_use)
{
    enum { KEYS = 40, ROUNDS = 200000 };
    struct {
        bool there[2];
        int64_t value[2];
    } plain[KEYS] = {0};
    struct key_table *table = new_table();
    srand(3);
    for (unsigned round = 0; round < ROUNDS; round++) {
        unsigned k = (unsigned)rand() % KEYS, kind = (unsigned)rand() % 2;
        int64_t n = rand() % 1000 - 500, got;
        char key[8];
        snprintf(key, sizeof key, "k%u", k);
        struct key_value value = {.type = KEY_INTEGER, .integer = n};
        if (rand() % 3 == 0) {
            bool there = key_table_get(table, (enum key_kind)kind, slice_of_text(key), 0, &value);
            cr_assert_eq(there, plain[k].there[kind]);
            cr_assert(!there || value.integer == plain[k].value[kind]);
        } else if (kind == KEY_IS_VALUE) {
            cr_assert_eq(key_table_put(table, slice_of_text(key), &value, 0), MX_OK);
            plain[k].value[kind] = n;
            plain[k].there[kind] = true;
        } else {
            cr_assert_eq(key_table_add(table, slice_of_text(key), n, 0, &got), MX_OK);
            plain[k].value[kind] += n;
            plain[k].there[kind] = true;
            cr_assert_eq(got, plain[k].value[kind]);
        }
    }
    key_table_free(table);
}
