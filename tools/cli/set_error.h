/* A SetError of the server as text of several lines. */
#pragma once

#include "tools/cli/buf.h"

#include <jansson.h>

/* between separates the lines: "\n" or " | ". Starts with "error: TYPE". */
void put_set_error(struct buf *out, const json_t *error, const char *between, bool color);
