/* The attempts of one message's recipients, as a byte string: oldest first, bounded, stored beside
 * the message in the journal (a HISTORY record) and nowhere in memory while it waits. Pure. */
#pragma once

#include "core/cursor.h"
#include "core/err.h"
#include "smtp/cli_engine.h"

enum {
    HISTORY_RCPT_MAX = 10,         /* attempts kept of a recipient */
    HISTORY_BYTES_MAX = 16 * 1024, /* of a message; over it the oldest go */
    HISTORY_HOP_MAX = 128,         /* texts are cut at these lengths */
    HISTORY_PEER_MAX = 64,
    HISTORY_TEXT_MAX = 200,
};

struct history_entry {
    uint32_t rcpt; /* index in the envelope */
    int64_t at_ms; /* when it ended */
    uint32_t took_ms;
    enum outcome_kind kind;
    uint16_t code;     /* 0: no reply */
    struct slice hop;  /* ROUTE or ROUTE:DOMAIN */
    struct slice host; /* name, may be empty */
    struct slice peer; /* address and port, may be empty */
    struct slice text; /* reply, with its enhanced code and the queue id there, or reason */
};

/* Bytes that an entry takes. */
size_t history_entry_bytes(const struct history_entry *entry);
void history_put(struct writer *w, const struct history_entry *entry);
/* The next one; texts borrow. MX_ERR_SYNTAX. */
MX_MUST_CHECK mx_err history_get(struct history_entry *out_entry, struct reader *r);
/* Drops what exceeds the bounds, the oldest first; returns the new length. rcpts: number of
 * recipients, counts: so many bytes of scratch. What cannot be read drops everything. */
size_t history_trim(uint8_t *bytes, size_t len, uint32_t rcpts, uint8_t *counts);
