/* An envelope together with the memory of its text: what a session builds between MAIL and the end
 * of the data, and what a queued message has while it is being delivered. */
#pragma once

#include "core/block.h"
#include "smtp/envelope.h"

enum { TXN_RCPTS_INLINE = 4 };

struct txn {
    struct envelope env; /* env.rcpts points to rcpts */
    struct envelope_rcpt *rcpts;
    uint32_t rcpts_cap;
    struct envelope_rcpt few[TXN_RCPTS_INLINE];
    struct block *text; /* newest block first; every string lies in one block */
    struct pool *blocks;
    /* of the session that it came in by, for the log */
    uint64_t session; /* 0: by none */
    uint64_t connected_ns;
    const char *tls; /* static */
};

/* blocks supplies the text memory. */
void txn_init(struct txn *txn, struct pool *blocks);
/* Releases all memory. */
void txn_fini(struct txn *txn);
/* Copies text (at most BLOCK_DATA bytes) into the transaction's memory. */
MX_MUST_CHECK mx_err txn_text(struct slice *out_copy, struct txn *txn, struct slice text);
/* Adds a recipient; its text is copied. */
MX_MUST_CHECK mx_err txn_add_rcpt(struct txn *txn, struct slice address,
                                  const struct rcpt_params *params);
/* Fills from an encoded envelope; all text is copied. MX_ERR_SYNTAX, MX_ERR_NOMEM. */
MX_MUST_CHECK mx_err txn_decode(struct txn *txn, struct slice encoded);
