/* gzip (RFC 1952) by zlib. */
#pragma once

#include "tools/cli/buf.h"

enum { GUNZIP_MAX = 64 * 1024 * 1024 }; /* bytes that come out */

bool is_gzip(struct slice bytes); /* by its magic number */
/* NULL, or what is wrong. */
const char *gunzip(struct buf *out, struct slice bytes);
