#include "tools/cli/buf.h"

#include "core/text.h"
#include "tools/cli/fail.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#define RESET "\x1b[0m"

void buf_free(struct buf *b)
{
    free(b->at);
    *b = (struct buf){0};
}

const char *buf_text(const struct buf *b)
{
    return b->at ? b->at : "";
}

void buf_bytes(struct buf *b, const void *bytes, size_t len)
{
    if (b->cap - b->len < len + 1) {
        b->cap = mx_max_size(b->cap * 2, b->len + len + 1);
        b->at = need(realloc(b->at, b->cap));
    }
    if (len > 0) {
        memcpy(b->at + b->len, bytes, len);
    }
    b->len += len;
    b->at[b->len] = '\0';
}

void buf_add(struct buf *b, const char *text)
{
    buf_bytes(b, text, strlen(text));
}

void buf_format(struct buf *b, const char *format, ...)
{
    char *text = NULL;
    va_list args;
    va_start(args, format);
    int len = vasprintf(&text, format, args);
    va_end(args);
    if (len < 0) {
        fail_no_memory();
    }
    buf_bytes(b, text, (size_t)len);
    free(text);
}

void buf_spaces(struct buf *b, size_t count)
{
    while (count-- > 0) {
        buf_bytes(b, " ", 1);
    }
}

void buf_styled(struct buf *b, bool color, enum style style, const char *text)
{
    static const char *const codes[] = {
        [STYLE_BOLD] = "\x1b[1m",   [STYLE_DIM] = "\x1b[2m",     [STYLE_RED] = "\x1b[31m",
        [STYLE_GREEN] = "\x1b[32m", [STYLE_YELLOW] = "\x1b[33m", [STYLE_BLUE] = "\x1b[34m",
        [STYLE_CYAN] = "\x1b[36m",
    };
    buf_add(b, color ? codes[style] : "");
    buf_add(b, text);
    buf_add(b, color ? RESET : "");
}

static bool hex_color(const char *name, unsigned *red, unsigned *green, unsigned *blue)
{
    int end = 0;
    return sscanf(name, "#%2x%2x%2x%n", red, green, blue, &end) == 3 && end == 7 &&
           name[end] == '\0';
}

void buf_colored(struct buf *b, bool color, const char *name, const char *text)
{
    static const char *const names[] = {"black", "red",     "green", "yellow",
                                        "blue",  "magenta", "cyan",  "white"};
    if (!color) {
        buf_add(b, text);
        return;
    }
    size_t index = 4; /* blue */
    unsigned red, green, blue;
    if (name != NULL && hex_color(name, &red, &green, &blue)) {
        buf_format(b, "\x1b[38;2;%u;%u;%um%s" RESET, red, green, blue, text);
        return;
    }
    for (size_t i = 0; name != NULL && i < mx_countof(names); i++) {
        if (text_equal_nocase(slice_of_text(name), slice_of_text(names[i]))) {
            index = i;
        }
    }
    buf_format(b, "\x1b[3%zum%s" RESET, index, text);
}

size_t text_width(const char *text)
{
    size_t width = 0;
    for (const char *c = text; *c != '\0'; c++) {
        if (*c == '\x1b') {
            c += strcspn(c, "m");
            if (*c == '\0') {
                break;
            }
        } else if (((uint8_t)*c & 0xc0) != 0x80) {
            width++; /* a character, not the rest of one */
        }
    }
    return width;
}
