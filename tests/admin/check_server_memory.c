/* The memory of the cores' threads is aligned as they ask for: their logs hold a ring whose ends
 * have cache lines of their own, which is more than malloc gives. Here memory is aligned as asked
 * for and not more. */
#include "tests/check.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

static void *exactly_aligned(size_t align, size_t bytes);

#define aligned_alloc exactly_aligned
#define malloc(bytes) exactly_aligned(16, bytes)
#define calloc(count, bytes) memset(exactly_aligned(16, (count) * (bytes)), 0, (count) * (bytes))
#include "admin/server_cores.c"
#undef aligned_alloc
#undef malloc
#undef calloc

#include <stdio.h>

enum { CORES = 3, MEMORY_BYTES = (CORES + 2) * sizeof(struct core_thread) };

static uint8_t memory[MEMORY_BYTES];

/* An odd multiple of the alignment. */
static void *exactly_aligned(size_t align, size_t bytes)
{
    uintptr_t start = ((uintptr_t)memory + 2 * align - 1) / (2 * align) * (2 * align) + align;
    CHECK(start + bytes <= (uintptr_t)memory + sizeof memory);
    return memory + (start - (uintptr_t)memory);
}

int main(void)
{
    memset(memory, 0xdd, sizeof memory);
    struct core_thread *cores = server_cores_new(CORES);
    CHECK(cores != NULL);
    for (unsigned i = 0; i <= CORES; i++) { /* and one for management */
        CHECK((uintptr_t)&cores[i].shard.log % _Alignof(struct log) == 0);
        CHECK(!cores[i].started && cores[i].server == NULL);
    }
    CHECK(_Alignof(struct log) > _Alignof(max_align_t)); /* else this tries nothing */
    return 0;
}
