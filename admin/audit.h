/* The audit trail in the log: one line for every object that a management call has changed, when
 * it is stored.
 *
 *   object-changed verb=update type=Account id=c name=ann who=root@example.org account=b
 *       from=192.0.2.7 generation=17 properties=roles,credentials
 *
 * Names of properties, never values, so no secret can be among them. The registry's change log has
 * the same generation, with the values. Lines are as many as there are changes. They are not
 * dropped for want of room: the worker waits until the loop has written some, once in a while and
 * for AUDIT_WAIT_MS at most. */
#pragma once

#include "admin/api.h"
#include "core/log.h"

enum {
    AUDIT_WAIT_MS = 1000,       /* then lines are dropped, and counted in the next one */
    AUDIT_PROPERTIES_MAX = 320, /* bytes; more are cut with "..." */
};

/* In the thread that owns the log. generation 0: the change is not the registry's. */
void audit_write(struct log *log, const struct api_caller *caller,
                 const struct api_changed *changed, uint64_t generation);
/* A change that somebody asked for and may not make (admin/access.h), as change-forbidden, with the
 * reason that he was given and without properties; not more often than LOG_REPEATS_MAX. */
void audit_forbidden(struct log *log, const struct api_caller *caller,
                     const struct api_changed *wanted, const char *reason);
