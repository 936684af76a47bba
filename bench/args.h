/* Command-line options of ringmx-bench: "--name value" or "--name=value". */
#pragma once

#include "core/netaddr.h"

#include <stdio.h>

struct args {
    int argc;
    char **argv;
    int at;
    const char *name, *value; /* of the current option; value NULL: none */
    bool read;                /* its value was asked for */
    bool failed;
};

void args_init(struct args *args, int argc, char **argv);
/* The next option; false at the end or after a failure, which a value is that nobody asked for
 * ("--quiet=no"). */
bool args_next(struct args *args);
bool args_is(const struct args *args, const char *name);
/* These print what is wrong and set failed. */
const char *args_text(struct args *args);
uint64_t args_number(struct args *args, uint64_t min, uint64_t max);
struct netaddr args_address(struct args *args); /* "127.0.0.1:2526" */
bool args_loopback(const struct netaddr *addr);
void args_unknown(struct args *args);
