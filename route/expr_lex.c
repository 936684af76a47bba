#include "route/expr_lex.h"

#include "core/text.h"

static bool is_space(uint8_t c)
{
    return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

static bool is_name(uint8_t c)
{
    return ascii_is_alnum(c) || c == '_' || c == '.' || c == '$';
}

/* Of a character of several bytes (UTF-8). */
static bool is_inside(struct slice text, size_t at)
{
    return at < text.len && (text.ptr[at] & 0xc0) == 0x80;
}

static struct expr_token bad(struct expr_token token, const char *problem)
{
    token.kind = TOKEN_BAD;
    token.problem = problem;
    return token;
}

static struct expr_token lex_string(struct expr_lexer *lexer, struct expr_token token)
{
    uint8_t quote = lexer->in.ptr[lexer->pos];
    uint32_t at = lexer->pos + 1;
    while (at < lexer->in.len && lexer->in.ptr[at] != quote) {
        at += lexer->in.ptr[at] == '\\' ? 2 : 1;
    }
    if (at >= lexer->in.len) {
        return bad(token, "string without its closing quote");
    }
    token.kind = TOKEN_STRING;
    token.text = slice_of(lexer->in.ptr + lexer->pos + 1, at - lexer->pos - 1);
    lexer->pos = at + 1;
    return token;
}

static bool duration_unit(struct slice unit, int64_t *out_ms)
{
    static const struct {
        const char *name;
        int64_t ms;
    } units[] = {{"ms", 1}, {"s", 1000}, {"m", 60000}, {"h", 3600000}, {"d", 86400000}};
    for (size_t i = 0; i < mx_countof(units); i++) {
        if (slice_equal(unit, slice_of_text(units[i].name))) {
            *out_ms = units[i].ms;
            return true;
        }
    }
    return false;
}

static double parse_float(struct slice text, size_t point)
{
    double value = 0, scale = 1;
    for (size_t i = 0; i < text.len; i++) {
        if (i == point) {
            continue;
        }
        value = value * 10 + (text.ptr[i] - '0');
        scale *= i > point ? 10 : 1;
    }
    return value / scale;
}

/* Starts with a digit. */
static struct expr_token lex_number(struct expr_token token, struct slice text)
{
    size_t digits = 0, points = 0, point = text.len;
    while (digits < text.len && (ascii_is_digit(text.ptr[digits]) || text.ptr[digits] == '.')) {
        if (text.ptr[digits] == '.') {
            points++;
            point = digits;
        }
        digits++;
    }
    if (points == 1 && digits == text.len && point + 1 < text.len) {
        token.kind = TOKEN_FLOAT;
        token.number = parse_float(text, point);
        return token;
    }
    uint64_t value = 0;
    int64_t unit = 1;
    mx_err err = points > 0 ? MX_ERR_SYNTAX : text_to_u64(&value, slice_first(text, digits));
    if (err == MX_ERR_RANGE || value > INT64_MAX) {
        return bad(token, "number too large");
    }
    if (err) {
        return bad(token, "malformed number");
    }
    if (digits < text.len && !duration_unit(slice_from(text, digits), &unit)) {
        return bad(token, "malformed number or unknown unit (d, h, m, s, ms)");
    }
    if ((int64_t)value > INT64_MAX / unit) {
        return bad(token, "number too large");
    }
    token.kind = TOKEN_INTEGER;
    token.integer = (int64_t)value * unit;
    return token;
}

static struct expr_token lex_operator(struct expr_lexer *lexer, struct expr_token token)
{
    static const struct {
        const char *written, *means;
    } operators[] = {
        {"&&", "&&"}, {"||", "||"}, {"==", "=="}, {"!=", "!="}, {">=", ">="}, {"<=", "<="},
        {"=>", ">="}, {"=<", "<="}, {"&", "&&"},  {"|", "||"},  {"=", "=="},  {">", ">"},
        {"<", "<"},   {"!", "!"},   {"+", "+"},   {"-", "-"},   {"*", "*"},   {"/", "/"},
        {"^", "^"},   {"(", "("},   {")", ")"},   {"[", "["},   {"]", "]"},   {",", ","},
    };
    struct slice rest = slice_from(lexer->in, lexer->pos);
    for (size_t i = 0; i < mx_countof(operators); i++) {
        struct slice op = slice_of_text(operators[i].written);
        if (rest.len >= op.len && slice_equal(slice_first(rest, op.len), op)) {
            token.kind = TOKEN_OPERATOR;
            token.text = slice_of_text(operators[i].means);
            lexer->pos += (uint32_t)op.len;
            return token;
        }
    }
    return bad(token, "unexpected character");
}

struct expr_token expr_lex_next(struct expr_lexer *lexer)
{
    while (lexer->pos < lexer->in.len && is_space(lexer->in.ptr[lexer->pos])) {
        lexer->pos++;
    }
    struct expr_token token = {.kind = TOKEN_END, .position = lexer->pos};
    if (lexer->pos >= lexer->in.len) {
        return token;
    }
    uint8_t c = lexer->in.ptr[lexer->pos];
    token.text = slice_of(lexer->in.ptr + lexer->pos, 1);
    if (c == '\'' || c == '"') {
        return lex_string(lexer, token);
    }
    if (!is_name(c)) {
        while (is_inside(slice_from(lexer->in, lexer->pos), token.text.len)) {
            token.text.len++;
        }
        return lex_operator(lexer, token);
    }
    uint32_t at = lexer->pos;
    while (at < lexer->in.len && is_name(lexer->in.ptr[at])) {
        at++;
    }
    token.text = slice_of(lexer->in.ptr + lexer->pos, at - lexer->pos);
    lexer->pos = at;
    if (ascii_is_digit(c)) {
        return lex_number(token, token.text);
    }
    token.kind = TOKEN_NAME;
    return token;
}
