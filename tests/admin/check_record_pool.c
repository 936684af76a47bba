/* The memory of address records: pieces do not overlap, keep their content and are used again. */
#include "admin/record_pool.h"
#include "tests/admin/support.h"

#include <stdlib.h>
#include <string.h>

enum { PIECES = 3000, ROUNDS = 60000, BYTES_MAX = 700 };

struct piece {
    uint8_t *at; /* NULL: returned */
    size_t bytes;
    uint8_t fill;
};

static struct piece pieces[PIECES];

static void check_content(const struct piece *piece)
{
    for (size_t i = 0; i < piece->bytes; i++) {
        CHECK(piece->at[i] == piece->fill);
    }
}

static size_t chunks_of(const struct record_pool *pool)
{
    size_t count = 0;
    for (struct list_node *node = list_first(&pool->chunks); node != NULL;
         node = list_next(&pool->chunks, node)) {
        count++;
    }
    return count;
}

static void check_random(struct record_pool *pool)
{
    for (unsigned round = 0; round < ROUNDS; round++) {
        struct piece *piece = &pieces[(unsigned)rand() % PIECES];
        if (piece->at != NULL) {
            check_content(piece);
            record_return(pool, piece->at, piece->bytes);
            piece->at = NULL;
            continue;
        }
        piece->bytes = 1 + (unsigned)rand() % BYTES_MAX;
        piece->fill = (uint8_t)rand();
        piece->at = record_take(pool, piece->bytes);
        CHECK(piece->at != NULL && (uintptr_t)piece->at % RECORD_GRAIN == 0);
        memset(piece->at, piece->fill, piece->bytes);
    }
    for (unsigned i = 0; i < PIECES; i++) {
        if (pieces[i].at != NULL) {
            check_content(&pieces[i]);
        }
    }
}

/* What is returned is enough for as many of the same size. */
static void check_reuse(struct record_pool *pool)
{
    static void *taken[PIECES];
    size_t chunks = 0;
    for (unsigned round = 0; round < 4; round++) {
        for (unsigned i = 0; i < PIECES; i++) {
            taken[i] = record_take(pool, 44);
            CHECK(taken[i] != NULL);
        }
        CHECK(round == 0 || chunks_of(pool) == chunks);
        chunks = chunks_of(pool);
        for (unsigned i = 1; i < PIECES; i++) {
            record_return(pool, taken[i], 44);
        }
        if (round == 3) {
            CHECK(!list_empty(&pool->chunks));
        }
        record_return(pool, taken[0], 44);
        CHECK(list_empty(&pool->chunks)); /* nothing is kept for nobody */
    }
}

int main(void)
{
    struct record_pool pool;
    record_pool_init(&pool);
    srand(1);
    check_random(&pool);
    record_pool_free(&pool);
    check_reuse(&pool);
    record_pool_free(&pool);
    CHECK(list_empty(&pool.chunks));
    return report("record pool");
}
