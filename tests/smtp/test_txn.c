#include "smtp/txn.h"

#include "core/block.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>

static struct pool blocks;

static void open_blocks(size_t max)
{
    cr_assert_eq(pool_init(&blocks, "blocks", sizeof(struct block), max), MX_OK);
}

static void close_blocks(void)
{
    cr_assert_eq(blocks.used, 0);
    pool_fini(&blocks);
}

static void add(struct txn *txn, uint32_t count)
{
    char text[64];
    for (uint32_t i = 0; i < count; i++) {
        struct rcpt_params params = {.notify = NOTIFY_FAILURE, .orcpt = SLICE_LITERAL("rfc822;x")};
        snprintf(text, sizeof text, "user-%u@example.org", i);
        cr_assert_eq(txn_add_rcpt(txn, slice_of_text(text), &params), MX_OK);
    }
}

static void expect_rcpts(const struct txn *txn, uint32_t count)
{
    char text[64];
    cr_assert_eq(txn->env.rcpt_count, count);
    for (uint32_t i = 0; i < count; i++) {
        snprintf(text, sizeof text, "user-%u@example.org", i);
        cr_assert(slice_equal(txn->env.rcpts[i].address, slice_of_text(text)));
        cr_assert(slice_equal(txn->env.rcpts[i].params.orcpt, SLICE_LITERAL("rfc822;x")));
    }
}

/* Encoded and read back into another transaction: the same, and nothing points at the bytes. */
static void round_trip(uint32_t count)
{
    struct txn txn, again;
    txn_init(&txn, &blocks);
    txn_init(&again, &blocks);
    txn.env.sender = SLICE_LITERAL("s@example.net");
    txn.env.mail.envid = SLICE_LITERAL("id");
    txn.env.helo = SLICE_LITERAL("client");
    txn.env.prefix = SLICE_LITERAL("Received: x\r\n");
    add(&txn, count);
    size_t len = envelope_bytes(&txn.env);
    uint8_t *bytes = malloc(len);
    struct writer w = writer_init(bytes, len);
    envelope_encode(&w, &txn.env);
    cr_assert(!w.overflow && w.len == len);
    for (size_t cut = 0; cut < len; cut += len / 50 + 1) { /* a part of it is not an envelope */
        cr_assert_neq(txn_decode(&again, slice_of(bytes, cut)), MX_OK);
        txn_fini(&again);
        txn_init(&again, &blocks);
    }
    cr_assert_eq(txn_decode(&again, slice_of(bytes, len)), MX_OK);
    memset(bytes, 'z', len);
    free(bytes);
    cr_assert(slice_equal(again.env.sender, txn.env.sender));
    cr_assert(slice_equal(again.env.prefix, txn.env.prefix));
    cr_assert(slice_equal(again.env.helo, txn.env.helo));
    cr_assert(slice_equal(again.env.mail.envid, txn.env.mail.envid));
    expect_rcpts(&again, count);
    txn_fini(&txn);
    txn_fini(&again);
}

Test(txn, round_trips)
{
    open_blocks(1000);
    static const uint32_t counts[] = {0, 1, 2, 3, 4, 5, 16, 17, 100, ENVELOPE_RCPTS_MAX};
    for (size_t i = 0; i < mx_countof(counts); i++) {
        round_trip(counts[i]);
    }
    close_blocks();
}

Test(txn, more_recipients_than_an_envelope_may_have)
{
    open_blocks(1000);
    struct txn txn;
    struct rcpt_params params = {0};
    txn_init(&txn, &blocks);
    add(&txn, ENVELOPE_RCPTS_MAX);
    cr_assert_eq(txn_add_rcpt(&txn, SLICE_LITERAL("x@y"), &params), MX_ERR_LIMIT);
    expect_rcpts(&txn, ENVELOPE_RCPTS_MAX);
    txn_fini(&txn);
    close_blocks();
}

/* What would not fit into one block is no envelope of ours. */
Test(txn, texts_that_are_too_long)
{
    open_blocks(1000);
    static uint8_t large[BLOCK_DATA + 1], bytes[4 * BLOCK_DATA];
    memset(large, 'x', sizeof large);
    struct slice text = slice_of(large, sizeof large);
    struct envelope_rcpt rcpt = {.address = SLICE_LITERAL("a@b")};
    struct envelope envs[] = {
        {.sender = text}, {.prefix = text}, {.rcpts = &rcpt, .rcpt_count = 1}};
    for (size_t i = 0; i < mx_countof(envs); i++) {
        struct txn txn;
        struct writer w = writer_init(bytes, sizeof bytes);
        rcpt.address = text;
        envelope_encode(&w, &envs[i]);
        cr_assert(!w.overflow);
        txn_init(&txn, &blocks);
        cr_assert_eq(txn_decode(&txn, writer_slice(&w)), MX_ERR_SYNTAX, "%zu", i);
        txn_fini(&txn);
    }
    close_blocks();
}

Test(txn, no_memory)
{
    open_blocks(1);
    static uint8_t large[BLOCK_DATA];
    struct txn txn;
    struct slice kept, more;
    struct rcpt_params params = {0};
    txn_init(&txn, &blocks);
    cr_assert_eq(txn_text(&kept, &txn, slice_of(large, sizeof large)), MX_OK);
    cr_assert_eq(txn_text(&more, &txn, SLICE_LITERAL("x")), MX_ERR_NOMEM);
    cr_assert_eq(txn_add_rcpt(&txn, SLICE_LITERAL("x@y"), &params), MX_ERR_NOMEM);
    cr_assert_eq(txn.env.rcpt_count, 0);
    txn_fini(&txn);
    close_blocks();
}
