/* Asks the cores about their queues and lets them change them (smtp/queue_view), and waits for the
 * answers. Runs on the management worker, inside its jobs. */
#pragma once

#include "smtp/queue_view.h"

struct queue_cores;
struct mbox_hub;

enum {
    QUEUE_WAIT_MS = 5000,         /* for all answers to one question */
    QUEUE_SEARCH_WAIT_MS = 20000, /* when addresses have to be read back for it */
    QUEUE_POLL_MS = 5,            /* a change is asked for again after this, until it is on disk */
    QUEUE_WINDOW_MAX = 20000,     /* keys per question */
    QUEUE_CANDIDATES_MIN = 64,    /* keys that are looked at together for their addresses */
    QUEUE_NEAR_MAX = 1024,        /* places that queue_cores_go_to leaves */
    QUEUE_TEXT_MAX = 255,         /* of a filter's texts */
    QUEUE_CHANGES_MAX = 1000,     /* collected at a time */
    QUEUE_CONTENT_MAX = 50 * 1024 * 1024,
};

struct queue_cores_conf {
    struct mbox_hub *hub;
    unsigned cores;                               /* 0: there is no queue */
    unsigned index;                               /* of the worker's thread in the hub */
    void (*wait)(void *arg, unsigned timeout_ms); /* takes messages of the cores, as worker_wait */
    void *wait_arg;
};

struct queue_question {
    struct queue_filter filter; /* texts are copied */
    bool by_due, ascending;
    bool from_given; /* keys from `from` on; else from the first */
    bool count;      /* total and before are wanted, even if everything has to be looked at */
    struct queue_key from;
    size_t window; /* keys wanted, at most QUEUE_WINDOW_MAX */
};

struct queue_found {
    const struct queue_key *keys; /* in order, at most window; valid until the next question */
    size_t count;
    bool more;              /* there are others behind them */
    bool counted;           /* the rest is known */
    bool unsure;            /* not all of them need fit (queue_scan.unsure) */
    uint64_t total, before; /* messages that match; of them before `from` */
};

MX_MUST_CHECK mx_err queue_cores_new(struct queue_cores **out_queue,
                                     const struct queue_cores_conf *conf);
/* After the cores have ended. NULL is fine. */
void queue_cores_free(struct queue_cores *queue);

/* All: MX_ERR_TIMEOUT: a core did not answer in time, or there are too many messages to be read.
 * MX_ERR_AGAIN: a core is still busy with an earlier question, or does not serve yet.
 * MX_ERR_NOTFOUND: no such message. */
MX_MUST_CHECK mx_err queue_cores_find(struct queue_cores *queue,
                                      const struct queue_question *question,
                                      struct queue_found *found);
/* Lets a question that needs no addresses begin near a place, however far that is: on return
 * question->from is given, and *place counts from there. Takes a few passes over the index. Where
 * not all that is found need fit it stays where it is. */
MX_MUST_CHECK mx_err queue_cores_go_to(struct queue_cores *queue, struct queue_question *question,
                                       uint64_t *place);
/* The buffers are the caller's then, see queue_detail_free. */
MX_MUST_CHECK mx_err queue_cores_read(struct queue_cores *queue, uint64_t id,
                                      struct queue_detail *detail);
void queue_detail_free(struct queue_detail *detail);
/* The message as it would be sent (malloc'd). MX_ERR_LIMIT: it has more than QUEUE_CONTENT_MAX. */
MX_MUST_CHECK mx_err queue_cores_content(struct queue_cores *queue, uint64_t id, uint8_t **out_text,
                                         size_t *out_len);
/* Rows of all cores together, most recipients first, valid until the next question; behind the
 * last, if there was no room for some: one without a name, others set. */
struct queue_shape_rows {
    const struct queue_shape_row *rows;
    size_t count;
    struct queue_shape_row others;
};
MX_MUST_CHECK mx_err queue_cores_shape(struct queue_cores *queue, struct queue_shape_rows *out);

/* What the cores' traces tell, oldest first; valid until the next question. */
struct queue_trace_row {
    unsigned core;
    const struct trace_record *record;
};
struct queue_trace_rows {
    const struct queue_trace_row *rows;
    size_t count;
    bool more;         /* there is more, older */
    int64_t oldest_ms; /* traces of messages reach back to here on all cores; 0: there are none */
};
MX_MUST_CHECK mx_err queue_cores_trace(struct queue_cores *queue, const struct trace_query *query,
                                       struct queue_trace_rows *out);

/* Changes are collected, then made together: the cores are asked for all of them before the first
 * is waited for, so many messages are changed with few syncs of the disk.
 *
 * Returns its number, from 0 for the first after a settle. to: the address of the recipient that is
 * meant, for the log; empty: all are. MX_ERR_LIMIT: QUEUE_CHANGES_MAX are collected. */
MX_MUST_CHECK mx_err queue_cores_change(struct queue_cores *queue, size_t *out_number, uint64_t id,
                                        const struct deliver_change *change, struct slice to);
/* Makes what was collected, durable when it returns, and tells of each by its number. by: for the
 * log. MX_ERR_NOTFOUND: no such message. MX_ERR_UNSUPPORTED: as deliver_change. MX_ERR_TIMEOUT: it
 * is being delivered all the time, or the disk does not take the change. */
typedef void (*queue_settled_fn)(void *arg, size_t number, mx_err err);
void queue_cores_settle(struct queue_cores *queue, const char *by, queue_settled_fn settled,
                        void *arg);
/* Forgets what was collected. */
void queue_cores_forget(struct queue_cores *queue);
/* On all cores. pause is valid during the call. MX_ERR_UNSUPPORTED: there are none. */
MX_MUST_CHECK mx_err queue_cores_pause(struct queue_cores *queue, const struct deliver_pause *pause,
                                       const char *by);
/* QUEUE_FORGET_NAMES or QUEUE_FORGET_ABSENT, done on all cores when it returns. Errors as above. */
MX_MUST_CHECK mx_err queue_cores_tell(struct queue_cores *queue, enum queue_op op, const char *by);
