/* The command line of `ringmx-bench send`: a table of options. */
#pragma once

#include "bench/args.h"
#include "bench/assert_parse.h"
#include "bench/load.h"

struct send_options {
    struct load_conf *load;
    const char *ledger;
    const char *output; /* file for the JSON */
    const char *stats;  /* URL of the server's counters */
    struct assert_list asserts;
    int cpu; /* -1 = not pinned */
    bool json, quiet, allow_remote;
    bool sessions_given, messages_given, rcpts_given;
    char ids[24];
};

/* -1: run; otherwise the exit code. Prints what is wrong. */
int send_options_parse(struct send_options *options, struct load_conf *load, int argc, char **argv);
