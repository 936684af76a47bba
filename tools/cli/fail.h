/* Errors of the client, which is one thread that does one thing: whoever finds an error keeps its
 * text here and returns false (or NULL); main prints it, or a caller goes on without. */
#pragma once

#include "core/base.h"

enum { FAIL_TEXT_MAX = 4096 }; /* longer texts are cut */

MX_PRINTF(1, 2) MX_COLD bool fail(const char *format, ...); /* always false */
const char *fail_text(void);                                /* of the last fail(); never NULL */

MX_NORETURN MX_COLD void fail_no_memory(void);
/* The pointer, which is not NULL: without memory the process ends. */
void *need(void *pointer);
