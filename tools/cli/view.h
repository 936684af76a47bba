/* An object as readable text: in the order and under the labels of its forms, embedded objects
 * indented, lists of them as tables. */
#pragma once

#include "tools/cli/value.h"

void put_view(struct buf *out, const struct look *look, const char *object, const json_t *value);
