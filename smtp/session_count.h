/* Open sessions of the whole process, per listener and in all, without locks: every core writes
 * only its own counters (relaxed, single writer), and a limit is checked against the sum over all
 * cores. Two cores that accept at the same instant may exceed a limit by one each; it is a limit
 * against exhaustion, not a lock. */
#pragma once

#include "core/err.h"

struct session_count;

/* Shared by the cores; outlives them. */
MX_MUST_CHECK mx_err session_count_new(struct session_count **out_count, unsigned cores,
                                       uint32_t listeners);
void session_count_free(struct session_count *count); /* NULL is fine */
/* By core `core` alone: a session of this listener begins (+1) or ends (-1). */
void session_count_add(struct session_count *count, unsigned core, uint32_t listener, int change);
uint32_t session_count_of(const struct session_count *count, uint32_t listener);
uint32_t session_count_all(const struct session_count *count);
