/* Invariants. A failed MX_ASSERT is a bug of ours: the process stops before it can do damage.
 * Assertions stay on in release builds. What a peer or the environment does wrong is never an
 * assertion; it is an error value (err.h) or an SMTP reply. */
#pragma once

#include "core/base.h"

#define MX_ASSERT(cond)                          \
    do {                                         \
        if (MX_UNLIKELY(!(cond))) {              \
            mx_panic(#cond, __FILE__, __LINE__); \
        }                                        \
    } while (0)

/* Prints the broken invariant with its place and aborts. */
MX_NORETURN MX_COLD void mx_panic(const char *what, const char *file, int line);
