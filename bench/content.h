/* The messages of a load: headers with a mark, then lines out of one text that all messages share.
 * A message is a function of the seed of its text, its id, its size and its place in the text. */
#pragma once

#include "bench/dice.h"
#include "core/cursor.h"
#include "core/hash.h"

enum {
    CONTENT_TEXT_BYTES = 256 * 1024, /* with its dotted form it stays in a cache of 1 MiB */
    CONTENT_LINES_MAX = CONTENT_TEXT_BYTES / 2,
    CONTENT_BODIES = 64, /* that messages of one size take turns with */
    CONTENT_HEADER_MAX = 1024,
    CONTENT_SIZE_MIN = 3,
    CONTENT_SIZE_MAX = 128 * 1024 * 1024,
};

/* A part of the text that serves as a body, and what is worked out for it once and not for every
 * message: the hash (with the other headers of this second), where it is in the dotted text. */
struct content_body {
    size_t size; /* of the body; 0: none yet */
    int64_t wall_s;
    uint64_t hash;
    size_t at, len, dotted_at, dotted_len;
    bool cut; /* before an LF: a CR would stand alone */
};

/* Most lines are as long as in ordinary mail; some are empty, some begin with a dot. */
struct content_text {
    uint8_t bytes[CONTENT_TEXT_BYTES]; /* whole lines, ending in CRLF */
    size_t len;
    uint32_t lines[CONTENT_LINES_MAX]; /* where each begins */
    uint32_t line_count;
    uint8_t dotted[CONTENT_TEXT_BYTES / 2 * 3]; /* the same with doubled dots, for DATA */
    size_t dotted_len;
    uint32_t dotted_lines[CONTENT_LINES_MAX];
    struct content_body bodies[CONTENT_BODIES];
};

/* The other headers, the same for a second. */
struct content_head {
    int64_t wall_s; /* when they were made */
    uint8_t bytes[CONTENT_HEADER_MAX / 2];
    size_t len;
    struct hash_stream hash; /* of them */
};

struct content {
    struct slice text;
    uint8_t header[CONTENT_HEADER_MAX];
    size_t header_len;
    size_t text_at, text_len; /* the part of the text, which goes round */
    bool has_8bit;
    struct slice tail;
    size_t total; /* bytes in all */
    size_t wire;  /* bytes to be sent: total, or more when dotted */
    uint64_t hash;
    size_t offset; /* bytes to be sent that content_advance has passed */
};

void content_text_make(struct content_text *text, struct dice *dice);
void content_head_make(struct content_head *head, struct slice from, int64_t wall_ms);
/* size: of the body in bytes. id: at most MARK_ID_MAX. dotted: the bytes to be sent are those for
 * DATA. */
void content_make(struct content *content, struct content_text *text,
                  const struct content_head *head, struct dice *dice, struct slice id, size_t size,
                  bool dotted);
/* A mark in front of a whole message that is there already (bench/folder); hash: of all of it. */
void content_of_message(struct content *content, struct slice message, uint64_t hash, bool has_8bit,
                        struct slice id);
/* From here on the bytes to be sent are those for DATA. Nothing was sent yet. */
void content_dot_message(struct content *content, struct slice dotted);
/* The piece that comes next, not empty while offset < wire. */
struct slice content_next(const struct content *content);
void content_advance(struct content *content, size_t len);
