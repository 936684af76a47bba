#include "core/hash.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

uint64_t hash_seeded(struct slice bytes, uint64_t seed)
{
    return XXH3_64bits_withSeed(bytes.ptr ? bytes.ptr : (const uint8_t *)"", bytes.len, seed);
}

uint64_t hash_checksum(struct slice bytes)
{
    return hash_seeded(bytes, 0);
}

uint64_t hash_checksum_next(uint64_t first, struct slice second)
{
    return hash_seeded(second, first);
}

#define TEXT_OF(x) #x
#define TEXT(x) TEXT_OF(x)

const char *hash_library_version(void)
{
    return TEXT(XXH_VERSION_MAJOR) "." TEXT(XXH_VERSION_MINOR) "." TEXT(XXH_VERSION_RELEASE);
}
