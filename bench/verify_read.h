/* The inputs of bench/verify, read into one array of records. */
#pragma once

#include "bench/ledger.h"
#include "bench/verify.h"

#define VERIFY_NO_TIME UINT64_MAX

struct verify_record {
    uint64_t key; /* hash of id and recipient */
    struct slice id, rcpt;
    uint64_t hash;
    uint64_t time_us;  /* VERIFY_NO_TIME: of a file, whose place in an order is not known */
    uint64_t since_us; /* of a file: when it got its place */
    uint64_t index;    /* order of reading */
    enum ledger_kind kind;
};

struct verify_kill {
    uint64_t before_us, after_us;
    uint64_t mark_us; /* 0, or what is allowed if it is more than verify_conf's mark_ms */
};

struct verify_input {
    struct verify_record *records;
    size_t record_count, record_cap;
    struct verify_kill *kills;
    size_t kill_count, kill_cap;
    uint64_t senders;  /* records of senders */
    uint64_t unmarked; /* messages that arrived without a mark */
    uint8_t **texts;   /* what the slices borrow from */
    size_t text_count, text_cap;
};

/* False: the reason was printed. in is zeroed before and always to be given to verify_input_fini.
 */
bool verify_read(struct verify_input *in, const struct verify_conf *conf);
void verify_input_fini(struct verify_input *in);
