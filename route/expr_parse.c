/* Tokens to a tree, by precedence. Names, numbers of arguments and literals are checked here. */
#include "core/cursor.h"
#include "core/netaddr.h"
#include "core/text.h"
#include "route/expr_lex.h"
#include "route/expr_private.h"
#include "route/lookup.h"

#include <stdlib.h>

enum {
    NAME_SHOWN = 40,                   /* bytes of a name in a message */
    NAMES_MAX = EXPR_MESSAGE_MAX - 80, /* of the names that it offers, behind what is wrong */
};

struct parser {
    struct expr_compiler *c;
    struct expr_lexer lexer;
    struct expr_token token; /* looked at, not consumed */
    uint32_t end;            /* behind the last consumed token */
    unsigned nesting;
};

static struct expr_node *parse_binary(struct parser *p, unsigned level);

/* --- problems ----------------------------------------------------------------------------------
 */

static void put_found(struct writer *w, const struct expr_token *token)
{
    put_text(w, ", found ");
    if (token->kind == TOKEN_END) {
        put_text(w, "the end");
    } else {
        put_char(w, '"');
        put_slice(w, text_first(token->text, NAME_SHOWN));
        put_char(w, '"');
    }
}

static void refuse(struct parser *p, uint32_t position, struct writer *w)
{
    w->buf[mx_min_size(w->len, EXPR_MESSAGE_MAX - 1)] = '\0';
    expr_refuse(p->c, MX_ERR_SYNTAX, position, (const char *)w->buf);
}

/* What was expected at the token, and what it is. */
static struct expr_node *unexpected(struct parser *p, const char *message)
{
    char text[EXPR_MESSAGE_MAX];
    struct writer w = writer_init(text, sizeof text - 1);
    put_text(&w, p->token.kind == TOKEN_BAD ? p->token.problem : message);
    put_found(&w, &p->token);
    refuse(p, p->token.position, &w);
    return NULL;
}

/* message "name" more */
static struct expr_node *refuse_name(struct parser *p, const struct expr_token *name,
                                     const char *message, const char *more)
{
    char text[EXPR_MESSAGE_MAX];
    struct writer w = writer_init(text, sizeof text - 1);
    put_text(&w, message);
    put_text(&w, " \"");
    put_slice(&w, text_first(name->text, NAME_SHOWN));
    put_char(&w, '"');
    put_slice(&w, slice_first(slice_of_text(more), writer_room(&w)));
    refuse(p, name->position, &w);
    return NULL;
}

static void advance(struct parser *p)
{
    p->end = p->lexer.pos;
    p->token = expr_lex_next(&p->lexer);
}

static bool is_operator(const struct parser *p, const char *op)
{
    return p->token.kind == TOKEN_OPERATOR && slice_equal(p->token.text, slice_of_text(op));
}

static bool expect(struct parser *p, const char *op, const char *message)
{
    if (!is_operator(p, op)) {
        (void)unexpected(p, message);
        return false;
    }
    advance(p);
    return true;
}

static bool deeper(struct parser *p)
{
    if (++p->nesting > EXPR_NESTING_MAX) {
        (void)unexpected(p, "nested too deeply");
        return false;
    }
    return true;
}

/* --- names -------------------------------------------------------------------------------------
 */

static struct expr_node *unknown_name(struct parser *p, const struct expr_token *name)
{
    char text[NAMES_MAX];
    struct writer w = writer_init(text, sizeof text - 1);
    put_text(&w, "; available here:");
    expr_put_variables(&w, p->c->context);
    text[w.len] = '\0';
    return refuse_name(p, name, "unknown or unavailable name", text);
}

static struct expr_node *unknown_function(struct parser *p, const struct expr_token *name)
{
    char text[NAMES_MAX];
    struct writer w = writer_init(text, sizeof text - 1);
    put_text(&w, "; available:");
    expr_put_functions(&w, name->text.ptr[0]);
    text[w.len] = '\0';
    return refuse_name(p, name, "unknown function", text);
}

static struct expr_node *make(struct parser *p, struct expr_node node)
{
    node.end = p->end;
    return expr_node(p->c, node);
}

static struct expr_node *make_const(struct parser *p, uint32_t start, struct expr_value value)
{
    return make(p, (struct expr_node){.kind = NODE_CONST, .start = start, .value = value});
}

/* Values between a bracket, which is the token, and its partner; linked by next. False after a
 * problem. */
static bool parse_list(struct parser *p, const char *close, const char *message, uint32_t max,
                       struct expr_node **out_first, uint32_t *out_count)
{
    struct expr_node **link = out_first;
    *out_first = NULL;
    *out_count = 0;
    if (!deeper(p)) {
        return false;
    }
    advance(p);
    while (!is_operator(p, close)) {
        if (*out_count == max) {
            (void)unexpected(p, max == EXPR_ARGS_MAX ? "too many arguments"
                                                     : "too many values in one list");
            return false;
        }
        *link = parse_binary(p, 0);
        if (*link == NULL) {
            return false;
        }
        link = &(*link)->next;
        ++*out_count;
        if (!is_operator(p, ",")) {
            break;
        }
        advance(p);
    }
    p->nesting--;
    return expect(p, close, message);
}

/* --- calls -------------------------------------------------------------------------------------
 */

static bool is_literal(const struct expr_node *node)
{
    return node->kind == NODE_CONST && node->value.type == EXPR_STRING;
}

/* May what the function asks be asked here? */
static bool check_asking(struct parser *p, const struct expr_token *name,
                         const struct expr_function *f)
{
    bool asked = f->ask == EXPR_ASK_NOTHING || (p->c->environment->asks & 1u << f->ask) != 0;
    if (!asked) {
        (void)refuse_name(p, name,
                          f->changes ? "this setting cannot change what is changed by"
                                     : "this setting cannot wait for what is asked by",
                          "()");
    }
    return asked;
}

/* Is the function there at all, and may it be asked here? */
static bool check_function(struct parser *p, const struct expr_token *name, uint32_t index)
{
    const struct expr_function *f = expr_function_row(index);
    char more[EXPR_MESSAGE_MAX];
    struct writer w = writer_init(more, sizeof more - 1);
    if (f == NULL) {
        (void)unknown_function(p, name);
        return false;
    }
    if (f->absent != NULL) {
        put_text(&w, ": ");
        put_text(&w, f->absent);
        more[w.len] = '\0';
        (void)refuse_name(p, name, "function not supported by this version:", more);
        return false;
    }
    return f->lists || check_asking(p, name, f);
}

/* What is known to be none would contain no address, ever, and nobody would be told. */
static bool check_network(struct parser *p, const struct expr_function *f,
                          const struct expr_node *node)
{
    char text[EXPR_MESSAGE_MAX];
    struct writer w = writer_init(text, sizeof text - 1);
    struct netmask mask;
    bool known = node->kind == NODE_CONST;
    if (!known || (is_literal(node) && netmask_parse(&mask, node->value.string) == MX_OK)) {
        return true;
    }
    put_text(&w, f->name);
    put_text(&w, "() takes as its last argument an address, or a network such as '192.0.2.0/24' "
                 "(up to /32) or '2001:db8::/32' (up to /128)");
    if (is_literal(node)) {
        put_text(&w, ", not \"");
        put_slice(&w, text_first(node->value.string, NAME_SHOWN));
        put_char(&w, '"');
    }
    refuse(p, node->start, &w);
    return false;
}

static bool check_arguments(struct parser *p, const struct expr_token *name,
                            const struct expr_function *f, const struct expr_node *first,
                            uint32_t count)
{
    char text[EXPR_MESSAGE_MAX];
    struct writer w = writer_init(text, sizeof text - 1);
    put_text(&w, f->name);
    put_text(&w, "() ");
    if (count != f->argc && !(f->shorter && count == f->argc - 1u)) {
        put_text(&w, "takes ");
        if (f->shorter) {
            put_decimal(&w, f->argc - 1u);
            put_text(&w, " or ");
        }
        put_decimal(&w, f->argc);
        put_text(&w, f->argc == 1 ? " argument (" : " arguments (");
        put_text(&w, f->params);
        put_text(&w, "), not ");
        put_decimal(&w, count);
        refuse(p, name->position, &w);
        return false;
    }
    const struct expr_node *last = first;
    while (last != NULL && last->next != NULL) {
        last = last->next;
    }
    if (f->network) {
        return check_network(p, f, last);
    }
    if (f->words == NULL || (is_literal(last) && expr_has_word(f->words, last->value.string))) {
        return true;
    }
    put_text(&w, "takes as its last argument, in quotes, one of:");
    expr_put_words(&w, f->words, is_literal(last) ? last->value.string : SLICE_EMPTY);
    refuse(p, last->start, &w);
    return false;
}

/* --- stores ------------------------------------------------------------------------------------
 */

static void refuse_store(struct parser *p, const struct expr_function *f,
                         const struct expr_node *store)
{
    char text[EXPR_MESSAGE_MAX];
    struct writer w = writer_init(text, sizeof text - 1);
    put_text(&w, f->name);
    put_text(&w, "() takes as its first argument, in quotes, the name of a store");
    if (is_literal(store)) {
        put_text(&w, ", not \"");
        put_slice(&w, text_first(store->value.string, NAME_SHOWN));
        put_char(&w, '"');
        put_text(&w, f->lists ? " (a list needs a key: add one, or change this first)" : "");
    }
    put_text(&w, "; available:");
    expr_put_stores(&w, f->lists ? p->c->environment->lookups : NULL);
    refuse(p, store->start, &w);
}

/* A call whose first argument names a store; it is no value of the machine when that is a list. */
static struct expr_node *make_store_call(struct parser *p, const struct expr_token *name,
                                         uint32_t index, struct expr_node *store, uint32_t count)
{
    const struct expr_function *f = expr_function_row(index);
    const struct lookups *lookups = p->c->environment->lookups;
    struct slice which = is_literal(store) ? store->value.string : SLICE_EMPTY;
    bool shared = slice_equal(which, SLICE_LITERAL(EXPR_STORE_NAME));
    int list = shared || !f->lists ? LOOKUP_NONE : lookups_find(lookups, which);
    if (shared) {
        if (count < f->argc) {
            store->next->next = make_const(p, store->next->start, expr_from_int(1));
        }
        return check_asking(p, name, f) ? make(p, (struct expr_node){.kind = NODE_CALL,
                                                                     .start = name->position,
                                                                     .index = index,
                                                                     .first = store,
                                                                     .child_count = f->argc})
                                        : NULL;
    }
    bool unknown = lookups == NULL && f->lists && which.len > 0;
    if (list == LOOKUP_NONE && !unknown) {
        refuse_store(p, f, store);
        return NULL;
    }
    return make(p, (struct expr_node){.kind = NODE_LOOKUP,
                                      .op = slice_equal(name->text, SLICE_LITERAL("key_exists")),
                                      .start = name->position,
                                      .index = unknown ? 0 : (uint32_t)list,
                                      .first = store->next,
                                      .child_count = 1});
}

/* matches('pattern', subject): the pattern is compiled now. */
static struct expr_node *make_match(struct parser *p, uint32_t start, struct expr_node *first)
{
    struct expr_program *program = p->c->program;
    char text[EXPR_MESSAGE_MAX];
    struct writer w = writer_init(text, sizeof text - 1);
    if (!is_literal(first)) {
        put_text(&w, "matches() takes as its first argument a regular expression in quotes");
        refuse(p, first->start, &w);
        return NULL;
    }
    if (program->regex_count == program->regex_cap) {
        uint32_t cap = program->regex_cap + 8;
        struct expr_regex **grown = realloc(program->regexes, cap * sizeof(struct expr_regex *));
        if (cap > EXPR_REGEXES_MAX || grown == NULL) {
            program->regexes = grown != NULL ? grown : program->regexes;
            expr_refuse(p->c, grown == NULL ? MX_ERR_NOMEM : MX_ERR_LIMIT, start,
                        grown == NULL ? "out of memory" : "too many regular expressions");
            return NULL;
        }
        program->regexes = grown;
        program->regex_cap = cap;
    }
    put_text(&w, "regular expression: ");
    uint32_t at = 0;
    struct expr_regex **slot = &program->regexes[program->regex_count];
    mx_err err = expr_regex_new(slot, first->value.string, &at, text + w.len, sizeof text - w.len);
    if (err) {
        expr_refuse(p->c, err, first->start + 1 + at, text);
        return NULL;
    }
    p->c->captures = (uint32_t)mx_max_size(p->c->captures, expr_regex_groups(*slot) + 1);
    return make(p, (struct expr_node){.kind = NODE_MATCH,
                                      .start = start,
                                      .index = program->regex_count++,
                                      .first = first->next,
                                      .child_count = 1});
}

static struct expr_node *parse_call(struct parser *p, const struct expr_token *name)
{
    uint32_t index = expr_function_find(name->text);
    struct expr_node *first;
    uint32_t count;
    if (!check_function(p, name, index) ||
        !parse_list(p, ")", "expected \")\" or \",\" after an argument", EXPR_ARGS_MAX, &first,
                    &count) ||
        !check_arguments(p, name, expr_function_row(index), first, count)) {
        return NULL;
    }
    if (slice_equal(name->text, SLICE_LITERAL("matches"))) {
        return make_match(p, name->position, first);
    }
    if (expr_function_row(index)->store) {
        return make_store_call(p, name, index, first, count);
    }
    return make(p, (struct expr_node){.kind = NODE_CALL,
                                      .start = name->position,
                                      .index = index,
                                      .first = first,
                                      .child_count = count});
}

/* --- operands ----------------------------------------------------------------------------------
 */

/* $0, $1 and so on. */
static struct expr_node *parse_capture(struct parser *p, const struct expr_token *name)
{
    uint64_t index;
    char text[EXPR_MESSAGE_MAX];
    struct writer w = writer_init(text, sizeof text - 1);
    if (text_to_u64(&index, slice_from(name->text, 1)) != MX_OK) {
        return refuse_name(p, name, "variables of Sieve scripts are not supported:", "");
    }
    if (index >= p->c->captures) {
        put_text(&w, p->c->captures == 0 ? "; none before the first matches()" : "; available:");
        for (uint32_t i = 0; i < p->c->captures; i++) {
            put_text(&w, " $");
            put_decimal(&w, i);
        }
        text[w.len] = '\0';
        return refuse_name(p, name, "no such capture:", text);
    }
    return make(p, (struct expr_node){
                       .kind = NODE_CAPTURE, .start = name->position, .index = (uint32_t)index});
}

static struct expr_node *parse_name(struct parser *p)
{
    struct expr_token name = p->token;
    advance(p);
    if (is_operator(p, "(")) {
        return parse_call(p, &name);
    }
    if (name.text.ptr[0] == '$') {
        return parse_capture(p, &name);
    }
    if (slice_equal(name.text, SLICE_LITERAL("true")) ||
        slice_equal(name.text, SLICE_LITERAL("false"))) {
        return make_const(p, name.position, expr_from_bool(name.text.len == 4));
    }
    uint16_t index = expr_variable(name.text);
    const struct expr_variable *row = expr_variable_row(index);
    if (row != NULL && (row->contexts & 1u << p->c->context) != 0) {
        char more[EXPR_MESSAGE_MAX];
        struct writer w = writer_init(more, sizeof more - 1);
        put_text(&w, ": ");
        put_text(&w, row->absent != NULL ? row->absent : "");
        more[w.len] = '\0';
        return row->absent != NULL
                   ? refuse_name(p, &name, "variable not supported by this version:", more)
                   : make(p, (struct expr_node){
                                 .kind = NODE_VARIABLE, .start = name.position, .index = index});
    }
    if (expr_is_constant_name(name.text)) {
        return make_const(p, name.position,
                          (struct expr_value){.type = EXPR_CONSTANT_NAME, .string = name.text});
    }
    return unknown_name(p, &name);
}

static struct expr_node *parse_literal(struct parser *p, struct expr_value value)
{
    uint32_t start = p->token.position;
    advance(p);
    return make_const(p, start, value);
}

static struct expr_node *parse_group(struct parser *p)
{
    if (!deeper(p)) {
        return NULL;
    }
    advance(p);
    struct expr_node *inner = parse_binary(p, 0);
    p->nesting--;
    return inner != NULL && expect(p, ")", "expected \")\"") ? inner : NULL;
}

static struct expr_node *parse_array(struct parser *p)
{
    uint32_t start = p->token.position, count;
    struct expr_node *first;
    if (!parse_list(p, "]", "expected \"]\" or \",\"", EXPR_ARRAY_MAX, &first, &count)) {
        return NULL;
    }
    struct expr_node array = {
        .kind = NODE_ARRAY, .start = start, .first = first, .child_count = count};
    if (count > EXPR_ARGS_MAX && !expr_all_known(&array)) {
        char text[EXPR_MESSAGE_MAX];
        struct writer w = writer_init(text, sizeof text - 1);
        put_text(&w, "a list of more than ");
        put_decimal(&w, EXPR_ARGS_MAX);
        put_text(&w, " values can only hold values that are known at load");
        refuse(p, start, &w);
        return NULL;
    }
    return make(p, array);
}

static struct expr_node *parse_primary(struct parser *p)
{
    switch (p->token.kind) {
    case TOKEN_INTEGER:
        return parse_literal(p, expr_from_int(p->token.integer));
    case TOKEN_FLOAT:
        return parse_literal(p, (struct expr_value){.type = EXPR_FLOAT, .number = p->token.number});
    case TOKEN_STRING:
        return parse_literal(p, expr_from_text(p->token.text));
    case TOKEN_NAME:
        return parse_name(p);
    default:
        return is_operator(p, "(")   ? parse_group(p)
               : is_operator(p, "[") ? parse_array(p)
                                     : unexpected(p, "expected a value");
    }
}

static struct expr_node *operator_node(struct parser *p, enum expr_op op, struct expr_node *a,
                                       struct expr_node *b, uint32_t start)
{
    a->next = b;
    return make(p, (struct expr_node){.kind = NODE_OPERATOR,
                                      .op = (uint8_t)op,
                                      .start = start,
                                      .first = a,
                                      .child_count = b == NULL ? 1 : 2});
}

static struct expr_node *parse_unary(struct parser *p)
{
    uint32_t start = p->token.position;
    bool negate = is_operator(p, "-");
    if (negate || is_operator(p, "!")) {
        if (!deeper(p)) {
            return NULL;
        }
        advance(p);
        struct expr_node *operand = parse_unary(p);
        p->nesting--;
        return operand == NULL
                   ? NULL
                   : operator_node(p, negate ? OP_NEGATE : OP_NOT, operand, NULL, start);
    }
    struct expr_node *node = parse_primary(p);
    while (node != NULL && is_operator(p, "[")) {
        advance(p);
        struct expr_node *index = parse_binary(p, 0);
        if (index == NULL || !expect(p, "]", "expected \"]\"")) {
            return NULL;
        }
        node = operator_node(p, OP_INDEX, node, index, start);
    }
    return node;
}

static const struct expr_binary *binary_at(const struct parser *p, unsigned level)
{
    const struct expr_binary *row;
    for (uint32_t i = 0; (row = expr_binary_row(i)) != NULL; i++) {
        if (row->level >= level && is_operator(p, row->text)) {
            return row;
        }
    }
    return NULL;
}

/* Operators that bind at least as strongly as the level; of one level the left ones first. */
static struct expr_node *parse_binary(struct parser *p, unsigned level)
{
    uint32_t start = p->token.position;
    struct expr_node *left = parse_unary(p);
    const struct expr_binary *row;
    while (left != NULL && (row = binary_at(p, level)) != NULL) {
        advance(p);
        struct expr_node *right = parse_binary(p, row->level + 1u);
        left = right == NULL ? NULL : operator_node(p, (enum expr_op)row->op, left, right, start);
    }
    return left;
}

struct expr_node *expr_parse(struct expr_compiler *c, struct slice text)
{
    struct parser p = {.c = c, .lexer = {.in = text}};
    advance(&p);
    struct expr_node *node = parse_binary(&p, 0);
    if (node != NULL && p.token.kind != TOKEN_END) {
        node = unexpected(&p, "expected an operator or the end");
    }
    return node;
}
