/* The only decoder of message content: finds the end of data, removes the stuffed dots, counts
 * Received headers, notices bare CR and LF, NULs and 8-bit bytes, enforces the size limit. Pure.
 *
 * DATA mode: the end is CRLF "." CRLF (or "." CRLF as the first line) and nothing else. BDAT mode:
 * the caller knows the length; no dots, but the same checks. Bare newlines do not end anything:
 * reading goes on to the true end, then the caller refuses. With normalize, bare CR or LF come out
 * as CRLF and are not refused; a normalized newline takes part in neither end-of-data nor dot
 * recognition on input. */
#pragma once

#include "core/slice.h"

struct data_stream {
    uint64_t bytes;          /* decoded so far, given out or (over the limit) thrown away */
    uint64_t size_bytes_max; /* 0 = no limit */
    uint32_t received;       /* Received: header lines seen */
    uint8_t state;           /* enum in data_stream.c */
    uint8_t header_match;    /* progress in matching "received:" at a line start */
    bool in_header;
    bool dotted; /* DATA mode */
    bool normalize;
    bool done; /* the end was found */
    bool bare_newline;
    bool nul;
    bool has_8bit;
    bool over_size;
    bool ends_in_crlf; /* of what was decoded so far; true for nothing at all */
    bool binary;       /* BINARYMIME: newlines and NULs are not looked at */
};

void data_stream_init(struct data_stream *ds, uint64_t size_bytes_max, bool dotted, bool normalize,
                      bool binary);
/* Decodes from *in (advanced) to the next piece of content: a slice that borrows from *in or from
 * static text, empty when *in is used up or the end was found (ds->done). */
struct slice data_stream_next(struct data_stream *ds, struct slice *in);
/* BDAT: the last chunk has ended. */
void data_stream_finish(struct data_stream *ds);
