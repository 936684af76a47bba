/* The queue of one core as an administrator sees and changes it. Questions come as messages, one at
 * a time; the core works at one for a bounded piece per turn, however many messages there are, and
 * answers when it is done: mail has its turn in between.
 *
 * smtp/queue_scan looks for messages, smtp/queue_shape counts them; the rest is here. */
#pragma once

#include "io/journal.h"
#include "io/mbox.h"
#include "io/shard.h"
#include "smtp/deliver.h"
#include "smtp/queue_filter.h"
#include "smtp/trace_search.h"

enum {
    QUEUE_LOOKS_MAX = 4096,  /* messages looked at per turn */
    QUEUE_ROWS_MAX = 65536,  /* ... and rows of the index (smtp/spool_index.h) */
    QUEUE_READS_MAX = 16,    /* envelopes read back at a time */
    QUEUE_STEPS_MAX = 64,    /* changes per turn */
    QUEUE_READ_TRIES = 4,    /* when the message is moved meanwhile */
    QUEUE_BY_MAX = 64,       /* of the name of who asks */
    QUEUE_SHAPE_ROWS = 1024, /* next hops that are counted apart, per core */
    QUEUE_SHAPE_AGES = 10,   /* see queue_shape_minutes */
};

enum queue_op {
    QUEUE_SCAN,    /* scan: the first messages of an order, and how many there are */
    QUEUE_CHECK,   /* check: which of some messages fit by their addresses and queues */
    QUEUE_READ,    /* id: fills detail */
    QUEUE_CONTENT, /* id, part: fills content */
    QUEUE_CHANGE,  /* changes: each is tried once */
    QUEUE_SHAPE,   /* shape */
    QUEUE_PAUSE,   /* pause */
    QUEUE_TRACE,   /* trace */
    /* What name servers said is asked anew, for new lookups and those under way. */
    QUEUE_FORGET_NAMES,
    QUEUE_FORGET_ABSENT, /* only what was not found, or not to be had */
};

/* Begins with the results zero, and an empty top. */
struct queue_scan {
    const struct queue_filter *filter; /* only read; the same for all cores. Where addresses count,
                                          what is found may fit: see QUEUE_CHECK */
    struct queue_digest parts;         /* of the filter */
    bool by_due;                       /* keys are the next attempts, else the arrivals */
    bool count;                        /* total and before are wanted, so nothing is passed over */
    bool from_given;                   /* what comes before `from` is not kept */
    struct queue_key from;
    struct queue_bins *bins; /* NULL, or: matching keys are counted here instead of kept */
    struct queue_top top;
    uint64_t total, before; /* matching that were looked at; of them before `from` */
    bool passed_over;       /* there may be others */
    bool unsure;            /* whether some of them fit is for QUEUE_CHECK to say: the virtual queue
                               of a recipient is not known */
    /* With count: of the keys that are not QUEUE_NEVER_MS, if any, and how many are. */
    int64_t least_ms, most_ms;
    uint64_t never;
    uint32_t end, looked; /* handles: of all, so many */
};
#define QUEUE_NEVER_MS INT64_MAX

struct queue_check {
    const struct queue_filter *filter;
    const struct queue_key *keys; /* those of other cores are passed over */
    bool *fits;                   /* per key: set where it fits */
    size_t count, next;
};

/* What a recipient's state refers to. */
struct queue_rcpt_text {
    uint8_t reply_len, hop_len, queue_len;
    uint8_t reply[TEXT_BYTES], hop[TEXT_BYTES], queue[TEXT_BYTES];
};

/* Buffers are malloc'd, for the asker to free. */
struct queue_detail {
    struct qid id;
    int64_t arrived_ms, due_ms; /* by which it is in order */
    uint64_t body_bytes;
    bool damaged, active;
    uint32_t rcpt_count;
    struct rcpt_state *rcpts;      /* expires_ms is set in all of them */
    struct queue_rcpt_text *texts; /* per recipient */
    uint8_t *history;              /* smtp/history; NULL: none */
    size_t history_len;
    uint8_t *envelope; /* encoded; NULL: unreadable */
    uint32_t envelope_bytes;
};

/* Part 0 is the MESSAGE record: header lines of ours, and the end of the content. The other parts
 * are the extents, which lie between the two. */
struct queue_content {
    void *buf; /* for the asker to free */
    struct slice prefix, body;
    uint32_t extent_count;
    uint64_t body_bytes;
};

struct queue_change {
    uint64_t id;
    struct deliver_change change;
    uint16_t to_len; /* of its recipient's address, for the log; 0: it is not about a single one */
    uint8_t to[ADDRESS_MAX];
    bool made;  /* once, by this one: it may be on its way to the disk */
    mx_err err; /* MX_ERR_AGAIN: to be asked for again; MX_ERR_NOTFOUND: no such message, or with
                   made: it has ended by this change, durably. Else as deliver_change */
};

/* Recipients that wait, by next hop and age of their message. */
extern const unsigned queue_shape_minutes[QUEUE_SHAPE_AGES - 1]; /* upper ends; the last is open */
struct queue_shape_row {
    uint8_t hop_len, hop[TEXT_BYTES]; /* empty: not tried yet in this process */
    uint64_t ages[QUEUE_SHAPE_AGES];
    uint64_t total, held;
};
struct queue_shape {
    struct queue_shape_row *rows; /* the caller's, QUEUE_SHAPE_ROWS */
    size_t count;
    uint16_t slots[2 * QUEUE_SHAPE_ROWS]; /* row + 1, by the hash of its name; zero at first */
    struct queue_shape_row others;        /* for whom there was no row */
    uint32_t looked;
};

struct queue_request;

struct queue_read {
    struct journal_read read;
    struct queue_request *request;
    struct qid id;
    uint32_t handle;
    uint32_t envelope_bytes;
    unsigned tries;
    bool is_history;
    size_t at; /* of a check: which key */
};

/* One question to one core. Belongs to the core from mbox_send of msg until the reply arrives. */
struct queue_request {
    struct mbox_msg msg; /* receive = queue_request_receive */
    unsigned reply_to;
    struct mbox_msg reply; /* receive is the asker's */
    enum queue_op op;
    uint64_t id;
    uint32_t part;
    char by[QUEUE_BY_MAX]; /* for the log: who asks; NUL-terminated */
    struct queue_scan scan;
    struct queue_check check;
    struct queue_detail detail;
    struct queue_content content;
    struct queue_change *const *changes;
    size_t change_count, change_next;
    struct queue_shape shape;
    const struct deliver_pause *pause;
    struct trace_search trace;
    mx_err err;
    /* private to the core */
    struct shard *shard;
    unsigned reading;
    bool done; /* but for the reads under way */
    struct queue_read reads[QUEUE_READS_MAX];
};

/* Of a core. */
struct queue_view {
    struct shard_hook hook;
    struct queue_request *running; /* NULL: nobody asks */
};
void queue_view_open(struct queue_view *view, struct shard *shard);
void queue_request_receive(struct mbox_msg *msg, struct shard *at);

/* --- for the parts -----------------------------------------------------------------------------
 */

struct spool *queue_spool(const struct queue_request *request);
/* NULL: it has gone. */
struct message *queue_find(const struct queue_request *request, uint64_t id);
bool queue_is_there(const struct message *msg); /* it is queued; msg may be NULL */
/* Reads a record of the message back; NULL: of its own. used is called with the record's payload,
 * or without (err), and with the message, or NULL when it has gone. MX_ERR_NOMEM. */
MX_MUST_CHECK mx_err queue_read(struct queue_read *read, struct queue_request *request,
                                const struct message *msg, struct journal_ref ref);
/* The encoded envelope in the payload of a MESSAGE record. */
MX_MUST_CHECK mx_err queue_envelope(struct slice *out_bytes, const struct queue_read *read);
void queue_scan_piece(struct queue_request *request);
void queue_check_piece(struct queue_request *request);
void queue_check_use(struct queue_request *request, const struct queue_read *read,
                     struct message *msg);
void queue_shape_piece(struct queue_request *request);
