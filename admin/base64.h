/* Base64 (RFC 4648): the standard alphabet with padding, and the one for URLs without. Pure. */
#pragma once

#include "core/cursor.h"
#include "core/err.h"

/* The whole text; MX_ERR_SYNTAX, MX_ERR_LIMIT (no room). */
MX_MUST_CHECK mx_err base64_decode(struct writer *out, struct slice text);
MX_MUST_CHECK mx_err base64url_decode(struct writer *out, struct slice text);
void put_base64url(struct writer *out, struct slice bytes);
