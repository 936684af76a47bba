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

uint32_t queue_id_check(struct qid id);
uint64_t queue_id(uint32_t core, uint32_t handle, uint32_t check);
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
static inline int queue_key_order(const struct queue_key *a, const struct queue_key *b,
                                  bool ascending)
{
    int way = ascending ? 1 : -1;
    if (a->at_ms != b->at_ms) {
        return a->at_ms < b->at_ms ? -way : way;
    }
    return a->id == b->id ? 0 : a->id < b->id ? -way : way;
}

/* The key right behind one. */
struct queue_key queue_key_next(const struct queue_key *key, bool ascending);

/* The first keys of an order among all that are added, at most max of them. */
struct queue_top {
    struct queue_key *keys; /* the caller's array; a heap with the last one at its root */
    size_t count, max;
    bool ascending;
};
void queue_top_add(struct queue_top *top, struct queue_key key);
/* There is no room for more, and this one would not take the place of another. */
static inline bool queue_top_is_behind(const struct queue_top *top, const struct queue_key *key)
{
    return top->count == top->max && top->max > 0 &&
           queue_key_order(key, &top->keys[0], top->ascending) >= 0;
}

/* A stretch of an order, both ends included, in QUEUE_BINS parts of one width, of which the keys
 * are counted: which part has the key at a place, so the place is found in a few rounds, without
 * the keys. By the time, or, when that is the same everywhere, by the number. */
enum { QUEUE_BINS = 4096 };
struct queue_stretch {
    struct queue_key low, high; /* low is before high, whichever way the order goes */
    bool ascending;
};
struct queue_bins {
    struct queue_stretch stretch;
    unsigned shift;              /* log2 of the width of a part */
    uint64_t counts[QUEUE_BINS]; /* in the order's direction */
};
void queue_bins_init(struct queue_bins *bins, const struct queue_stretch *stretch);
static inline bool queue_stretch_by_number(const struct queue_stretch *stretch)
{
    return stretch->low.at_ms == stretch->high.at_ms;
}
/* From one key of it to another that is not before. */
static inline uint64_t queue_stretch_distance(const struct queue_stretch *stretch,
                                              const struct queue_key *low,
                                              const struct queue_key *high)
{
    return queue_stretch_by_number(stretch) ? high->id - low->id
                                            : (uint64_t)high->at_ms - (uint64_t)low->at_ms;
}
static inline void queue_bins_add(struct queue_bins *bins, const struct queue_key *key)
{
    const struct queue_stretch *s = &bins->stretch;
    if (queue_key_order(key, &s->low, true) >= 0 && queue_key_order(key, &s->high, true) <= 0) {
        uint64_t far = s->ascending ? queue_stretch_distance(s, &s->low, key)
                                    : queue_stretch_distance(s, key, &s->high);
        bins->counts[far >> bins->shift]++;
    }
}
/* The part with the key that has *place others of the stretch before it; *place is then counted
 * from that part's begin. False: there are not so many; *place is less by all of them. */
bool queue_bins_find(const struct queue_bins *bins, struct queue_stretch *out_part,
                     uint64_t *out_count, uint64_t *place);
/* Its first key. */
struct queue_key queue_stretch_first(const struct queue_stretch *stretch);

/* --- digests ------------------------------------------------------------------------------------
 *
 * Which parts of three characters the addresses of a message have, in few bits: a text that one of
 * them contains is found, and most that none contains are not, without the addresses. */

struct queue_digest {
    uint64_t bits[2];
};

/* Of addresses that nobody has looked at: may have everything. */
extern const struct queue_digest queue_digest_any;

/* Adds the parts of a text, without regard to ASCII case; nothing for less than three bytes. */
void queue_digest_add(struct queue_digest *digest, struct slice text);
/* Of sender and recipients; of many recipients: one that may have everything. */
enum { QUEUE_DIGEST_RCPTS_MAX = 16 };
void queue_digest_of(struct queue_digest *out_digest, const struct envelope *env);
/* False: not all of the parts are there. */
static inline bool queue_digest_may_have(const struct queue_digest *digest,
                                         const struct queue_digest *parts)
{
    return (parts->bits[0] & ~digest->bits[0]) == 0 && (parts->bits[1] & ~digest->bits[1]) == 0;
}

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
    struct slice queue; /* the virtual queue that it had then, or has before the first */
    struct slice error; /* in the last reply */
    unsigned status;    /* enum queue_status: one of them; 0 as QUEUE_ANY_STATUS */
};

void queue_filter_init(struct queue_filter *filter);
/* True when the envelope is needed to decide. */
bool queue_filter_reads(const struct queue_filter *filter);
/* The parts that the digest of a message must have. */
void queue_filter_parts(const struct queue_filter *filter, struct queue_digest *out_parts);
static inline bool queue_filter_times(const struct queue_filter *filter, int64_t due_ms,
                                      int64_t arrived_ms)
{
    return due_ms >= filter->due_min_ms && due_ms <= filter->due_max_ms &&
           arrived_ms >= filter->arrived_min_ms && arrived_ms <= filter->arrived_max_ms;
}
bool queue_filter_hop(const struct queue_filter *filter, struct slice hop);
bool queue_filter_queue(const struct queue_filter *filter, struct slice queue);
bool queue_filter_error(const struct queue_filter *filter, struct slice reply);
bool queue_filter_address(const struct queue_filter *filter, struct slice recipient);
bool queue_filter_envelope(const struct queue_filter *filter, const struct envelope *env);
/* True when it says something of single recipients: not every one of a message is meant. */
bool queue_filter_is_of_rcpts(const struct queue_filter *filter);
