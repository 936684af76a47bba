/* The names that a message of the compiler offers instead of one that it does not know. */
#include "core/cursor.h"
#include "route/expr_private.h"
#include "route/lookup.h"

static const char more[] = " ...";
enum { MORE_BYTES = sizeof more - 1 };

/* False: there was no room for it and, behind it, for "...". */
static bool put_name(struct writer *w, struct slice name)
{
    bool fits = writer_room(w) > name.len + 1 + MORE_BYTES;
    if (fits) {
        put_char(w, ' ');
        put_slice(w, name);
    }
    return fits;
}

static void put_rest(struct writer *w, bool all)
{
    put_text(w, all ? "" : more);
}

void expr_put_variables(struct writer *w, enum expr_context context)
{
    const struct expr_variable *row;
    bool any = false, all = true;
    for (uint16_t i = 0; (row = expr_variable_row(i)) != NULL; i++) {
        if ((row->contexts & 1u << context) != 0 && row->absent == NULL) {
            all = all && put_name(w, slice_of_text(row->name));
            any = true;
        }
    }
    put_rest(w, all);
    if (!any) {
        put_text(w, " none (a constant is wanted)");
    }
}

/* letter 0: all of them */
static bool put_functions(struct writer *w, uint8_t letter)
{
    const struct expr_function *row;
    bool any = false, all = true;
    for (uint32_t i = 0; (row = expr_function_row(i)) != NULL; i++) {
        if (row->absent == NULL && (letter == 0 || row->name[0] == (char)letter)) {
            all = all && put_name(w, slice_of_text(row->name));
            any = true;
        }
    }
    put_rest(w, all);
    return any;
}

void expr_put_functions(struct writer *w, uint8_t letter)
{
    if (!put_functions(w, letter)) {
        (void)put_functions(w, 0);
    }
}

/* The words of the list that begin so. */
static bool put_words(struct writer *w, const char *list, struct slice beginning)
{
    struct slice rest = slice_of_text(list);
    bool any = false, all = true;
    while (rest.len > 0) {
        struct slice word = slice_first(rest, slice_find(rest, ' '));
        rest = slice_from(rest, mx_min_size(word.len + 1, rest.len));
        if (word.len > 0 && slice_equal(slice_first(word, beginning.len), beginning)) {
            all = all && put_name(w, word);
            any = true;
        }
    }
    put_rest(w, all);
    return any;
}

void expr_put_words(struct writer *w, const char *list, struct slice given)
{
    size_t dot = slice_find(given, '.');
    bool grouped = dot < given.len;
    if (!grouped || !put_words(w, list, slice_first(given, dot + 1))) {
        (void)put_words(w, list, SLICE_EMPTY);
    }
}

void expr_put_stores(struct writer *w, const struct lookups *lookups)
{
    bool all = put_name(w, SLICE_LITERAL(EXPR_STORE_NAME));
    for (uint32_t i = 0; i < lookups_count(lookups); i++) {
        all = all && put_name(w, lookups_name(lookups, i));
    }
    put_rest(w, all);
}
