/* The chunked coding (RFC 9112 section 7.1), strictly: CRLF only, bounded sizes, extensions and
 * trailers, which are ignored. Not left to http-parser, because Debian builds it lenient: it skips
 * whatever stands in the place of a CRLF behind a chunk. Pure. */
#pragma once

#include "core/slice.h"

enum {
    HTTP_CHUNK_DIGITS_MAX = 15,
    HTTP_CHUNK_EXTENSION_MAX = 256, /* bytes per chunk */
    HTTP_TRAILER_MAX = 4096,        /* bytes in all */
};

enum http_chunk_act {
    HTTP_CHUNK_MORE, /* all input was used */
    HTTP_CHUNK_DATA, /* a piece of the body */
    HTTP_CHUNK_END,  /* the body is complete */
    HTTP_CHUNK_MALFORMED,
    HTTP_CHUNK_TRAILERS, /* too many bytes of trailers */
};

struct http_chunk {
    uint8_t state;  /* private */
    uint64_t left;  /* of the chunk: the size while it is read, then what is to come */
    uint32_t count; /* digits, bytes of the extension or of the trailers */
    bool line;      /* the trailer line is not empty */
};

void http_chunk_init(struct http_chunk *chunk);
/* One step; *in shrinks by what was used. With HTTP_CHUNK_DATA *out_data is a part of the input. */
enum http_chunk_act http_chunk_next(struct http_chunk *chunk, struct slice *out_data,
                                    struct slice *in);
/* Bytes that the current chunk will still bring: for refusing before they arrive. */
uint64_t http_chunk_left(const struct http_chunk *chunk);
