/* Asks the cores about their queues and lets them change them (smtp/queue_view), and waits for the
 * answers. Runs on the management worker, inside its jobs. */
#pragma once

#include "smtp/queue_view.h"

struct queue_cores;
struct mbox_hub;

enum {
    QUEUE_WAIT_MS = 5000,     /* for all answers to one question */
    QUEUE_POLL_MS = 20,       /* a change is asked for again after this, until it is on the disk */
    QUEUE_WINDOW_MAX = 20000, /* keys per question */
    QUEUE_TEXT_MAX = 255,     /* of a filter's texts */
    QUEUE_CHANGES_MAX = 500,  /* collected at a time */
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
    struct queue_key from;
    size_t window; /* keys wanted, at most QUEUE_WINDOW_MAX */
};

struct queue_found {
    const struct queue_key *keys; /* in order, at most window; valid until the next question */
    size_t count;
    uint64_t total, before; /* messages that match; of them before `from` */
};

MX_MUST_CHECK mx_err queue_cores_new(struct queue_cores **out_queue,
                                     const struct queue_cores_conf *conf);
/* After the cores have ended. NULL is fine. */
void queue_cores_free(struct queue_cores *queue);

/* All: MX_ERR_TIMEOUT: a core did not answer in time, or there are too many messages to be read.
 * MX_ERR_AGAIN: a core is still busy with an earlier question, or does not serve yet.
 * MX_ERR_NOTFOUND: no such message. */
MX_MUST_CHECK mx_err queue_cores_scan(struct queue_cores *queue,
                                      const struct queue_question *question,
                                      struct queue_found *found);
/* The buffers are the caller's then, see queue_detail_free. */
MX_MUST_CHECK mx_err queue_cores_read(struct queue_cores *queue, uint64_t id,
                                      struct queue_detail *detail);
void queue_detail_free(struct queue_detail *detail);
/* Changes are collected, then made together: the cores are asked for all of them before the first
 * is waited for, so many messages are cancelled with few syncs of the disk.
 *
 * What a message is to become: cancelled, or due at another time. Returns its number, from 0 for
 * the first after a settle. MX_ERR_LIMIT: QUEUE_CHANGES_MAX are collected. */
MX_MUST_CHECK mx_err queue_cores_cancel(struct queue_cores *queue, size_t *out_number, uint64_t id);
MX_MUST_CHECK mx_err queue_cores_retry(struct queue_cores *queue, size_t *out_number, uint64_t id,
                                       int64_t due_ms);
/* Nothing: it only has to be there. */
MX_MUST_CHECK mx_err queue_cores_look(struct queue_cores *queue, size_t *out_number, uint64_t id);
/* Makes what was collected, durable when it returns, and tells of each by its number. by: for the
 * log. MX_ERR_NOTFOUND: no such message. MX_ERR_UNSUPPORTED: it is incomplete and never tried.
 * MX_ERR_TIMEOUT: it is being delivered all the time, or the disk does not take the change. */
typedef void (*queue_settled_fn)(void *arg, size_t number, mx_err err);
void queue_cores_settle(struct queue_cores *queue, const char *by, queue_settled_fn settled,
                        void *arg);
/* Forgets what was collected. */
void queue_cores_forget(struct queue_cores *queue);
/* QUEUE_PAUSE, QUEUE_RESUME, QUEUE_FORGET_NAMES or QUEUE_FORGET_ABSENT, done on all cores when it
 * returns. MX_ERR_UNSUPPORTED: there are none. */
MX_MUST_CHECK mx_err queue_cores_tell(struct queue_cores *queue, enum queue_op op, const char *by);
