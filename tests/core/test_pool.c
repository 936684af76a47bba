#include "core/block.h"

#include <criterion/criterion.h>
#include <stdlib.h>

Test(pool, bound_and_reuse)
{
    struct pool pool;
    void *slots[100];
    cr_assert_eq(pool_init(&pool, "test", 40, 100), MX_OK);
    for (unsigned i = 0; i < 100; i++) {
        slots[i] = pool_acquire(&pool);
        cr_assert_not_null(slots[i]);
        memset(slots[i], (int)i, 40);
    }
    cr_assert_null(pool_acquire(&pool));
    for (unsigned i = 0; i < 100; i++) {
        cr_assert_eq(((uint8_t *)slots[i])[39], i); /* slots do not overlap */
        pool_release(&pool, slots[i]);
    }
    cr_assert_eq(pool.used, 0);
    cr_assert_eq(pool.used_peak, 100);
    uint8_t *zero = pool_acquire_zero(&pool);
    cr_assert_eq(zero[0] | zero[39], 0);
    pool_release(&pool, zero);
    pool_release(&pool, NULL);
    pool_fini(&pool);
    pool_fini(&pool); /* a zeroed pool is fine */
}

/* What a released slot held is gone, apart from the list of free ones. */
Test(pool, wipes)
{
    struct pool pool;
    cr_assert_eq(pool_init(&pool, "test", 64, 2), MX_OK);
    pool.wipe = true;
    uint8_t *slot = pool_acquire(&pool);
    memset(slot, 7, 64);
    pool_release(&pool, slot);
    uint8_t *again = pool_acquire(&pool);
    cr_assert_eq(again, slot);
    for (size_t i = sizeof(void *); i < 64; i++) {
        cr_assert_eq(again[i], 0);
    }
    pool_release(&pool, again);
    pool_fini(&pool);
}

/* What was reserved can be had when memory is out, and the bound holds. */
Test(pool, reserve)
{
    struct pool pool;
    cr_assert_eq(pool_init(&pool, "test", 40, 10), MX_OK);
    void *first = pool_acquire(&pool);
    cr_assert(pool_reserve(&pool, 9));
    cr_assert_eq(pool.slots_made, 10);
    cr_assert_eq(pool.used, 1);
    cr_assert_not(pool_reserve(&pool, 10));
    void *slots[9];
    for (unsigned i = 0; i < 9; i++) {
        slots[i] = pool_acquire_zero(&pool);
        cr_assert_not_null(slots[i]);
    }
    cr_assert_null(pool_acquire(&pool));
    cr_assert(pool_reserve(&pool, 0));
    cr_assert_not(pool_reserve(&pool, 1));
    pool_release(&pool, first);
    cr_assert(pool_reserve(&pool, 1));
    for (unsigned i = 0; i < 9; i++) {
        pool_release(&pool, slots[i]);
    }
    pool_fini(&pool);
}

/* A chain is compared with a flat buffer through random appends and consumes. */
Test(chain, behaves_like_a_queue_of_bytes)
{
    struct pool blocks;
    struct chain chain = {0};
    static uint8_t model[1 << 20], piece[20000];
    size_t head = 0, tail = 0;
    cr_assert_eq(pool_init(&blocks, "blocks", sizeof(struct block), 64), MX_OK);
    srand(11);
    for (unsigned round = 0; round < 3000 && tail + sizeof piece < sizeof model; round++) {
        size_t len = (size_t)rand() % (round % 10 == 0 ? sizeof piece : 700);
        for (size_t i = 0; i < len; i++) {
            piece[i] = (uint8_t)rand();
        }
        size_t used = blocks.used;
        mx_err err = chain_append(&chain, &blocks, slice_of(piece, len));
        if (err == MX_OK) {
            memcpy(model + tail, piece, len);
            tail += len;
        } else {
            cr_assert_eq(err, MX_ERR_NOMEM);
            cr_assert_eq(blocks.used, used); /* nothing was taken */
        }
        cr_assert_eq(chain.bytes, tail - head);
        size_t at = head;
        for (const struct block *b = chain.head; b != NULL; b = b->next) {
            struct slice s = block_slice(b);
            cr_assert(memcmp(model + at, s.ptr, s.len) == 0);
            at += s.len;
        }
        cr_assert_eq(at, tail);
        size_t eat = chain.bytes == 0 ? 0 : (size_t)rand() % (chain.bytes + 1);
        chain_consume(&chain, &blocks, eat);
        head += eat;
    }
    cr_assert_gt(tail, 300000);
    chain_clear(&chain, &blocks);
    cr_assert_eq(blocks.used, 0);
    pool_fini(&blocks);
}
