/* Functions about texts. Letters and case are those of ASCII; characters are those of UTF-8. */
#include "core/text.h"
#include "route/expr_give.h"

size_t expr_find_text(struct slice text, struct slice what)
{
    if (what.len == 0) {
        return 0;
    }
    const uint8_t *at = text.len == 0 ? NULL : memmem(text.ptr, text.len, what.ptr, what.len);
    return at == NULL ? SIZE_MAX : (size_t)(at - text.ptr);
}

static bool is_blank(uint8_t c)
{
    return c == ' ' || (c >= '\t' && c <= '\r');
}

static bool is_upper(uint8_t c)
{
    return c >= 'A' && c <= 'Z';
}

static bool is_lower(uint8_t c)
{
    return c >= 'a' && c <= 'z';
}

static bool is_first_byte(uint8_t c) /* of a character */
{
    return (c & 0xc0) != 0x80;
}

/* --- counting ----------------------------------------------------------------------------------
 */

static bool count_of(struct expr_vm *vm, const struct expr_value *a, size_t *out,
                     bool (*is)(uint8_t c))
{
    struct slice s;
    if (!expr_to_text(vm, a, &s)) {
        return false;
    }
    *out = 0;
    for (size_t i = 0; i < s.len; i++) {
        *out += is(s.ptr[i]);
    }
    return expr_spend(vm, s.len / 64);
}

bool expr_f_len(struct expr_vm *vm, const struct expr_value *a, struct expr_value *out)
{
    struct slice s;
    if (a->type == EXPR_ARRAY) {
        return give_int(out, a->array.count);
    }
    return expr_to_text(vm, a, &s) && give_int(out, s.len);
}

bool expr_f_count_chars(struct expr_vm *vm, const struct expr_value *a, struct expr_value *out)
{
    size_t count;
    return count_of(vm, a, &count, is_first_byte) && give_int(out, count);
}

bool expr_f_count_spaces(struct expr_vm *vm, const struct expr_value *a, struct expr_value *out)
{
    size_t count;
    return count_of(vm, a, &count, is_blank) && give_int(out, count);
}

bool expr_f_count_uppercase(struct expr_vm *vm, const struct expr_value *a, struct expr_value *out)
{
    size_t count;
    return count_of(vm, a, &count, is_upper) && give_int(out, count);
}

bool expr_f_count_lowercase(struct expr_vm *vm, const struct expr_value *a, struct expr_value *out)
{
    size_t count;
    return count_of(vm, a, &count, is_lower) && give_int(out, count);
}

bool expr_f_is_lowercase(struct expr_vm *vm, const struct expr_value *a, struct expr_value *out)
{
    size_t count;
    return count_of(vm, a, &count, is_upper) && give_bool(out, count == 0);
}

bool expr_f_is_uppercase(struct expr_vm *vm, const struct expr_value *a, struct expr_value *out)
{
    size_t count;
    return count_of(vm, a, &count, is_lower) && give_bool(out, count == 0);
}

bool expr_f_has_digits(struct expr_vm *vm, const struct expr_value *a, struct expr_value *out)
{
    size_t count;
    return count_of(vm, a, &count, ascii_is_digit) && give_bool(out, count > 0);
}

/* --- case and ends -----------------------------------------------------------------------------
 */

static bool change_case(struct expr_vm *vm, struct slice s, struct slice *out, bool upper)
{
    uint8_t *at = expr_scratch(vm, s.len);
    if (at == NULL || !expr_spend(vm, s.len / 64)) {
        return false;
    }
    text_lower(at, s);
    for (size_t i = 0; upper && i < s.len; i++) {
        at[i] = ascii_is_alpha(at[i]) ? (uint8_t)(at[i] & ~0x20) : at[i];
    }
    *out = slice_of(at, s.len);
    return true;
}

bool expr_f_to_lowercase(struct expr_vm *vm, const struct expr_value *a, struct expr_value *out)
{
    struct slice s;
    return expr_to_text(vm, a, &s) && change_case(vm, s, &s, false) && give_text(out, s);
}

bool expr_f_to_uppercase(struct expr_vm *vm, const struct expr_value *a, struct expr_value *out)
{
    struct slice s;
    return expr_to_text(vm, a, &s) && change_case(vm, s, &s, true) && give_text(out, s);
}

static bool trimmed(struct expr_vm *vm, const struct expr_value *a, struct expr_value *out,
                    bool start, bool end)
{
    struct slice s;
    if (!expr_to_text(vm, a, &s)) {
        return false;
    }
    while (start && s.len > 0 && is_blank(s.ptr[0])) {
        s = slice_from(s, 1);
    }
    while (end && s.len > 0 && is_blank(s.ptr[s.len - 1])) {
        s.len--;
    }
    return give_text(out, s);
}

bool expr_f_trim(struct expr_vm *vm, const struct expr_value *a, struct expr_value *out)
{
    return trimmed(vm, a, out, true, true);
}

bool expr_f_trim_start(struct expr_vm *vm, const struct expr_value *a, struct expr_value *out)
{
    return trimmed(vm, a, out, true, false);
}

bool expr_f_trim_end(struct expr_vm *vm, const struct expr_value *a, struct expr_value *out)
{
    return trimmed(vm, a, out, false, true);
}

/* --- comparing ---------------------------------------------------------------------------------
 */

bool expr_f_eq_ignore_case(struct expr_vm *vm, const struct expr_value *a, struct expr_value *out)
{
    struct slice x, y;
    return two_texts(vm, a, &x, &y) && give_bool(out, text_equal_nocase(x, y));
}

bool expr_f_contains_ignore_case(struct expr_vm *vm, const struct expr_value *a,
                                 struct expr_value *out)
{
    struct slice x, y;
    if (a[0].type == EXPR_ARRAY) {
        bool found = false;
        if (!expr_to_text(vm, &a[1], &y) || !expr_spend(vm, a[0].array.count / 4)) {
            return false;
        }
        for (uint32_t i = 0; i < a[0].array.count && !found; i++) {
            if (!expr_to_text(vm, &a[0].array.items[i], &x)) {
                return false;
            }
            found = text_equal_nocase(x, y);
        }
        return give_bool(out, found);
    }
    return two_texts(vm, a, &x, &y) && change_case(vm, x, &x, false) &&
           change_case(vm, y, &y, false) && give_bool(out, expr_find_text(x, y) != SIZE_MAX);
}

static bool starts(struct slice x, struct slice y)
{
    return x.len >= y.len && slice_equal(slice_first(x, y.len), y);
}

static bool ends(struct slice x, struct slice y)
{
    return x.len >= y.len && slice_equal(slice_from(x, x.len - y.len), y);
}

bool expr_f_starts_with(struct expr_vm *vm, const struct expr_value *a, struct expr_value *out)
{
    struct slice x, y;
    return two_texts(vm, a, &x, &y) && give_bool(out, starts(x, y));
}

bool expr_f_ends_with(struct expr_vm *vm, const struct expr_value *a, struct expr_value *out)
{
    struct slice x, y;
    return two_texts(vm, a, &x, &y) && give_bool(out, ends(x, y));
}

bool expr_f_strip_prefix(struct expr_vm *vm, const struct expr_value *a, struct expr_value *out)
{
    struct slice x, y;
    return two_texts(vm, a, &x, &y) &&
           give_text(out, starts(x, y) ? slice_from(x, y.len) : SLICE_EMPTY);
}

bool expr_f_strip_suffix(struct expr_vm *vm, const struct expr_value *a, struct expr_value *out)
{
    struct slice x, y;
    return two_texts(vm, a, &x, &y) &&
           give_text(out, ends(x, y) ? slice_first(x, x.len - y.len) : SLICE_EMPTY);
}

/* --- pieces ------------------------------------------------------------------------------------
 */

/* Byte offset of a character; s.len behind the last. */
static size_t offset_of(struct slice s, size_t from, int64_t characters)
{
    size_t at = from;
    while (at < s.len && characters > 0) {
        at++;
        while (at < s.len && !is_first_byte(s.ptr[at])) {
            at++;
        }
        characters--;
    }
    return at;
}

bool expr_f_substring(struct expr_vm *vm, const struct expr_value *a, struct expr_value *out)
{
    struct slice s;
    if (!expr_to_text(vm, &a[0], &s)) {
        return false;
    }
    size_t start = offset_of(s, 0, expr_to_int(&a[1]));
    size_t end = offset_of(s, start, expr_to_int(&a[2]));
    return give_text(out, slice_first(slice_from(s, start), end - start));
}

/* Puts a piece behind the last ones; they follow each other in the VM's memory. */
static bool add_piece(struct expr_vm *vm, struct expr_value *out, struct slice piece)
{
    struct expr_value *item = expr_array(vm, 1);
    if (item == NULL) {
        return false;
    }
    *item = expr_from_text(piece);
    if (out->array.count++ == 0) {
        out->array.items = item;
    }
    return true;
}

/* At most `most` pieces, the last one with the rest. */
static bool pieces(struct expr_vm *vm, const struct expr_value *a, struct expr_value *out,
                   uint64_t most)
{
    struct slice rest, delimiter;
    if (!two_texts(vm, a, &rest, &delimiter) || !expr_spend(vm, rest.len / 64)) {
        return false;
    }
    (void)give_array(out, NULL, 0);
    size_t at;
    while (out->array.count + UINT64_C(1) < most && delimiter.len > 0 &&
           (at = expr_find_text(rest, delimiter)) != SIZE_MAX) {
        if (!add_piece(vm, out, slice_first(rest, at))) {
            return false;
        }
        rest = slice_from(rest, at + delimiter.len);
    }
    return most == 0 || add_piece(vm, out, rest);
}

bool expr_f_split(struct expr_vm *vm, const struct expr_value *a, struct expr_value *out)
{
    return pieces(vm, a, out, UINT64_MAX);
}

bool expr_f_split_n(struct expr_vm *vm, const struct expr_value *a, struct expr_value *out)
{
    int64_t most = expr_to_int(&a[2]);
    return pieces(vm, a, out, most > 0 ? (uint64_t)most : 0);
}

/* Where the last one begins; SIZE_MAX: nowhere. */
static size_t find_last(struct slice text, struct slice what)
{
    for (size_t at = text.len + 1; what.len > 0 && at-- > 0;) {
        if (starts(slice_from(text, at), what)) {
            return at;
        }
    }
    return SIZE_MAX;
}

bool expr_f_rsplit(struct expr_vm *vm, const struct expr_value *a, struct expr_value *out)
{
    struct slice rest, delimiter;
    if (!two_texts(vm, a, &rest, &delimiter) || !expr_spend(vm, rest.len / 16)) {
        return false;
    }
    (void)give_array(out, NULL, 0);
    size_t at;
    while ((at = find_last(rest, delimiter)) != SIZE_MAX) {
        if (!add_piece(vm, out, slice_from(rest, at + delimiter.len))) {
            return false;
        }
        rest = slice_first(rest, at);
    }
    return add_piece(vm, out, rest);
}

static bool two_pieces(struct expr_vm *vm, struct slice s, size_t at, size_t skip,
                       struct expr_value *out)
{
    if (at == SIZE_MAX) {
        return give_text(out, SLICE_EMPTY);
    }
    (void)give_array(out, NULL, 0);
    return add_piece(vm, out, slice_first(s, at)) && add_piece(vm, out, slice_from(s, at + skip));
}

bool expr_f_split_once(struct expr_vm *vm, const struct expr_value *a, struct expr_value *out)
{
    struct slice s, delimiter;
    return two_texts(vm, a, &s, &delimiter) &&
           two_pieces(vm, s, delimiter.len > 0 ? expr_find_text(s, delimiter) : SIZE_MAX,
                      delimiter.len, out);
}

bool expr_f_rsplit_once(struct expr_vm *vm, const struct expr_value *a, struct expr_value *out)
{
    struct slice s, delimiter;
    return two_texts(vm, a, &s, &delimiter) && expr_spend(vm, s.len / 16) &&
           two_pieces(vm, s, find_last(s, delimiter), delimiter.len, out);
}

bool expr_f_lines(struct expr_vm *vm, const struct expr_value *a, struct expr_value *out)
{
    struct slice rest;
    if (!expr_to_text(vm, a, &rest)) {
        return false;
    }
    (void)give_array(out, NULL, 0);
    while (rest.len > 0) {
        size_t end = slice_find(rest, '\n');
        struct slice line = slice_first(rest, end);
        line.len -= end < rest.len && line.len > 0 && line.ptr[line.len - 1] == '\r';
        if (!add_piece(vm, out, line)) {
            return false;
        }
        rest = slice_from(rest, mx_min_size(end + 1, rest.len));
    }
    return true;
}

bool expr_f_split_words(struct expr_vm *vm, const struct expr_value *a, struct expr_value *out)
{
    struct slice s;
    if (!expr_to_text(vm, a, &s)) {
        return false;
    }
    (void)give_array(out, NULL, 0);
    for (size_t i = 0; i < s.len;) {
        size_t end = i;
        bool word = true;
        for (; end < s.len && !is_blank(s.ptr[end]); end++) {
            word = word && (ascii_is_alnum(s.ptr[end]) || s.ptr[end] >= 0x80);
        }
        if (word && end > i && !add_piece(vm, out, slice_first(slice_from(s, i), end - i))) {
            return false;
        }
        i = end + 1;
    }
    return true;
}
