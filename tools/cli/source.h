/* Files and standard input as text. */
#pragma once

#include "tools/cli/buf.h"

enum { SOURCE_MAX = 1024 * 1024 * 1024 };

bool source_file(const char *path, struct buf *out, size_t max);
bool source_stdin(struct buf *out, size_t max);
