/* For the plain test programs. CHECK names what does not hold and ends the program; where
 * CHECK_COUNTS is defined before this is included, it counts in `failures` and goes on. */
#pragma once

#include <stdio.h>
#include <stdlib.h>

#ifdef CHECK_COUNTS
static int failures;
#endif

static inline void check_failed(const char *file, int line, const char *what)
{
    fflush(stdout);
    fprintf(stderr, "%s:%d: failed: %s\n", file, line, what);
#ifdef CHECK_COUNTS
    failures++;
#else
    exit(1);
#endif
}

#define CHECK(cond) ((cond) ? (void)0 : check_failed(__FILE__, __LINE__, #cond))
