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

_Static_assert(sizeof(XXH64_state_t) <= sizeof(struct hash_stream) &&
                   _Alignof(XXH64_state_t) <= _Alignof(struct hash_stream),
               "hash_stream is too small");

void hash_stream_init(struct hash_stream *stream)
{
    (void)XXH64_reset((XXH64_state_t *)(void *)stream->state, 0);
}

void hash_stream_add(struct hash_stream *stream, struct slice piece)
{
    if (piece.len > 0) {
        (void)XXH64_update((XXH64_state_t *)(void *)stream->state, piece.ptr, piece.len);
    }
}

uint64_t hash_stream_value(const struct hash_stream *stream)
{
    return XXH64_digest((const XXH64_state_t *)(const void *)stream->state);
}

#define TEXT_OF(x) #x
#define TEXT(x) TEXT_OF(x)

const char *hash_library_version(void)
{
    return TEXT(XXH_VERSION_MAJOR) "." TEXT(XXH_VERSION_MINOR) "." TEXT(XXH_VERSION_RELEASE);
}
