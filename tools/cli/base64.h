/* RFC 4648: base64 with padding, for Basic authentication. Pure apart from allocation. */
#pragma once

#include "tools/cli/buf.h"

void buf_base64(struct buf *b, struct slice bytes);
