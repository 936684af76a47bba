/* Request targets (RFC 9112 section 3.2) and Host (section 7.2 of RFC 9110). Strict: whatever two
 * parsers could read differently is refused. Pure. */
#pragma once

#include "core/err.h"
#include "core/slice.h"

/* Splits an origin-form target at '?' and decodes the path in place; target is overwritten.
 * MX_ERR_SYNTAX, *out_problem (static text) says why: not origin-form, characters outside RFC 3986,
 * bad percent escapes, escaped '/', '\\' or controls, dot segments, path not UTF-8. */
MX_MUST_CHECK mx_err http_target_parse(struct slice *out_path, struct slice *out_query,
                                       const char **out_problem, uint8_t *target, size_t len);

/* uri-host [":" port] of a name or an address; at most HTTP_HOST_MAX bytes. */
enum { HTTP_HOST_MAX = 255 + 6 };
bool http_host_valid(struct slice host);
