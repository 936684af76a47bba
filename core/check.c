#include "core/check.h"

#include <stdio.h>
#include <stdlib.h>

void mx_panic(const char *what, const char *file, int line)
{
    fprintf(stderr, "ringmx: broken invariant: %s (%s:%d)\n", what, file, line);
    abort();
}
