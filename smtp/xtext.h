/* xtext (RFC 3461 section 4): printable ASCII in which "+", "=" and everything else is written as
 * "+" and two upper-case hex digits. Pure. */
#pragma once

#include "core/cursor.h"
#include "core/err.h"

/* Appends the decoded bytes; MX_ERR_SYNTAX when text is not xtext, MX_ERR_LIMIT when w is too
 * small. What was written before an error stays in w. */
MX_MUST_CHECK mx_err xtext_decode(struct writer *w, struct slice text);
/* True when text is xtext and every decoded byte is printable ASCII or space: nothing in it can
 * start a line or end a field where it is shown. */
bool xtext_is_printable(struct slice text);
/* Appends plain as xtext. */
void put_xtext(struct writer *w, struct slice plain);
