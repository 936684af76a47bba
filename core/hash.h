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
/* "0.8.1" */
const char *hash_library_version(void);
