/* What the tests of tools/ share: counting checks. Plain programs, because the client's library
 * brings BoringSSL. */
#pragma once

#include "tools/cli/buf.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int failures;

#define CHECK(cond, what)                                                                 \
    do {                                                                                  \
        if (!(cond)) {                                                                    \
            failures++;                                                                   \
            fprintf(stderr, "%s:%d: failed: %s (%s)\n", __FILE__, __LINE__, #cond, what); \
        }                                                                                 \
    } while (0)

#define CHECK_TEXT(actual, expected, what)                                                      \
    do {                                                                                        \
        if (strcmp(actual, expected) != 0) {                                                    \
            failures++;                                                                         \
            fprintf(stderr, "%s:%d: %s: expected\n%s\nbut was\n%s\n", __FILE__, __LINE__, what, \
                    expected, actual);                                                          \
        }                                                                                       \
    } while (0)

/* Frees the value. */
static inline void check_json(json_t *actual, const char *expected, const char *what)
{
    char *text = actual ? json_dumps(actual, JSON_COMPACT | JSON_ENCODE_ANY) : NULL;
    CHECK_TEXT(text ? text : "(none)", expected ? expected : "(none)", what);
    free(text);
    json_decref(actual);
}
