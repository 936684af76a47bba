/* Wall time as text, UTC, without the C library's locale and time zone state. Years 1970..9999. */
#pragma once

#include "core/cursor.h"
#include "core/err.h"

/* "2026-11-24T09:44:59.123Z" */
void put_rfc3339_ms(struct writer *w, int64_t wall_ms);
/* The whole text as a date-time of RFC 3339 (any offset, fractions cut to milliseconds), years 1970
 * to 3000. MX_ERR_SYNTAX; MX_ERR_RANGE: no such day or another year. */
MX_MUST_CHECK mx_err rfc3339_parse(int64_t *out_wall_ms, struct slice text);
/* RFC 5322 date-time: "Tue, 24 Nov 2026 09:44:59 +0000" */
void put_rfc5322(struct writer *w, int64_t wall_ms);
/* IMF-fixdate of RFC 9110 section 5.6.7: "Sun, 06 Nov 1994 08:49:37 GMT" */
void put_imf_fixdate(struct writer *w, int64_t wall_ms);
