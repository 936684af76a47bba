/* The content of a message in memory, as far as it is there. */
#pragma once

#include "smtp/deliver.h"

/* The beginning of the content (our own headers first) in one piece in buf: all of a small message,
 * at most DELIVER_HEAD_MAX bytes behind our headers of one that lies in extents. */
struct slice content_head(const struct active *active, uint8_t *buf, size_t cap);
/* Index behind the last line of the header, before the empty line; or the length. */
size_t content_header_end(struct slice content);
