#include "core/block.h"

#include <criterion/criterion.h>

/* A chain takes all bytes or none: an empty pool leaves it as it was, and nothing is held. */
Test(block, appending_without_memory)
{
    static uint8_t bytes[4 * BLOCK_DATA];
    struct pool blocks;
    struct chain chain = {0};
    cr_assert_eq(pool_init(&blocks, "blocks", sizeof(struct block), 3), MX_OK);
    cr_assert_eq(chain_append(&chain, &blocks, SLICE_LITERAL("abc")), MX_OK);
    cr_assert_eq(chain_append(&chain, &blocks, slice_of(bytes, sizeof bytes)), MX_ERR_NOMEM);
    cr_assert(blocks.used == 1 && chain.bytes == 3);
    cr_assert(slice_equal(block_slice(chain.head), SLICE_LITERAL("abc")));
    cr_assert_eq(chain_append(&chain, &blocks, slice_of(bytes, 2 * BLOCK_DATA)), MX_OK);
    cr_assert(blocks.used == 3 && chain.bytes == 3 + 2 * BLOCK_DATA);
    chain_consume(&chain, &blocks, 3 + BLOCK_DATA);
    cr_assert_eq(chain.bytes, BLOCK_DATA);
    chain_clear(&chain, &blocks);
    cr_assert_eq(blocks.used, 0);
    pool_fini(&blocks);
}
