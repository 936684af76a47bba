/* Compares what senders noted with what receivers noted and with what lies in Maildir folders, and
 * judges it. `ringmx-bench verify`, and the end of `ringmx-bench sink --expect`.
 *
 * Every acknowledged copy (message and recipient) must have arrived, or a failure report for it;
 * unaltered; once. It may have come again if the receiver was told to lose its reply, or if the
 * process under test died between the first copy and the mark that it was delivered. */
#pragma once

#include "core/base.h"

enum {
    VERIFY_FILES_MAX = 64,          /* ledgers, and as many Maildir folders */
    VERIFY_ENTRIES_MAX = 200000000, /* lines and files in all */
    VERIFY_LIST_MAX = 20,           /* findings that are named one by one */
};

struct verify_conf {
    const char *ledgers[VERIFY_FILES_MAX];
    const char *maildirs[VERIFY_FILES_MAX]; /* folders with new/ and cur/ */
    unsigned ledger_count, maildir_count;
    uint64_t mark_ms; /* from a next hop's reply to the durable mark */
    bool ordered;     /* reordered copies are a fault */
};

/* Prints findings to standard error and one JSON line to standard output. Returns the exit code: 0
 * good, 1 lost, duplicated, altered, unexpected (or reordered) copies, 2 when an input cannot be
 * read. */
int verify_run(const struct verify_conf *conf);
/* argv[0] is "verify". */
int verify_command(int argc, char **argv);
