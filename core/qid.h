/* Queue id of a message: unique for ever across nodes, journal sets and restarts.
 * Text form: node-set-epoch-sequence in lower-case hex without leading zeros, "1-3-2a-1f0c";
 * an Atom of RFC 5321, safe in file names. */
#pragma once

#include "core/cursor.h"
#include "core/err.h"

struct qid {
    uint16_t node;
    uint16_t set;
    uint32_t epoch;
    uint64_t sequence;
};

enum { QID_TEXT_MAX = 4 + 1 + 4 + 1 + 8 + 1 + 16 };

static inline bool qid_equal(struct qid a, struct qid b)
{
    return a.sequence == b.sequence && a.epoch == b.epoch && a.set == b.set && a.node == b.node;
}
static inline bool qid_none(struct qid id)
{
    return id.sequence == 0;
}
void qid_print(struct writer *w, struct qid id);
MX_MUST_CHECK mx_err qid_parse(struct qid *out_id, struct slice text);
void put_qid(struct writer *w, struct qid id);
struct qid get_qid(struct reader *r);
uint64_t qid_hash(struct qid id);
