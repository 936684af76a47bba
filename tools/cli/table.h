/* Rows of cells in columns, padded by blanks; two blanks between columns, none at the end. */
#pragma once

#include "tools/cli/buf.h"

enum { TABLE_CELL_MAX = 60 }; /* characters of a cell, when cells are to be short */

struct table {
    size_t columns;
    char **cells; /* row by row, the first is the header; owned */
    size_t count, cap;
    bool short_cells;
    size_t width_max; /* columns with which a line would be longer are left out; 0: no bound */
};

/* Adds a copy of text; line breaks and tabs become blanks. */
void table_cell(struct table *table, const char *text);
void table_put(struct buf *out, const struct table *table, size_t indent, bool color);
void table_free(struct table *table);
