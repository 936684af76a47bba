/* The language a second time, as plainly as it can be: a random tree, written out as text with no
 * more parentheses than precedence needs, and evaluated by walking it. Knows nothing of the
 * product but the struct of a value. */
#pragma once

#include "route/expr.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum plain_kind { P_VALUE, P_VARIABLE, P_CAPTURE, P_UNARY, P_BINARY, P_INDEX, P_ARRAY, P_CALL };

struct plain {
    enum plain_kind kind;
    const char *name; /* operator, function or variable */
    int level;        /* of precedence: 0 binds weakest, 8 is an operand */
    struct expr_value value;
    struct plain *child[4];
    unsigned children;
};

struct plain_run {
    uint64_t random;
    unsigned char memory[1 << 20];
    size_t used;
    struct slice found; /* $0 */
    bool has_search;    /* a matches() has been generated: $0 may be */
    const char *error;
};

static struct plain_run plain;

static void *plain_take(size_t bytes)
{
    void *at = plain.memory + plain.used;
    plain.used += (bytes + 15) & ~(size_t)15;
    if (plain.used > sizeof plain.memory) {
        abort();
    }
    return at;
}

static unsigned plain_dice(unsigned sides)
{
    plain.random ^= plain.random << 13;
    plain.random ^= plain.random >> 7;
    plain.random ^= plain.random << 17;
    return (unsigned)((plain.random >> 32) % sides);
}

/* --- values ------------------------------------------------------------------------------------
 */

static struct expr_value plain_int(int64_t integer)
{
    return (struct expr_value){.type = EXPR_INTEGER, .integer = integer};
}

static struct expr_value plain_float(double number)
{
    return (struct expr_value){.type = EXPR_FLOAT, .number = number};
}

static struct expr_value plain_slice(struct slice text)
{
    return (struct expr_value){.type = EXPR_STRING, .string = text};
}

static struct expr_value plain_text(const char *text)
{
    return plain_slice(slice_of_text(text));
}

static struct expr_value plain_error(const char *error)
{
    plain.error = error;
    return plain_int(0);
}

static bool plain_true(struct expr_value v)
{
    return v.type == EXPR_STRING    ? v.string.len != 0
           : v.type == EXPR_INTEGER ? v.integer != 0
           : v.type == EXPR_FLOAT   ? v.number != 0
           : v.type == EXPR_ARRAY   ? v.array.count != 0
                                    : true;
}

static struct slice plain_shown(struct expr_value v)
{
    char *text = plain_take(64);
    if (v.type == EXPR_STRING || v.type == EXPR_CONSTANT_NAME) {
        return v.string;
    }
    if (v.type == EXPR_ARRAY) {
        return SLICE_EMPTY;
    }
    if (v.type == EXPR_INTEGER) {
        snprintf(text, 64, "%lld", (long long)v.integer);
        return slice_of_text(text);
    }
    struct writer w = writer_init(text, 64); /* the last digit's rounding is a matter of taste */
    put_expr_value(&w, &v);
    return writer_slice(&w);
}

/* Integer or float; *is false when the text is no number. */
static struct expr_value plain_number(struct expr_value v, bool *is)
{
    *is = true;
    if (v.type == EXPR_INTEGER || v.type == EXPR_FLOAT) {
        return v;
    }
    char text[512] = "";
    *is = v.type == EXPR_STRING && v.string.len > 0 && v.string.len < sizeof text;
    if (*is) {
        memcpy(text, v.string.ptr, v.string.len);
        size_t sign = text[0] == '-', digits = strspn(text + sign, "0123456789");
        size_t point = text[sign + digits] == '.';
        size_t more = point ? strspn(text + sign + digits + 1, "0123456789") : 0;
        *is = sign + digits + point + more == v.string.len && digits + more > 0;
        errno = 0;
        long long whole = strtoll(text, NULL, 10);
        if (*is && point == 0 && errno == 0 && whole != INT64_MIN) {
            return plain_int(whole);
        }
    }
    return *is ? plain_float(strtod(text, NULL)) : plain_int(0);
}

static double plain_double(struct expr_value v)
{
    bool is;
    struct expr_value n = plain_number(v, &is);
    return n.type == EXPR_INTEGER ? (double)n.integer : n.number;
}

/* 2: no order */
static int plain_order(struct expr_value a, struct expr_value b)
{
    bool is;
    if (a.type == EXPR_ARRAY || b.type == EXPR_ARRAY) {
        if (a.type != b.type) {
            return 2;
        }
        for (uint32_t i = 0; i < a.array.count && i < b.array.count; i++) {
            int order = plain_order(a.array.items[i], b.array.items[i]);
            if (order != 0) {
                return order;
            }
        }
        return a.array.count < b.array.count ? -1 : a.array.count > b.array.count;
    }
    if (a.type == EXPR_STRING && b.type == EXPR_STRING) {
        for (size_t i = 0; i < a.string.len && i < b.string.len; i++) {
            if (a.string.ptr[i] != b.string.ptr[i]) {
                return a.string.ptr[i] < b.string.ptr[i] ? -1 : 1;
            }
        }
        return a.string.len < b.string.len ? -1 : a.string.len > b.string.len;
    }
    struct expr_value x = plain_number(a, &is), y = plain_number(b, &is);
    if (x.type == EXPR_INTEGER && y.type == EXPR_INTEGER) {
        return x.integer < y.integer ? -1 : x.integer > y.integer;
    }
    return plain_double(x) < plain_double(y) ? -1 : plain_double(x) > plain_double(y);
}

static bool plain_same(struct expr_value a, struct expr_value b)
{
    if (a.type == EXPR_CONSTANT_NAME || b.type == EXPR_CONSTANT_NAME) {
        return false;
    }
    if (a.type == EXPR_ARRAY && b.type == EXPR_ARRAY) {
        bool same = a.array.count == b.array.count;
        for (uint32_t i = 0; same && i < a.array.count; i++) {
            same = plain_same(a.array.items[i], b.array.items[i]);
        }
        return same;
    }
    return plain_order(a, b) == 0;
}

/* --- operators ---------------------------------------------------------------------------------
 */

static struct expr_value plain_join(struct slice a, struct slice b)
{
    unsigned char *text = plain_take(a.len + b.len + 1);
    if (a.len) {
        memcpy(text, a.ptr, a.len);
    }
    if (b.len) {
        memcpy(text + a.len, b.ptr, b.len);
    }
    return plain_slice(slice_of(text, a.len + b.len));
}

static struct expr_value plain_items(struct expr_value v)
{
    if (v.type == EXPR_ARRAY) {
        return v;
    }
    struct expr_value *item = plain_take(sizeof *item);
    *item = v;
    return (struct expr_value){.type = EXPR_ARRAY, .array = {item, 1}};
}

static struct expr_value plain_array(struct expr_value a, struct expr_value b, bool minus)
{
    struct expr_value x = plain_items(a), y = plain_items(b);
    struct expr_value *items = plain_take((x.array.count + y.array.count) * sizeof *items);
    uint32_t count = 0;
    for (uint32_t i = 0; i < x.array.count; i++) {
        bool out = false;
        for (uint32_t k = 0; minus && k < y.array.count; k++) {
            out = out || plain_same(x.array.items[i], y.array.items[k]);
        }
        if (!out) {
            items[count++] = x.array.items[i];
        }
    }
    for (uint32_t i = 0; !minus && i < y.array.count; i++) {
        items[count++] = y.array.items[i];
    }
    return (struct expr_value){.type = EXPR_ARRAY, .array = {items, count}};
}

static bool plain_is_text(struct expr_value v)
{
    return v.type == EXPR_STRING || v.type == EXPR_CONSTANT_NAME;
}

static struct expr_value plain_arithmetic(char op, struct expr_value a, struct expr_value b)
{
    bool is;
    if (op == '+' && (a.type == EXPR_ARRAY || b.type == EXPR_ARRAY)) {
        return plain_array(a, b, false);
    }
    if (op == '-' && a.type == EXPR_ARRAY) {
        return plain_array(a, b, true);
    }
    if (op == '+' && (plain_is_text(a) || plain_is_text(b))) {
        return a.type == EXPR_STRING && a.string.len == 0
                   ? b
                   : plain_join(plain_shown(a), plain_shown(b));
    }
    if (a.type == EXPR_ARRAY || b.type == EXPR_ARRAY) {
        return plain_error("arithmetic on an array");
    }
    struct expr_value x = plain_number(a, &is), y = plain_number(b, &is);
    if (op != '/' && x.type == EXPR_INTEGER && y.type == EXPR_INTEGER) {
        __int128 wide = op == '+'   ? (__int128)x.integer + y.integer
                        : op == '-' ? (__int128)x.integer - y.integer
                                    : (__int128)x.integer * y.integer;
        return plain_int(wide > INT64_MAX   ? INT64_MAX
                         : wide < INT64_MIN ? INT64_MIN
                                            : (int64_t)wide);
    }
    double p = plain_double(x), q = plain_double(y);
    return plain_float(op == '+'   ? p + q
                       : op == '-' ? p - q
                       : op == '*' ? p * q
                       : q == 0    ? 0
                                   : p / q);
}

static struct expr_value plain_binary(const char *op, struct expr_value a, struct expr_value b)
{
    int order = plain_order(a, b);
    if (strcmp(op, "==") == 0) {
        return plain_int(plain_same(a, b));
    }
    if (strcmp(op, "!=") == 0) {
        return plain_int(!plain_same(a, b));
    }
    if (strcmp(op, "^") == 0) {
        return plain_int(plain_true(a) != plain_true(b));
    }
    if (op[0] == '<' || op[0] == '>') {
        bool yes = order == (op[0] == '<' ? -1 : 1) || (op[1] == '=' && order == 0);
        return plain_int(yes);
    }
    return plain_arithmetic(op[0], a, b);
}

#include "route/plain_functions.h"

/* --- the walk ----------------------------------------------------------------------------------
 */

typedef struct expr_value (*plain_variable_fn)(const char *name);

static struct expr_value plain_eval(const struct plain *node, plain_variable_fn variable)
{
    struct expr_value v[4];
    bool is;
    if (node->kind == P_VALUE) {
        return node->value;
    }
    if (node->kind == P_VARIABLE) {
        return variable(node->name);
    }
    if (node->kind == P_CAPTURE) {
        return plain_slice(plain.found);
    }
    for (unsigned i = 0; i < node->children; i++) {
        v[i] = plain_eval(node->child[i], variable);
        if (plain.error) {
            return v[i];
        }
        bool logical = node->kind == P_BINARY && (node->name[0] == '&' || node->name[0] == '|');
        if (logical && i == 0 && plain_true(v[0]) == (node->name[0] == '|')) {
            return v[0];
        }
        if (logical && i == 1) {
            return plain_int(plain_true(v[1]));
        }
    }
    switch (node->kind) {
    case P_UNARY:
        if (node->name[0] == '!') {
            return plain_int(!plain_true(v[0]));
        }
        v[1] = plain_number(v[0], &is);
        return v[0].type == EXPR_ARRAY     ? plain_error("arithmetic on an array")
               : v[1].type == EXPR_FLOAT   ? plain_float(-v[1].number)
               : v[1].integer == INT64_MIN ? plain_int(INT64_MAX)
                                           : plain_int(-v[1].integer);
    case P_BINARY:
        return plain_binary(node->name, v[0], v[1]);
    case P_INDEX: {
        double at = trunc(plain_double(v[1]));
        bool inside = v[0].type == EXPR_ARRAY && at >= 0 && at < v[0].array.count;
        return inside ? v[0].array.items[(size_t)at] : plain_text("");
    }
    case P_ARRAY: {
        struct expr_value *items = plain_take(sizeof v);
        for (unsigned i = 0; i < node->children; i++) {
            if (v[i].type == EXPR_ARRAY) {
                return plain_error("an array inside an array");
            }
            items[i] = v[i];
        }
        return (struct expr_value){.type = EXPR_ARRAY, .array = {items, node->children}};
    }
    default:
        return plain_call(node->name, v, node->children);
    }
}

/* Is there a part without variables that cannot be worked out? The product refuses it at load,
 * also where it would never be reached. */
static bool plain_known(const struct plain *node, bool *broken)
{
    bool known = node->kind == P_VALUE || node->kind == P_UNARY || node->kind == P_BINARY ||
                 node->kind == P_INDEX || node->kind == P_ARRAY ||
                 (node->kind == P_CALL && !plain_function(node->name)->hosted);
    bool left = false; /* of && and ||: known, and decides */
    for (unsigned i = 0; i < node->children; i++) {
        bool child = plain_known(node->child[i], broken);
        if (i == 0 && child && node->kind == P_BINARY &&
            (node->name[0] == '&' || node->name[0] == '|')) {
            plain.error = NULL;
            left = plain_true(plain_eval(node->child[0], NULL)) == (node->name[0] == '|');
            left = left && plain.error == NULL;
        }
        known = child && known;
    }
    known = known || left;
    if (known) {
        plain.error = NULL;
        (void)plain_eval(node, NULL);
        *broken = *broken || plain.error != NULL;
        plain.error = NULL;
    }
    return known;
}

/* --- making and writing ------------------------------------------------------------------------
 */

static struct plain *plain_new(enum plain_kind kind, const char *name, int level)
{
    struct plain *node = plain_take(sizeof *node);
    *node = (struct plain){.kind = kind, .name = name, .level = level};
    return node;
}

static const struct {
    const char *name, *also;
    int level;
} plain_operators[] = {{"||", "|", 0},  {"&&", "&", 1}, {"^", "^", 2},   {"==", "=", 3},
                       {"!=", "!=", 3}, {">", ">", 4},  {">=", "=>", 4}, {"<", "<", 4},
                       {"<=", "=<", 4}, {"+", "+", 5},  {"-", "-", 5},   {"*", "*", 6},
                       {"/", "/", 6}};
static const char *const plain_variables[] = {"rcpt", "rcpt_domain", "sender",
                                              "size", "recipients",  "last_error"};

static struct plain *plain_leaf(void)
{
    static const char *const texts[] = {"",          "a",
                                        "Bob",       "org",
                                        "7",         "-2",
                                        "1.5",       "Example.org",
                                        "@",         "a@b.example",
                                        ",",         " x\ty ",
                                        "a,b,,c",    "one\ntwo\r\n\n",
                                        "r\xc3\xbc", "B+News@x",
                                        "1000",      "192.0.2.1"};
    static const int64_t numbers[] = {0, 1, 2, 3, 7, 1000, INT64_MAX, 300000};
    struct plain *node = plain_new(P_VALUE, NULL, 8);
    switch (plain_dice(8)) {
    case 0:
    case 1:
        node->value = plain_text(texts[plain_dice(sizeof texts / sizeof texts[0])]);
        break;
    case 2:
    case 3:
        node->value = plain_int(numbers[plain_dice(8)]);
        break;
    case 4:
        node->value = plain_float(plain_dice(8) * 0.25);
        break;
    case 5:
        if (plain.has_search && plain_dice(2)) {
            return plain_new(P_CAPTURE, "$0", 8);
        }
        node->value =
            (struct expr_value){.type = EXPR_CONSTANT_NAME, .string = SLICE_LITERAL("strict")};
        break;
    default:
        return plain_new(P_VARIABLE, plain_variables[plain_dice(6)], 8);
    }
    return node;
}

static struct plain *plain_literal(const char *const *texts, unsigned count)
{
    struct plain *node = plain_new(P_VALUE, NULL, 8);
    node->value = plain_text(texts[plain_dice(count)]);
    return node;
}

/* One of the words of a list. */
static struct plain *plain_word(const char *list)
{
    struct plain *node = plain_new(P_VALUE, NULL, 8);
    unsigned words = 1, which;
    for (const char *c = list; *c != '\0'; c++) {
        words += *c == ' ';
    }
    for (which = plain_dice(words); which > 0; which--) {
        list = strchr(list, ' ') + 1;
    }
    node->value = plain_slice(slice_of(list, strcspn(list, " ")));
    return node;
}

static struct plain *plain_random(unsigned depth);

static struct plain *plain_argument(char kind, const char *words, unsigned depth)
{
    static const char *const patterns[] = {"", "a", "Bob", "org", "Ex"};
    static const char *const addresses[] = {
        "192.0.2.1", "2001:db8::1", "::", "300.1.1.1", "1.2.3", "192.0.3.7"};
    static const char *const networks[] = {"192.0.2.0/24", "2001:db8::/32", "0.0.0.0/0",
                                           "192.0.2.1"};
    static const char *const stores[] = {"*", "known", "named"};
    switch (kind) {
    case 'm':
        return plain_literal(patterns, 5);
    case 'a':
        return plain_dice(3) ? plain_literal(addresses, 6) : plain_random(depth);
    case 'n':
        return plain_dice(3) ? plain_literal(networks, 4)
                             : plain_new(P_VARIABLE, plain_variables[plain_dice(6)], 8);
    case 'S':
        return plain_literal(stores, 1);
    case 'T':
        return plain_literal(stores, 3);
    case 'w':
        return plain_word(words);
    default:
        return plain_random(depth);
    }
}

static struct plain *plain_random(unsigned depth)
{
    struct plain *node;
    unsigned which = depth == 0 ? 0 : plain_dice(10);
    if (which < 2) {
        return plain_leaf();
    }
    if (which == 2) {
        node = plain_new(P_UNARY, plain_dice(2) ? "!" : "-", 7);
        node->children = 1;
    } else if (which == 3) {
        node = plain_new(P_INDEX, "[", 8);
        node->children = 2;
    } else if (which == 4) {
        node = plain_new(P_ARRAY, "[", 8);
        node->children = plain_dice(4);
    } else if (which == 5 || which == 6) {
        const struct plain_function *f =
            &plain_functions[plain_dice(sizeof plain_functions / sizeof plain_functions[0])];
        node = plain_new(P_CALL, f->name, 8);
        node->children = (unsigned)strlen(f->arguments);
        for (unsigned i = 0; i < node->children; i++) {
            node->child[i] = plain_argument(f->arguments[i], f->words, depth - 1);
        }
        plain.has_search = plain.has_search || strcmp(f->name, "matches") == 0;
        return node;
    } else {
        unsigned op = plain_dice(sizeof plain_operators / sizeof plain_operators[0]);
        node = plain_new(P_BINARY, plain_operators[op].name, plain_operators[op].level);
        node->children = 2;
    }
    for (unsigned i = 0; i < node->children; i++) {
        node->child[i] = plain_random(depth - 1);
    }
    return node;
}

static void plain_blank(struct writer *w)
{
    static const char *const blanks[] = {"", " ", "", "\n", "\t ", " "};
    put_text(w, blanks[plain_dice(6)]);
}

/* level: what the place needs */
static void plain_write(struct writer *w, const struct plain *node, int level)
{
    bool wrap = node->level < level || plain_dice(12) == 0;
    plain_blank(w);
    put_text(w, wrap ? "(" : "");
    if (node->kind == P_VALUE) {
        put_expr_value(w, &node->value);
    } else if (node->kind == P_VARIABLE || node->kind == P_CAPTURE) {
        put_text(w, node->name);
    } else if (node->kind == P_UNARY) {
        put_text(w, node->name);
        plain_write(w, node->child[0], 7);
    } else if (node->kind == P_BINARY) {
        const char *name = node->name;
        for (size_t i = 0; i < sizeof plain_operators / sizeof plain_operators[0]; i++) {
            if (strcmp(name, plain_operators[i].name) == 0 && plain_dice(3) == 0) {
                name = plain_operators[i].also;
                break;
            }
        }
        plain_write(w, node->child[0], node->level);
        put_char(w, ' ');
        put_text(w, name);
        put_char(w, ' ');
        plain_write(w, node->child[1], node->level + 1);
    } else {
        bool index = node->kind == P_INDEX, call = node->kind == P_CALL;
        if (index) {
            plain_write(w, node->child[0], 8);
        }
        put_text(w, call ? node->name : "");
        put_char(w, call ? '(' : '[');
        for (unsigned i = index; i < node->children; i++) {
            put_text(w, i > (unsigned)index ? "," : "");
            plain_write(w, node->child[i], 0);
        }
        put_char(w, call ? ')' : ']');
    }
    put_text(w, wrap ? ")" : "");
    plain_blank(w);
}
