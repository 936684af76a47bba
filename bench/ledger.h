/* What was sent, taken, and killed, as text: one line per message and recipient, appended.
 *
 *   KIND TIME SINCE ID HASH BYTES RECIPIENT   KIND is one of ledger.def's
 *   kill BEFORE AFTER [MARK]                  the process under test died in between
 *   # anything
 *
 * TIME, SINCE, BEFORE, AFTER: microseconds of the monotonic clock, so that programs on one machine
 * agree. SINCE: when the connection began. MARK: so long the machine may have needed, just before
 * that kill, from a next hop's reply to the durable mark. HASH: 16 hex digits, of the content
 * behind its mark (bench/mark). BYTES: of the whole content. ID "-": no mark. The recipient is the
 * rest of the line. */
#pragma once

#include "core/cursor.h"
#include "core/err.h"

enum ledger_kind {
#define LEDGER(name, word) LEDGER_##name,
#include "bench/ledger.def"
#undef LEDGER
    LEDGER_KINDS
};

struct ledger_entry {
    enum ledger_kind kind;
    uint64_t time_us, since_us;
    uint64_t until_us, mark_us; /* of a kill; no mark: 0 */
    struct slice id, rcpt;
    uint64_t hash, bytes;
};

enum { LEDGER_BUFFER_BYTES = 256 * 1024, LEDGER_LINE_MAX = 1024 };

/* A zeroed ledger is not open; adding to it does nothing. */
struct ledger {
    int fd_plus_one;
    mx_err err; /* of the first write that failed: what came later is missing */
    struct writer out;
    uint8_t buf[LEDGER_BUFFER_BYTES];
};

MX_MUST_CHECK mx_err ledger_open(struct ledger *ledger, const char *path);
void ledger_add(struct ledger *ledger, const struct ledger_entry *entry);
/* Gives all lines to the kernel in one write. */
void ledger_flush(struct ledger *ledger);
void ledger_close(struct ledger *ledger);
/* Parses one line without its end; text borrows from it. MX_ERR_NOTFOUND for comments and empty
 * lines, MX_ERR_SYNTAX. */
MX_MUST_CHECK mx_err ledger_parse(struct ledger_entry *out, struct slice line);
