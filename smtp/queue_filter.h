/* What is asked about a queue: which messages, in which order, and the numbers by which they are
 * called from outside. Pure; smtp/queue_view applies it on a core. */
#pragma once

#include "core/err.h"
#include "smtp/envelope.h"

/* --- numbers ------------------------------------------------------------------------------------
 */

/* 63 bits: where the message is (core, handle), and enough of its queue id to know when another
 * one has its place by now. Holds until the next start. */
enum { QUEUE_ID_HANDLE_BITS = 22, QUEUE_ID_CORE_BITS = 10, QUEUE_ID_CHECK_BITS = 31 };

struct queue_place {
    uint32_t core, handle, check;
};

uint64_t queue_id(uint32_t core, uint32_t handle, struct qid id);
/* Any number has a place; whether a message is there is for the core to say. */
struct queue_place queue_id_place(uint64_t id);
/* True when the message with that queue id is the one that was meant. */
bool queue_id_is(uint64_t number, struct qid id);

/* --- order --------------------------------------------------------------------------------------
 */

struct queue_key {
    int64_t at_ms; /* of arrival, or of the next attempt; INT64_MAX = none */
    uint64_t id;
};

/* -1, 0, 1: a before, same as, behind b. */
int queue_key_order(const struct queue_key *a, const struct queue_key *b, bool ascending);

/* The key right behind one. */
struct queue_key queue_key_next(const struct queue_key *key, bool ascending);

/* The first keys of an order among all that are added, at most max of them. */
struct queue_top {
    struct queue_key *keys; /* the caller's array; a heap with the last one at its root */
    size_t count, max;
    bool ascending;
};
void queue_top_add(struct queue_top *top, struct queue_key key);

/* --- digests ------------------------------------------------------------------------------------
 *
 * Which parts of three characters the addresses of a message have, in few bits: a text that one of
 * them contains is found, and most that none contains are not, without the addresses. */

struct queue_digest {
    uint64_t bits[2];
};

/* Adds the parts of a text, without regard to ASCII case; nothing for less than three bytes. */
void queue_digest_add(struct queue_digest *digest, struct slice text);
/* Of sender and recipients; of many recipients: one that may have everything. */
enum { QUEUE_DIGEST_RCPTS_MAX = 16 };
void queue_digest_of(struct queue_digest *out_digest, const struct envelope *env);
/* False: not all of the parts are there. */
bool queue_digest_may_have(const struct queue_digest *digest, const struct queue_digest *parts);

/* --- filter -------------------------------------------------------------------------------------
 */

enum queue_status {
    QUEUE_FRESH = 1,    /* a recipient has not been tried yet */
    QUEUE_DEFERRED = 2, /* a recipient was tried and waits */
    QUEUE_HELD = 4,     /* a recipient is held by an administrator */
    QUEUE_DAMAGED = 8,  /* the message is incomplete or unreadable */
    QUEUE_ANY_STATUS = 15,
};

/* All must hold; those of one recipient for the same one, who is not decided. Empty texts hold
 * always; texts are looked for without regard to ASCII case. */
struct queue_filter {
    struct slice text;              /* in the sender or a recipient */
    struct slice sender;            /* in the sender; "<>": the null sender */
    struct slice recipient;         /* in a recipient */
    int64_t due_min_ms, due_max_ms; /* of the next attempt, both inclusive */
    int64_t arrived_min_ms, arrived_max_ms;
    struct qid id; /* the message with this queue id, unless it is none */
    /* of a recipient */
    struct slice hop;   /* ROUTE or ROUTE:DOMAIN, where the last attempt went */
    struct slice error; /* in the last reply */
    unsigned status;    /* enum queue_status: one of them; 0 as QUEUE_ANY_STATUS */
};

void queue_filter_init(struct queue_filter *filter);
/* True when the envelope is needed to decide. */
bool queue_filter_reads(const struct queue_filter *filter);
/* The parts that the digest of a message must have. */
void queue_filter_parts(const struct queue_filter *filter, struct queue_digest *out_parts);
bool queue_filter_times(const struct queue_filter *filter, int64_t due_ms, int64_t arrived_ms);
bool queue_filter_hop(const struct queue_filter *filter, struct slice hop);
bool queue_filter_error(const struct queue_filter *filter, struct slice reply);
bool queue_filter_address(const struct queue_filter *filter, struct slice recipient);
bool queue_filter_envelope(const struct queue_filter *filter, const struct envelope *env);
/* True when it says something of single recipients: not every one of a message is meant. */
bool queue_filter_is_of_rcpts(const struct queue_filter *filter);
