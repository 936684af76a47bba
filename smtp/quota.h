/* How much is queued under each key of the queue quotas, for the whole process without a lock: a
 * key is counted by the core that it hashes to. What a session wants to queue visits the cores that
 * count its keys (smtp/tour.h) before it is stored; with one that is used up everything is given
 * back. The keys are stored with the message, so they count again after a start, and are given back
 * when the message has left the queue.
 *
 * A quota counts what sessions have brought since it is there; reports and mail to the members of
 * lists are made here, never refused, and not counted. */
#pragma once

#include "core/handles.h"
#include "io/shard.h"
#include "route/limits.h"
#include "smtp/envelope.h"
#include "smtp/tour.h"

struct incoming;
struct routing_context;
struct quota_entry;

enum {
    /* Keys of one message: as many as it can have, so none is refused for them. */
    QUOTA_CHARGES_MAX = ENVELOPE_RCPTS_MAX * LIMITS_QUOTAS_MAX,
    QUOTA_KEYS_MAX = 4 * 1024 * 1024, /* counted by one core */
    QUOTA_BUCKETS = 256 * 1024,       /* power of two; taken with the first key */
    QUOTA_ASKS_MAX = 64 * 1024,       /* sessions that wait for an answer, per core */
    QUOTA_BATCH = 64,                 /* keys of recovered messages that are told at a time */
};

/* What one message is counted under. First the question of its session, then with the message,
 * then on its way to give it back. */
struct quota_hold {
    struct tour tour;
    struct quota_question *question; /* NULL: it was answered */
    uint64_t bytes;
    uint32_t at, count; /* the next key; keys. They are in the order of their owners */
    uint64_t keys[];
};

struct quota_batch;

struct quotas {
    struct shard *shard;
    struct tours tours;
    struct quota_entry **buckets; /* NULL before the first */
    size_t key_count;
    struct handles asks; /* struct incoming */
    uint64_t asked;
    struct quota_batch **batches; /* of recovered messages, by owner */
    struct shard_hook hook;
    bool opened;
};

enum quota_verdict {
    QUOTA_GRANTED,
    QUOTA_USED_UP,
    QUOTA_NO_MEMORY,
    QUOTA_UNDECIDED, /* an expression could not be evaluated */
    QUOTA_LATER,     /* in->admitted is called with one of the others */
};

MX_MUST_CHECK mx_err quotas_open(struct quotas *quotas, struct shard *shard);
void quotas_stop(struct quotas *quotas);
void quotas_close(struct quotas *quotas); /* a zeroed one is fine */
/* May this message be queued? Granted: in->hold has what it is counted under (NULL: nothing). Used
 * up: *out_name is the quota's, of the image. */
enum quota_verdict quotas_ask(struct quotas *quotas, struct incoming *in,
                              const struct routing_context *ctx, const struct envelope *env,
                              struct slice *out_name);
/* The one that asked has gone. */
void quotas_forget(struct quotas *quotas, struct incoming *in);
/* The message is queued no longer, though its end may not be on disk yet: after a crash it counts
 * again. The hold is gone then. */
void quotas_release(struct quotas *quotas, struct quota_hold *hold);
/* As stored with a message of an earlier process; NULL: no memory. */
struct quota_hold *quota_hold_new(const uint64_t *keys, uint32_t count, uint64_t bytes);
/* It counts again. */
void quotas_restore(struct quotas *quotas, struct quota_hold *hold);
