/* XXH3 hashing. The only file that includes xxhash.h is hash.c. */
#pragma once

#include "core/slice.h"

/* Hash for tables: seeded per process so that outsiders cannot construct collisions. */
uint64_t hash_seeded(struct slice bytes, uint64_t seed);
/* Checksum of stored data: fixed for ever by the on-disk format (XXH3-64, seed 0). */
uint64_t hash_checksum(struct slice bytes);
/* Checksum of a second part that continues a first one: XXH3-64 of second with the first
 * part's checksum as seed. */
uint64_t hash_checksum_next(uint64_t first, struct slice second);
/* XXH64 (seed 0) of bytes that come in pieces. */
struct hash_stream {
    uint64_t state[11]; /* private */
};
void hash_stream_init(struct hash_stream *stream);
void hash_stream_add(struct hash_stream *stream, struct slice piece);
uint64_t hash_stream_value(const struct hash_stream *stream);
/* "0.8.1" */
const char *hash_library_version(void);
