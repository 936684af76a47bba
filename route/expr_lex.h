/* Tokens of the expression language. Pure. */
#pragma once

#include "core/err.h"
#include "core/slice.h"

enum expr_token_kind {
    TOKEN_END,
    TOKEN_NAME,    /* identifier */
    TOKEN_STRING,  /* text between quotes, escapes untouched */
    TOKEN_INTEGER, /* also durations, in ms */
    TOKEN_FLOAT,
    TOKEN_OPERATOR, /* text is the canonical operator: "&&" also for "&" and so on */
    TOKEN_BAD,      /* problem says why */
};

struct expr_token {
    enum expr_token_kind kind;
    struct slice text;
    uint32_t position;
    int64_t integer;
    double number;
    const char *problem;
};

struct expr_lexer {
    struct slice in;
    uint32_t pos;
};

struct expr_token expr_lex_next(struct expr_lexer *lexer);
