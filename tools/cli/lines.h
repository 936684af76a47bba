/* A text of any size as lines that can be read again and again; only one is in memory. */
#pragma once

#include "tools/cli/buf.h"

#include <stdio.h>
#include <sys/stat.h>

enum { LINES_LINE_MAX = 256 * 1024 * 1024 };

struct lines {
    const char *name; /* for messages */
    FILE *file;
    struct stat stat;   /* of the file when it was opened */
    struct line_at *at; /* of lines that are not blank */
    size_t count, cap;
    struct buf line; /* that was read last */
};

/* A file that is no regular one, and standard input, are copied to a temporary file first. */
bool lines_open_file(struct lines *lines, const char *path);
bool lines_open_stdin(struct lines *lines);
void lines_close(struct lines *lines); /* a zeroed one is fine */
/* Without blanks at both ends; valid until the next call. A file that has changed since it was
 * opened is a failure. */
bool lines_read(struct lines *lines, size_t index, struct slice *out);
/* As people count them, from 1. */
size_t lines_number(const struct lines *lines, size_t index);
