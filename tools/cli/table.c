#include "tools/cli/table.h"

#include "tools/cli/fail.h"

#include <stdlib.h>

/* Length of text up to so many characters, escape sequences not counted. */
static size_t cut_at(const char *text, size_t characters)
{
    size_t at = 0;
    while (text[at] != '\0') {
        if (text[at] == '\x1b') {
            at += strcspn(text + at, "m");
            at += text[at] != '\0';
            continue;
        }
        if (((uint8_t)text[at] & 0xc0) != 0x80 && characters-- == 0) {
            break;
        }
        at++;
    }
    return at;
}

/* On one line, runs of line breaks and tabs as one blank. */
static void flatten(struct buf *out, const char *text)
{
    while (*text != '\0') {
        size_t plain = strcspn(text, "\n\r\t"), blanks = strspn(text + plain, "\n\r\t");
        buf_bytes(out, text, plain);
        buf_add(out, blanks > 0 ? " " : "");
        text += plain + blanks;
    }
}

void table_cell(struct table *table, const char *text)
{
    struct buf cell = {0};
    flatten(&cell, text);
    if (table->short_cells && text_width(buf_text(&cell)) > TABLE_CELL_MAX) {
        bool colored = strchr(cell.at, '\x1b') != NULL;
        cell.len = cut_at(cell.at, TABLE_CELL_MAX - 1);
        buf_add(&cell, colored ? "…\x1b[0m" : "…");
    }
    if (table->count == table->cap) {
        table->cap = mx_max_size(64, table->cap * 2);
        table->cells = need(realloc(table->cells, table->cap * sizeof *table->cells));
    }
    buf_add(&cell, "");
    table->cells[table->count++] = cell.at;
}

static size_t column_width(const struct table *table, size_t column)
{
    size_t width = 0;
    for (size_t i = column; i < table->count; i += table->columns) {
        width = mx_max_size(width, text_width(table->cells[i]));
    }
    return width;
}

/* How many columns fit, from the left. */
static size_t columns_shown(const struct table *table, const size_t *widths, size_t indent)
{
    size_t shown = 1, width = indent + widths[0];
    if (table->width_max == 0) {
        return table->columns;
    }
    while (shown < table->columns && width + 2 + widths[shown] <= table->width_max) {
        width += 2 + widths[shown++];
    }
    return shown;
}

static void put_row(struct buf *out, const struct table *table, size_t row, const size_t *widths,
                    size_t shown, size_t indent)
{
    size_t pending = indent; /* blanks before the next cell that is not empty */
    for (size_t column = 0; column < shown; column++) {
        const char *cell = table->cells[row * table->columns + column];
        size_t width = text_width(cell);
        if (*cell != '\0') {
            buf_spaces(out, pending);
            buf_add(out, cell);
            pending = 0;
        }
        pending += widths[column] - width + 2;
    }
}

void table_put(struct buf *out, const struct table *table, size_t indent, bool color)
{
    size_t *widths = need(calloc(table->columns + 1, sizeof *widths));
    for (size_t column = 0; column < table->columns; column++) {
        widths[column] = column_width(table, column);
    }
    size_t shown = columns_shown(table, widths, indent);
    for (size_t row = 0; (row + 1) * table->columns <= table->count; row++) {
        struct buf line = {0};
        put_row(&line, table, row, widths, shown, indent);
        if (row == 0) {
            buf_styled(out, color, STYLE_BOLD, buf_text(&line));
        } else {
            buf_add(out, buf_text(&line));
        }
        buf_add(out, "\n");
        buf_free(&line);
    }
    free(widths);
}

void table_free(struct table *table)
{
    for (size_t i = 0; i < table->count; i++) {
        free(table->cells[i]);
    }
    free(table->cells);
    *table = (struct table){0};
}
