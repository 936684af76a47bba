/* Where the log's lines go: standard error or a file.
 *
 * Lines that cannot be written now (a full pipe, a full disk) stay where they are: in the rings of
 * the threads, which drop and count what finds no room there. A pipe or socket is never waited for;
 * a file's disk can hold up the management thread, no core. A line is written as a whole, and what
 * was said last is never in two files. */
#pragma once

#include "core/log.h"

#include <stdio.h>

enum {
    LOG_OUTPUT_BYTES = 16 * 1024, /* rendered, to be written */
    LOG_OUTPUT_PATH_MAX = 1024,
};

struct log_output_conf {
    const char *path; /* absolute; NULL: standard error */
    enum log_format format;
};

struct log_output {
    struct log_output_conf conf;
    struct log_style style;
    int fd;
    bool is_socket;
    bool is_own;   /* to be closed */
    bool polls;    /* descriptor is shared with others, so it cannot be made non-blocking */
    unsigned next; /* log that is asked first */
    size_t len;    /* of buf, from the beginning of a line */
    size_t done;   /* of these, written: a full disk can end inside a line */
    uint8_t buf[LOG_OUTPUT_BYTES];
    char folder[LOG_OUTPUT_PATH_MAX]; /* of the path; empty: none */
};

/* Opens it, as the user that the process is then, and says on err why not. To standard error that
 * is journald's (JOURNAL_STREAM, systemd.exec(5)) each line gets its priority. */
bool log_output_open(struct log_output *out, const struct log_output_conf *conf, FILE *err);
void log_output_close(struct log_output *out);
/* Writes what waits in the logs, as far as that goes at once. */
void log_output_write(struct log_output *out, struct log *const *logs, unsigned count);
/* The file of that name now (it was renamed, or its disk has room again). An error leaves the old
 * one in use. Nothing to do for standard error. */
MX_MUST_CHECK mx_err log_output_reopen(struct log_output *out);
