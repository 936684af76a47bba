/* The one error type. Zero is success; functions that can fail return it and leave their outputs
 * untouched on failure. Kernel errno values end at io/'s surface (err_from_errno). */
#pragma once

#include "core/base.h"

typedef enum mx_err {
    MX_OK = 0,
#define MX_ERR(name, text) MX_ERR_##name,
#include "core/err.def"
#undef MX_ERR
    MX_ERR_COUNT
} mx_err;

/* Static text for an operator; never NULL, also for values out of range. */
const char *err_text(mx_err err);

/* Short lower-case name ("nospace") for log fields; never NULL. */
const char *err_name(mx_err err);

/* Translates a positive errno value; unknown ones become MX_ERR_IO, 0 becomes MX_OK. */
mx_err err_from_errno(int error_number);
