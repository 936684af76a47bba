#include "smtp/txn.h"

#include "core/check.h"

#include <stdlib.h>

void txn_init(struct txn *txn, struct pool *blocks)
{
    *txn = (struct txn){.rcpts_cap = TXN_RCPTS_INLINE, .blocks = blocks, .tls = "none"};
    txn->rcpts = txn->few;
    txn->env.rcpts = txn->few;
}

void txn_fini(struct txn *txn)
{
    while (txn->text != NULL) {
        struct block *next = txn->text->next;
        pool_release(txn->blocks, txn->text);
        txn->text = next;
    }
    if (txn->rcpts != txn->few) {
        free(txn->rcpts);
    }
    txn->rcpts = NULL;
}

mx_err txn_text(struct slice *out_copy, struct txn *txn, struct slice text)
{
    MX_ASSERT(text.len <= BLOCK_DATA);
    struct block *block = txn->text;
    if (block == NULL || BLOCK_DATA - block->len < text.len) {
        block = pool_acquire(txn->blocks);
        if (block == NULL) {
            return MX_ERR_NOMEM;
        }
        block->len = 0;
        block->start = 0;
        block->next = txn->text;
        txn->text = block;
    }
    if (text.len > 0) {
        memcpy(block->data + block->len, text.ptr, text.len);
    }
    *out_copy = slice_of(block->data + block->len, text.len);
    block->len += (uint32_t)text.len;
    return MX_OK;
}

static mx_err rcpts_grow(struct txn *txn, uint32_t needed)
{
    if (needed > ENVELOPE_RCPTS_MAX) {
        return MX_ERR_LIMIT;
    }
    if (needed <= txn->rcpts_cap) {
        return MX_OK;
    }
    uint32_t cap = txn->rcpts_cap;
    while (cap < needed) {
        cap *= 4;
    }
    struct envelope_rcpt *grown = malloc(cap * sizeof *grown);
    if (grown == NULL) {
        return MX_ERR_NOMEM;
    }
    memcpy(grown, txn->rcpts, txn->env.rcpt_count * sizeof *grown);
    if (txn->rcpts != txn->few) {
        free(txn->rcpts);
    }
    txn->rcpts = grown;
    txn->rcpts_cap = cap;
    txn->env.rcpts = grown;
    return MX_OK;
}

mx_err txn_add_rcpt(struct txn *txn, struct slice address, const struct rcpt_params *params)
{
    mx_err err = rcpts_grow(txn, txn->env.rcpt_count + 1);
    if (err) {
        return err;
    }
    struct envelope_rcpt rcpt = {.params = *params};
    err = txn_text(&rcpt.address, txn, address);
    if (!err) {
        err = txn_text(&rcpt.params.orcpt, txn, params->orcpt);
    }
    if (err) {
        return err;
    }
    txn->rcpts[txn->env.rcpt_count++] = rcpt;
    return MX_OK;
}

static mx_err copy_texts(struct txn *txn, const struct envelope *from)
{
    struct {
        struct slice *to;
        struct slice text;
    } texts[] = {
        {&txn->env.sender, from->sender},
        {&txn->env.mail.envid, from->mail.envid},
        {&txn->env.helo, from->helo},
        {&txn->env.prefix, from->prefix},
    };
    for (size_t i = 0; i < mx_countof(texts); i++) {
        mx_err err = texts[i].text.len > BLOCK_DATA ? MX_ERR_SYNTAX
                                                    : txn_text(texts[i].to, txn, texts[i].text);
        if (err) {
            return err;
        }
    }
    return MX_OK;
}

mx_err txn_decode(struct txn *txn, struct slice encoded)
{
    struct envelope env;
    struct envelope_rcpt one;
    mx_err err = envelope_decode(&env, &one, 1, encoded);
    if (err == MX_ERR_LIMIT || (err == MX_OK && env.rcpt_count > 0)) {
        err = rcpts_grow(txn, env.rcpt_count);
        if (!err) {
            err = envelope_decode(&env, txn->rcpts, txn->rcpts_cap, encoded);
        }
    }
    if (err) {
        return err;
    }
    txn->env = env;
    txn->env.rcpts = txn->rcpts;
    err = copy_texts(txn, &env);
    for (uint32_t i = 0; !err && i < env.rcpt_count; i++) {
        struct envelope_rcpt *rcpt = &txn->rcpts[i];
        if (rcpt->address.len > BLOCK_DATA || rcpt->params.orcpt.len > BLOCK_DATA) {
            return MX_ERR_SYNTAX;
        }
        err = txn_text(&rcpt->address, txn, rcpt->address);
        if (!err) {
            err = txn_text(&rcpt->params.orcpt, txn, rcpt->params.orcpt);
        }
    }
    return err;
}
