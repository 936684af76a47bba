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

/* The first keys of an order among all that are added, at most max of them. */
struct queue_top {
    struct queue_key *keys; /* the caller's array; a heap with the last one at its root */
    size_t count, max;
    bool ascending;
};
void queue_top_add(struct queue_top *top, struct queue_key key);

/* --- filter -------------------------------------------------------------------------------------
 */

/* All must hold. Empty texts hold always; texts are looked for without regard to ASCII case. */
struct queue_filter {
    struct slice text;              /* in the sender or a recipient */
    struct slice sender;            /* in the sender; "<>": the null sender */
    struct slice recipient;         /* in a recipient */
    int64_t due_min_ms, due_max_ms; /* of the next attempt, both inclusive */
};

/* True when the envelope is needed to decide. */
bool queue_filter_reads(const struct queue_filter *filter);
bool queue_filter_due(const struct queue_filter *filter, int64_t due_ms);
bool queue_filter_envelope(const struct queue_filter *filter, const struct envelope *env);
