/* The queue of one core as an administrator sees and changes it. Questions come as messages; the
 * core does a bounded piece of work for each and answers, and who asks sends it again for the next
 * piece: however many messages there are, mail has its turn in between. */
#pragma once

#include "io/journal.h"
#include "io/mbox.h"
#include "smtp/queue_filter.h"
#include "smtp/record.h"

struct shard;

enum {
    QUEUE_LOOKS_MAX = 2048, /* messages looked at per piece of a scan */
    QUEUE_READS_MAX = 16,   /* envelopes read back per piece */
    QUEUE_READ_TRIES = 4,   /* when the message is moved meanwhile */
    QUEUE_BY_MAX = 64,      /* of the name of who asks */
};

enum queue_op {
    QUEUE_SCAN,   /* scan */
    QUEUE_READ,   /* id: fills detail */
    QUEUE_CANCEL, /* id: recipients that are pending become failed, without a DSN. MX_ERR_AGAIN: it
                     is being delivered, or the change is on its way to the disk: ask again.
                     MX_ERR_NOTFOUND: it has ended, durably */
    QUEUE_RETRY,  /* id, due_ms: pending recipients are due then; MX_ERR_UNSUPPORTED: the message is
                     incomplete and never tried */
    QUEUE_PAUSE,  /* no delivery begins any more; those that wait are given back */
    QUEUE_RESUME,
    /* What name servers said is asked anew, for new lookups and those under way. */
    QUEUE_FORGET_NAMES,
    QUEUE_FORGET_ABSENT, /* only what was not found, or not to be had */
};

/* Begins with next = 0, the rest of the results zero, and an empty top; goes on until finished. */
struct queue_scan {
    const struct queue_filter *filter; /* only read; the same for all cores */
    bool by_due;                       /* keys are the next attempts, else the arrivals */
    bool from_given;                   /* what comes before `from` is counted, not kept */
    struct queue_key from;
    struct queue_top top;
    uint64_t total, before; /* matching; of them before `from` */
    uint32_t next;          /* handle */
    bool finished;
};

/* Buffers are malloc'd, for the asker to free. */
struct queue_detail {
    struct qid id;
    int64_t arrived_ms;
    uint64_t body_bytes;
    bool held;
    uint64_t expire_ms; /* after arrival */
    uint32_t rcpt_count;
    struct rcpt_state *rcpts;
    uint8_t *envelope; /* encoded; NULL: unreadable */
    uint32_t envelope_bytes;
};

struct queue_request;

struct queue_read {
    struct journal_read read;
    struct queue_request *request;
    struct qid id;
    uint32_t handle;
    uint32_t envelope_bytes;
    unsigned tries;
    struct queue_key key;
};

/* One question to one core. Belongs to the core from mbox_send of msg until the reply arrives. */
struct queue_request {
    struct mbox_msg msg; /* receive = queue_request_receive */
    unsigned reply_to;
    struct mbox_msg reply; /* receive is the asker's */
    enum queue_op op;
    uint64_t id;
    int64_t due_ms;
    char by[QUEUE_BY_MAX]; /* for the log: who asks; NUL-terminated */
    struct queue_scan scan;
    struct queue_detail detail;
    mx_err err;
    /* private to the core */
    struct shard *shard;
    unsigned reading;
    struct queue_read reads[QUEUE_READS_MAX];
};

void queue_request_receive(struct mbox_msg *msg, struct shard *at);
