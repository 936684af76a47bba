#include "admin/arena.h"

#include <stdlib.h>
#include <string.h>

enum { ARENA_CHUNK_BYTES = 256 * 1024 };

struct arena_chunk {
    struct arena_chunk *next;
    size_t cap;
    _Alignas(16) uint8_t data[];
};

static bool arena_grow(struct arena *arena, size_t bytes)
{
    uint64_t bound = arena->bytes_max ? arena->bytes_max : ARENA_BYTES_MAX;
    size_t cap = mx_max_size(bytes, ARENA_CHUNK_BYTES);
    if (cap > bound || arena->bytes > bound - cap) {
        return false;
    }
    struct arena_chunk *chunk = calloc(1, sizeof(*chunk) + cap);
    if (!chunk) {
        return false;
    }
    chunk->cap = cap;
    chunk->next = arena->chunks;
    arena->chunks = chunk;
    arena->bytes += cap;
    arena->used = 0;
    return true;
}

void *arena_take(struct arena *arena, size_t bytes)
{
    if (bytes > ARENA_BYTES_MAX) {
        return NULL;
    }
    bytes = mx_round_up(bytes, 16);
    if (!arena->chunks || arena->chunks->cap - arena->used < bytes) {
        if (!arena_grow(arena, bytes)) {
            return NULL;
        }
    }
    void *taken = arena->chunks->data + arena->used;
    arena->used += bytes;
    return taken;
}

mx_err arena_copy(struct slice *out_copy, struct arena *arena, struct slice text)
{
    uint8_t *copy = arena_take(arena, text.len + 1);
    if (!copy) {
        return MX_ERR_NOMEM;
    }
    if (text.len) {
        memcpy(copy, text.ptr, text.len);
    }
    *out_copy = slice_of(copy, text.len);
    return MX_OK;
}

void arena_free(struct arena *arena)
{
    while (arena->chunks) {
        struct arena_chunk *chunk = arena->chunks;
        arena->chunks = chunk->next;
        explicit_bzero(chunk->data, arena->used);
        arena->used =
            arena->chunks != NULL ? arena->chunks->cap : 0; /* of earlier ones, any of it */
        free(chunk);
    }
    *arena = (struct arena){0};
}
