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
/* Appends an address as utf-8-addr-xtext (RFC 6533 section 3): what is not ASCII as "\x{1F600}",
 * and so what is ASCII but has a meaning here, unless the address is coded as utf-8-addr-unitext
 * already. What is no UTF-8 becomes U+FFFD. At most four times as long, or, not coded, six times.
 */
void put_utf8_xtext(struct writer *w, struct slice address, bool is_coded);
