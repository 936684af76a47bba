/* Microbenchmarks: single operations of the product, by CPU time of one thread. Instructions are
 * counted from outside (bench/counts, valgrind), which looks for micro_measured. */
#pragma once

#include "core/base.h"

/* One operation. A run does many, so that reading the clock does not count. Everything asserts what
 * came out. Neighbours of a table with the same `make` and size share one state. */
struct micro {
    const char *name;
    const char *what;    /* one operation */
    uint32_t operations; /* of one run */
    uint64_t size;       /* for make */
    bool heavy;          /* takes memory or time to make: only when it is named, or with --all */
    void *(*make)(uint64_t size);
    void (*ready)(void *state); /* before each run, not measured; NULL: nothing to do */
    void (*run)(void *state);
    void (*end)(void *state);
};

struct micro_group {
    const struct micro *items;
    size_t count;
};
extern const struct micro_group micro_mail, micro_accounts, micro_core, micro_journal, micro_tls,
    micro_wire, micro_limits;

/* Zeroed; the end of the program when there is none. */
void *micro_take(size_t bytes);

int micro_command(int argc, char **argv);
