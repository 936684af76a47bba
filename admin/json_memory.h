/* What JSON takes of memory. Passwords come in as JSON, so all of it is wiped when it is freed: the
 * values, the text they were read from, and the text that is made of them (whose last copy is the
 * caller's).
 *
 * jansson and SQLite's bindings fail without a word when memory is out: an object then lacks a
 * member, a row a value. Every such failure is counted here, per thread; whoever built something
 * compares the count with that of before and refuses the result as MX_ERR_NOMEM. */
#pragma once

#include "core/base.h"

/* Makes jansson count and wipe. Before the first use of it; repeated calls do nothing. */
void json_memory_install(void);
/* Counts one failure that was met elsewhere. */
void json_memory_failed(void);
/* Failures of this thread so far. */
uint64_t json_memory_failures(void);
