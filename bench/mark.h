/* What makes a message recognizable: an id and a hash, two header lines that stand together.
 *
 *   X-Ringmx-Id: RUN.CONNECTION.NUMBER
 *   X-Ringmx-XXH64: 16 hex digits
 *
 * The hash covers every byte behind its own line: the other headers and the body. A mail system may
 * put trace headers above; what it changes below is found. */
#pragma once

#include "core/hash.h"

#include "core/cursor.h"

enum {
    MARK_ID_MAX = 96,
    MARK_LINE_MAX = 256, /* longer header lines are not ours */
};

/* Reads content that comes in pieces of any length. */
struct mark_reader {
    uint8_t line[MARK_LINE_MAX];
    uint32_t line_len;
    uint8_t id[MARK_ID_MAX];
    uint32_t id_len;
    bool in_headers; /* the mark is still looked for */
    bool found;
    uint64_t given;   /* the hash that the header names */
    uint64_t content; /* bytes in all */
    struct hash_stream hash;
};

/* Writes both lines with CRLF. */
void put_mark(struct writer *w, struct slice id, uint64_t hash);

void mark_reader_init(struct mark_reader *reader);
void mark_reader_add(struct mark_reader *reader, struct slice piece);
/* The id; empty when the message has no mark. Borrowed from the reader. */
struct slice mark_reader_id(const struct mark_reader *reader);
/* The hash of what was really there. */
uint64_t mark_reader_hash(const struct mark_reader *reader);
