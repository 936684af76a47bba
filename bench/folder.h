/* Real messages to send: the files of a folder (and of its new and cur, when it is a Maildir), read
 * once. Line ends become CRLF, because DATA knows no others. */
#pragma once

#include "core/err.h"
#include "core/slice.h"

enum {
    FOLDER_FILES_MAX = 100000,
    FOLDER_FILE_MAX = 64 * 1024 * 1024,
    FOLDER_BYTES_MAX = 1024 * 1024 * 1024, /* of all together */
    FOLDER_PATH_MAX = 4096,
};

struct folder_message {
    struct slice bytes;  /* owned */
    struct slice dotted; /* with the dots that DATA doubles; owned if it is longer, else bytes */
    uint64_t hash;
    bool has_8bit;
};

struct folder {
    struct folder_message *messages;
    uint32_t count, cap;
    size_t bytes;
};

/* MX_ERR_NOTFOUND: no such folder or no message in it; MX_ERR_LIMIT: more than the bounds above. */
MX_MUST_CHECK mx_err folder_read(struct folder *folder, const char *path);
void folder_free(struct folder *folder);
/* Copies text with CRLF as its only line end, and one at its end; out has room for
 * 2 * text.len + 2 bytes. Returns how many were written. */
size_t folder_to_crlf(uint8_t *out, struct slice text);
/* Doubles the dot at the start of lines of text whose lines end in CRLF; out has room for
 * 2 * text.len bytes. */
size_t folder_to_dotted(uint8_t *out, struct slice text);
