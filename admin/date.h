/* Dates of the management contract: RFC 3339 with seconds, years 1970 to 3000. Pure. */
#pragma once

#include "core/err.h"
#include "core/slice.h"

/* "2026-11-24T09:44:59[.123](Z|+01:00)" as milliseconds since 1970 UTC; finer parts of a second are
 * cut. MX_ERR_SYNTAX, MX_ERR_RANGE. */
MX_MUST_CHECK mx_err date_parse(int64_t *out_wall_ms, struct slice text);
