/* Regular expressions are PCRE2's. Patterns and subjects are bytes. */
#pragma once

#include "route/expr_private.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

struct expr_regex {
    pcre2_code *code;
    uint32_t groups;
};
