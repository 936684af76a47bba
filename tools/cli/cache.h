/* Schema documents of servers that were asked before, below $XDG_CACHE_HOME or ~/.cache:
 * ringmx-cli/<hash of the URL>/schema-<name>.json, and `latest` with the newest one's name. What
 * cannot be read is not there; what cannot be written is a warning. */
#pragma once

#include "tools/cli/buf.h"

/* A name that the server gave may become part of a file's name. */
bool cache_name_is_fit(const char *name);
/* The name of the newest document; false: none. */
bool cache_latest(const char *url, struct buf *out_name);
bool cache_read(const char *url, const char *name, struct buf *out_document);
void cache_write(const char *url, const char *name, const struct buf *document);
