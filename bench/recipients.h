/* The recipients of a load: given one by one or as a file with one address a line, and how those of
 * a message are drawn, some of them unknown to the server. */
#pragma once

#include "bench/dice.h"
#include "bench/load_engine.h"
#include "core/err.h"

enum {
    RECIPIENTS_MAX = 10 * 1000 * 1000,
    RECIPIENTS_PER_MESSAGE_MAX = 100,
    RECIPIENTS_FILE_MAX = 1024 * 1024 * 1024,
    UNKNOWN_NAMES = 4096,
    UNKNOWN_NAME_MAX = 24,
    UNKNOWN_SHARE_ALL = 1000000,
};

struct recipients {
    struct slice *addresses; /* owned; the text is the file's or the caller's */
    uint32_t count, cap;
    struct slice file;      /* owned */
    uint32_t unknown_share; /* of UNKNOWN_SHARE_ALL: so many are replaced by unknown ones */
    char unknown[UNKNOWN_NAMES][UNKNOWN_NAME_MAX];
};

/* Borrows the address. MX_ERR_INVALID: not 1..320 bytes without spaces and controls; MX_ERR_LIMIT,
 * MX_ERR_NOMEM. */
MX_MUST_CHECK mx_err recipients_add(struct recipients *rcpts, struct slice address);
/* Empty lines and those that begin with # are nothing. */
MX_MUST_CHECK mx_err recipients_add_file(struct recipients *rcpts, const char *path);
/* Names of unknown recipients: drawn once, so that the load does not depend on how it goes. */
void recipients_name_unknown(struct recipients *rcpts, struct dice *dice);
/* Draws `count` different ones (at most rcpts->count); all of them keep their order. */
void recipients_draw(const struct recipients *rcpts, struct dice *dice, struct load_rcpt *out,
                     uint32_t count);
void recipients_free(struct recipients *rcpts);
