/* Bump allocation for what lives and dies together: the text and arrays of one configuration.
 * Single-threaded; nothing is freed before arena_free. */
#pragma once

#include "core/err.h"
#include "core/slice.h"

struct arena_chunk;

struct arena {
    struct arena_chunk *chunks;
    size_t used;      /* of the newest chunk */
    size_t bytes;     /* taken from the system so far */
    size_t bytes_max; /* bound; 0 = ARENA_BYTES_MAX */
};

#define ARENA_BYTES_MAX (UINT64_C(8) << 30)

/* Zeroed memory aligned to 16, or NULL when the bound is reached or memory is out. */
void *arena_take(struct arena *arena, size_t bytes);
/* A copy with a NUL byte behind it that is not counted. MX_ERR_NOMEM. */
MX_MUST_CHECK mx_err arena_copy(struct slice *out_copy, struct arena *arena, struct slice text);
/* Wipes and frees everything, as there are private keys and passwords in it; a zeroed arena is
 * fine. */
void arena_free(struct arena *arena);
