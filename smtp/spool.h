/* The queue of one core: messages in the journal, their state in memory.
 *
 * A message exists from the moment its MESSAGE record is durable until all its recipients have a
 * final outcome and the OUTCOME records (or the DSN that carries them) are durable. In memory it is
 * a small struct message; envelope and content are read back when it is due (smtp/deliver).
 *
 * The spool never loses a state change: an OUTCOME that cannot be written (group full, disk
 * failing, no memory) is kept and written later; until then the message is not forgotten. */
#pragma once

#include "core/handles.h"
#include "core/list.h"
#include "core/pool.h"
#include "core/wheel.h"
#include "io/journal.h"
#include "io/shard.h"
#include "smtp/queue_filter.h"
#include "smtp/quota.h"
#include "smtp/record.h"
#include "smtp/texts.h"
#include "smtp/txn.h"

struct spool;
struct spool_part; /* what recovery found for one core: smtp/spool_recover.h */
struct message;
struct active;
struct deliver;
struct history;
struct hop;

enum {
    SPOOL_MESSAGES_MAX = 4 * 1024 * 1024, /* per core */
    SPOOL_EXTENTS_MAX = 256 * 1024,
    SPOOL_WRITES_MAX = 256 * 1024, /* OUTCOME records that wait or are in flight */
    SPOOL_WRITES_HIGH = 16 * 1024, /* over it no delivery is begun: the disk is behind */
    SPOOL_RETRY_MS = 1000,         /* until a failed OUTCOME write is tried again */
    /* Extents of one message that are being written: a client that streams as fast as it can makes
     * the commits, which it shares with everybody, no longer than these take. One is written while
     * the next fills; two where a flush takes some milliseconds. */
    INCOMING_EXTENTS_MAX = 2,
};

enum resident_kind { RESIDENT_MESSAGE, RESIDENT_EXTENT, RESIDENT_HISTORY };

/* What lives in a segment: a message, an extent or a history. */
struct spool_resident {
    struct journal_resident resident;
    uint8_t kind; /* enum resident_kind */
    bool moving;  /* a copy is being written */
    bool stuck;   /* cannot be read, or is too large with its states: never moved */
};

struct extent {
    struct spool_resident res;
    struct journal_append append;
    struct extent *next;
    struct message *message;   /* once queued */
    struct incoming *incoming; /* while being received */
    uint32_t number;
    uint32_t len;
    uint64_t checksum;
};

struct message {
    struct spool_resident res;
    struct qid id;
    struct list_node all_node;
    struct list_node wait_node; /* in the ready list or parked at a hop */
    struct timer due;           /* for smtp/deliver */
    struct hop *parked_at;
    struct deliver *deliver;
    struct active *active; /* while loaded */
    int64_t arrived_ms;
    uint64_t body_bytes;
    struct rcpt_state *rcpts;
    struct rcpt_state one; /* rcpts points here for a single recipient */
    uint32_t rcpt_count;
    uint32_t rcpts_left; /* for whom something is still to be done (rcpt_open) */
    uint32_t writes;     /* records about it that are not durable yet */
    uint32_t undecided;  /* of them, those whose marks become true with another message's record: no
                            copy of this one is written meanwhile, as it could know too much */
    uint32_t envelope_bytes;
    uint32_t inline_bytes;
    uint32_t extent_count;
    struct extent *extents;
    struct quota_hold *hold; /* what it counts under; NULL: nothing */
    struct history *history; /* of its attempts (smtp/spool_history), or NULL */
    uint32_t handle;         /* in spool->handles */
    bool recovered;          /* from an earlier process: a delivery may have happened already */
    bool held;               /* incomplete in the journal: kept, never tried */
    bool unmarked; /* its states are newer than what was written; counts as one of writes */
};

struct spool_ops {
    /* A message of an earlier process is in the spool again. */
    void (*recovered)(void *arg, struct message *msg);
    /* All of them are (smtp/spool_adopt); the part is not needed any more. */
    void (*adopted)(void *arg);
    /* A new message is queued. The callee takes txn and what is left of the content (chain). */
    void (*queued)(void *arg, struct message *msg, struct txn *txn, struct chain *content);
    /* The message has ended and is about to be forgotten. */
    void (*ended)(void *arg, struct message *msg);
    /* Something that counted has left the queue, or did not get there. The callee takes the hold.
     */
    void (*released)(void *arg, struct quota_hold *hold);
};

struct spool_block; /* smtp/spool_index.h */
enum { SPOOL_BLOCK = 1024, SPOOL_BLOCKS_MAX = SPOOL_MESSAGES_MAX / SPOOL_BLOCK };

struct spool {
    struct shard *shard;
    struct journal *journal;
    const struct spool_ops *ops;
    void *arg;
    struct pool messages;
    struct handles handles; /* of the messages, whether they are in `all` yet or not */
    struct spool_block *blocks[SPOOL_BLOCKS_MAX]; /* of their handles; those there have been */
    struct pool extents;
    struct pool histories;
    struct pool writes;
    struct pool txns;
    struct pool incomings;
    struct texts texts;         /* of the recipients' states */
    struct list all;            /* messages */
    struct list blocked_writes; /* OUTCOME records waiting for room */
    struct journal_waiter writes_waiter;
    struct timer writes_retry;
    uint64_t count;
    uint64_t bytes;                /* of the content of these messages */
    uint64_t accepted, finished;   /* totals since start */
    uint64_t unmarked;             /* messages whose outcomes found no memory to be written */
    unsigned moves, moves_reading; /* records on their way forward; of these not read yet */
    struct spool_part *part;       /* being taken over (smtp/spool_adopt), or NULL */
    struct timer adopt_retry;
    bool adopt_waited;
    struct shard_hook hook;
};

/* Opens the journal; messages can be received. Runs in the core's thread. What an earlier process
 * left comes later, with spool_adopt. */
MX_MUST_CHECK mx_err spool_open(struct spool *spool, struct shard *shard,
                                struct journal_store *store, const struct spool_ops *ops,
                                void *arg);
/* True when nothing waits to be written. */
bool spool_quiet(const struct spool *spool);
/* Requires spool_quiet. Messages stay in the journal. */
void spool_close(struct spool *spool);

/* Recipient outcomes of one message, to be made durable: copies the states and texts. The states
 * must be in msg->rcpts already. */
void spool_mark(struct spool *spool, struct message *msg, const struct record_outcome *outcomes,
                uint32_t count);

/* The same for recipients that stay pending because an attempt failed. On a full disk these hold in
 * memory alone, and a start tries them sooner: deferred again and again they would use up what is
 * kept back for outcomes, without which no message ends and no space is freed. */
void spool_mark_deferred(struct spool *spool, struct message *msg,
                         const struct record_outcome *outcomes, uint32_t count);

/* Drops a message whose every recipient is final once its writes are durable; called by the spool
 * itself, and by smtp/deliver when a message becomes inactive. */
void spool_settle_end(struct spool *spool, struct message *msg);
/* Drops a message from memory; what the journal holds of it is unchanged. */
void spool_forget(struct spool *spool, struct message *msg);

/* --- receiving ---------------------------------------------------------------------------------
 */

/* One message on its way in, from DATA to the durable record; also used for our own DSNs. It
 * outlives the session when the session ends during the commit. */
struct incoming {
    struct spool *spool;
    void *owner; /* NULL: nobody waits any more */
    /* The commit has ended: MX_OK = durable. The incoming is gone afterwards. */
    void (*done)(struct incoming *in, mx_err err);
    /* After MX_ERR_AGAIN from incoming_body: go on. */
    void (*ready)(struct incoming *in);
    /* May be NULL: the last extent that was in flight has been written, or has failed. */
    void (*drained)(struct incoming *in);
    struct qid id;
    struct txn *txn;      /* owned from incoming_commit on */
    struct chain content; /* not yet in an extent */
    uint64_t body_bytes;
    struct extent *extents;
    struct extent *last_extent;
    uint32_t extent_count;
    uint32_t in_flight; /* extents being written */
    mx_err failed;
    bool committing, aborted, blocked;
    bool ahead; /* blocked until an extent of its own has been written */
    struct journal_append append;
    struct journal_waiter waiter;
    struct message *message;
    struct quota_hold *hold; /* NULL: it counts under nothing */
    /* When smtp/quota decides later. */
    void (*admitted)(struct incoming *in, enum quota_verdict verdict, struct slice name);
    uint64_t quota_number;
    uint32_t quota_ask;
    bool asks_quota;
    /* Marks that become durable with this message (a DSN, the mail to a list's members). With
     * extents: not before the last of them is durable, as the marks hold with the record alone. */
    struct message *marks_of;
    const struct record_outcome
        *marks; /* borrowed until the record is written (smtp/bounce keeps them) */
    uint32_t mark_count;
    bool use_reserve; /* frees space: may use what is kept back, but for what outcomes need */
};

/* Begins a message; NULL when memory bounds are reached. */
struct incoming *incoming_begin(struct spool *spool, void *owner);
/* Takes content. MX_ERR_AGAIN: taken, but wait for ready before giving more. Other errors: the
 * message cannot be stored; abort it. MX_ERR_RANGE, also of the commit: it never can. */
MX_MUST_CHECK mx_err incoming_body(struct incoming *in, struct slice bytes);
/* Writes the record; txn is taken in any case. MX_OK: done follows. Else the incoming is gone. */
MX_MUST_CHECK mx_err incoming_commit(struct incoming *in, struct txn *txn);
/* Forgets it. Not after incoming_commit; there, set owner to NULL instead. */
void incoming_abort(struct incoming *in);

/* It is durable, its states are set: it counts from now on. */
void spool_enqueue(struct spool *spool, struct message *msg);
/* For the spool's own files: a zeroed message, or NULL; and one that is not queued (any more). */
struct message *spool_message_new(struct spool *spool);
void spool_message_free(struct spool *spool, struct message *msg);

struct txn *spool_txn_new(struct spool *spool);
void spool_txn_free(struct spool *spool, struct txn *txn);
