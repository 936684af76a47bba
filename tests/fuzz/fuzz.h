/* Shared by the fuzz targets. A target is one function over bytes; libFuzzer drives it (preset
 * `fuzz`), and a plain driver runs the corpus as an ordinary test (fuzz_corpus.c). A broken
 * invariant aborts. */
#pragma once

#include "core/slice.h"

#include <stdio.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define FUZZ_CHECK(cond)                                               \
    do {                                                               \
        if (!(cond)) {                                                 \
            fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #cond); \
            abort();                                                   \
        }                                                              \
    } while (0)

/* Decisions come from the front of the input, content from what is left. */
struct fuzz_source {
    struct slice left;
};

static inline uint8_t fuzz_byte(struct fuzz_source *s)
{
    if (s->left.len == 0) {
        return 0;
    }
    uint8_t byte = s->left.ptr[0];
    s->left = slice_from(s->left, 1);
    return byte;
}

/* The next piece of content: its length is chosen by the input. */
static inline struct slice fuzz_piece(struct fuzz_source *s)
{
    size_t len = fuzz_byte(s);
    struct slice piece = slice_first(s->left, len);
    s->left = slice_from(s->left, piece.len);
    return piece;
}
