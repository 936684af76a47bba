#include "tools/cli/fail.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static char last[FAIL_TEXT_MAX];

bool fail(const char *format, ...)
{
    char text[FAIL_TEXT_MAX]; /* the old text may be an argument */
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    memcpy(last, text, sizeof last);
    return false;
}

const char *fail_text(void)
{
    return last;
}

void fail_no_memory(void)
{
    fputs("error: out of memory\n", stderr);
    exit(1);
}

void *need(void *pointer)
{
    if (pointer == NULL) {
        fail_no_memory();
    }
    return pointer;
}
