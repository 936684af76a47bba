/* One core: its thread, ring, timers, pools, log, mailboxes, and the loop that joins them. Nothing
 * in here is shared with another core except through io/mbox.
 *
 * A turn of the loop: submit and wait; sample the clocks; everything that happened: completions
 * (bounded), finished worker jobs, timers (bounded), mailbox (bounded); run streams that can go on;
 * call the turn hooks (journal commit, schedulers), so that they see all of it; flush one send per
 * dirty stream; serve receives that found no buffer. Nothing blocks. */
#pragma once

#include "core/block.h"
#include "core/list.h"
#include "core/log.h"
#include "core/wheel.h"
#include "io/ring.h"

struct mbox_hub;
struct work_pool;

/* Called once per turn after everything that happened in it; registered at start, in order of
 * registration. */
struct shard_hook {
    void (*turn)(struct shard_hook *hook);
    struct shard_hook *next;
};

struct shard_conf {
    unsigned id;       /* 0..count-1 */
    unsigned count;    /* number of cores */
    int cpu;           /* to pin to, -1 = do not pin */
    size_t blocks_max; /* memory budget in blocks of BLOCK_BYTES */
    unsigned workers;  /* blocking worker threads */
    enum log_level log_level;
    struct ring_conf ring;
    struct mbox_hub *hub; /* may be NULL with one core */
    bool wipe; /* what was received or sent is zeroed when it is done with: secrets pass here */
};

enum {
    SHARD_REAP_MAX = 1024,   /* completions per turn */
    SHARD_TIMERS_MAX = 1024, /* timers fired per turn */
    SHARD_WAIT_MAX_MS = 1000,
};

struct shard {
    struct shard_conf conf;
    struct ring *ring;
    uint64_t now_ns; /* monotonic, of this turn */
    int64_t wall_ms; /* of this turn */
    struct wheel wheel;
    struct pool blocks;      /* struct block */
    struct pool park_blocks; /* STREAM_PARK_BYTES each: input that waits for its turn */
    struct pool park_small;  /* STREAM_PARK_SMALL_BYTES each */
    struct log log;
    struct work_pool *work;
    struct mbox_hub *hub;
    struct shard_hook *hooks;
    struct list streams_dirty;   /* output to flush this turn */
    struct list streams_ready;   /* parked input to offer again this turn */
    struct list streams_starved; /* receive found no buffer */
    bool stop;                   /* set by shard_stop: the loop returns */
    bool again;                  /* set by shard_again: the next turn does not wait */
    uint64_t turns;
    uint64_t longest_turn_ns;
    void *service; /* the owner's state (smtp/service) */
};

/* Prepares everything but the ring; may run in another thread than the loop. */
MX_MUST_CHECK mx_err shard_init(struct shard *shard, const struct shard_conf *conf);
/* In the core's own thread: pins it, opens the ring and the workers. */
MX_MUST_CHECK mx_err shard_open(struct shard *shard);
/* Runs until shard_stop. */
void shard_run(struct shard *shard);
/* One turn; wait_max_ns bounds the wait. For tests and the simulator. */
void shard_turn(struct shard *shard, uint64_t wait_max_ns);
/* From within the core's thread. */
void shard_stop(struct shard *shard);
/* Counterpart of shard_open, same thread. Everything that uses the shard has ended before. */
void shard_close(struct shard *shard);
/* Counterpart of shard_init. */
void shard_fini(struct shard *shard);
void shard_add_hook(struct shard *shard, struct shard_hook *hook);
/* For a hook that does bounded work per turn and has more: the next turn does not wait. */
void shard_again(struct shard *shard);
/* Arms a timer relative to this turn. */
void shard_after(struct shard *shard, struct timer *timer, uint64_t delay_ns);
