/* Memory for address records that come and go one by one: pieces of the exact size, without a head,
 * from large chunks; what is returned is used again for the same size, and when nothing is left, so
 * is no chunk. Single-threaded.
 *
 * In builds with the address sanitizer every record is allocated by itself. */
#pragma once

#include "core/list.h"

enum {
    RECORD_GRAIN = 4,
    RECORD_SMALL_MAX = 512, /* larger ones are allocated by themselves */
    RECORD_CHUNK_BYTES = 64 * 1024,
};

struct record_pool {
    struct list chunks; /* also of large ones */
    void *free[RECORD_SMALL_MAX / RECORD_GRAIN + 1];
    uint8_t *at; /* of the newest chunk */
    size_t left;
    size_t live; /* records that were not returned */
};

void record_pool_init(struct record_pool *pool);
/* Everything, returned or not. */
void record_pool_free(struct record_pool *pool);
/* Aligned to RECORD_GRAIN; NULL when memory is out. */
void *record_take(struct record_pool *pool, size_t bytes);
/* With the same number of bytes. */
void record_return(struct record_pool *pool, void *record, size_t bytes);
