/* What an arena held is wiped before its memory goes back. */
#include "core/check.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static unsigned failures, freed;
static const char secret[] = "-----BEGIN PRIVATE KEY-----";

/* In place of free: nothing of the secret is left in a block that had it. */
static void free_checked(void *block, size_t len)
{
    if (memmem(block, len, secret, sizeof secret - 1) != NULL) {
        failures++;
        fprintf(stderr, "the block freed as number %u has a secret\n", freed);
    }
    freed++;
    free(block);
}

#define free(block) free_checked(block, sizeof *(block) + (block)->cap)
#include "admin/arena.c"
#undef free

int main(void)
{
    struct arena arena = {0};
    for (unsigned i = 0; i < 3; i++) { /* a chunk each, with the secret at both ends */
        uint8_t *taken = arena_take(&arena, ARENA_CHUNK_BYTES + i * 4096);
        MX_ASSERT(taken != NULL);
        memcpy(taken, secret, sizeof secret);
        memcpy(taken + ARENA_CHUNK_BYTES - sizeof secret, secret, sizeof secret);
    }
    struct slice copy;
    MX_ASSERT(arena_copy(&copy, &arena, slice_of_text(secret)) == MX_OK);
    arena_free(&arena);
    if (freed != 4 || arena.chunks != NULL || arena.used != 0) {
        failures++;
        fprintf(stderr, "%u chunks were freed\n", freed);
    }
    if (failures > 0) {
        return 1;
    }
    puts("check_arena: passed");
    return 0;
}
