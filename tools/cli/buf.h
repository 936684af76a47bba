/* Text that grows, and colours on a terminal. Without memory the process ends. */
#pragma once

#include "core/slice.h"

struct buf {
    char *at; /* NUL-terminated once something was added; owned */
    size_t len, cap;
};

enum style { STYLE_BOLD, STYLE_DIM, STYLE_RED, STYLE_GREEN, STYLE_YELLOW, STYLE_BLUE, STYLE_CYAN };

void buf_free(struct buf *b); /* empty and of use again */
const char *buf_text(const struct buf *b);
void buf_bytes(struct buf *b, const void *bytes, size_t len);
void buf_add(struct buf *b, const char *text);
MX_PRINTF(2, 3) void buf_format(struct buf *b, const char *format, ...);
void buf_spaces(struct buf *b, size_t count);
/* text in a style if color, else text alone. */
void buf_styled(struct buf *b, bool color, enum style style, const char *text);
/* The same with a colour by name ("red") or "#rrggbb"; others and NULL are blue. */
void buf_colored(struct buf *b, bool color, const char *name, const char *text);
/* Columns that the UTF-8 text takes on a terminal, escape sequences not counted. */
size_t text_width(const char *text);
