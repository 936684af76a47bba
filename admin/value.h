/* Text values of objects: checks and the one normal form of each format. Pure apart from libidn2,
 * which allocates while it converts international names. */
#pragma once

#include "admin/registry.h"
#include "core/cursor.h"

enum { VALUE_PROBLEM_MAX = 192 };

struct value_problem {
    char text[VALUE_PROBLEM_MAX]; /* "is not ..." or "must ..." */
};

/* Writes the normal form of text into out (cut off by nothing: too long is MX_ERR_RANGE).
 * MX_ERR_SYNTAX with the reason in *problem; out is then undefined. Formats of numbers and
 * FORMAT_LABEL are not values of this kind. */
MX_MUST_CHECK mx_err value_normalize(struct writer *out, enum reg_format format, struct slice text,
                                     struct value_problem *problem);

/* Lower-case A-labels without a final dot; U-labels are converted (IDNA 2008, UTS 46). */
MX_MUST_CHECK mx_err value_domain(struct writer *out, struct slice text,
                                  struct value_problem *problem);
MX_MUST_CHECK mx_err value_local_part(struct writer *out, struct slice text,
                                      struct value_problem *problem);
