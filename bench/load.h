/* An SMTP load on one core. Closed loop: N sessions send messages as fast as they are answered, or
 * pause, or begin at most so many in a second. Open loop: messages arrive at their own times
 * (bench/arrivals), whether or not the server keeps up, and wait for a free session; their latency
 * counts from when they arrived. Beside it idle connections and hostile clients. Every message
 * carries a mark (bench/mark); what became of it goes into a ledger.
 *
 * Sessions are driven by bench/load_session; this is the loop that tells them when. */
#pragma once

#include "bench/arrivals.h"
#include "bench/content.h"
#include "bench/dial.h"
#include "bench/distribution.h"
#include "bench/folder.h"
#include "bench/hostile.h"
#include "bench/ledger.h"
#include "bench/load_stats.h"
#include "bench/recipients.h"
#include "bench/wake_heap.h"
#include "io/shard.h"

enum {
    LOAD_SESSIONS_MAX = 16384,
    LOAD_IDLE_MAX = 200000,
    LOAD_ID_PREFIX_MAX = 48,
    LOAD_RATE_MAX = ARRIVALS_RATE_MAX,
};

enum load_tls { LOAD_TLS_OFF, LOAD_TLS_START, LOAD_TLS_IMPLICIT };

/* Rates of an open loop, one after the other, each for conf->time_ns, growing by equal factors. */
struct load_sweep {
    uint64_t from, to;
    uint32_t steps; /* 0 = no sweep */
};

struct load_conf {
    struct dial dial;
    struct slice from, ids;
    struct recipients rcpts;
    struct distribution rcpts_per_message;
    bool all_rcpts;           /* of each message */
    struct distribution size; /* of the body in bytes, without a folder */
    struct folder folder;
    struct distribution per_connection; /* messages */
    struct distribution think_ms;       /* after each message; closed loop */
    unsigned sessions, idle;
    unsigned bdat_percent; /* of the connections use BDAT when it is offered, the others DATA */
    uint64_t chunk_bytes;
    enum load_pipelining pipelining;
    enum load_tls tls;
    struct tls_client_conf tls_conf;
    bool retry;        /* a server that cannot be reached is asked again */
    uint64_t messages; /* to send in all; 0 = until the time is over or load_run is stopped */
    uint64_t rate;     /* closed loop: messages begun in a second at most; 0 = no limit */
    enum arrivals_kind arrivals;
    uint64_t arrivals_rate;
    struct load_sweep sweep;
    uint64_t warmup_ns, time_ns; /* time 0 = without end */
    uint64_t interval_ns;        /* of the series */
    uint64_t timeout_ns;         /* for a message, and for a connection to become usable */
    uint64_t seed;
    struct hostile_conf hostile;
};

struct load_session;

struct load {
    struct load_conf conf;
    struct load_stats stats;
    struct hostile hostile;
    struct ledger ledger;
    struct shard shard; /* open */
    struct shard_hook hook;
    struct dice dice;
    struct content_text text;
    struct content_head head;
    struct tls_ctx *tls_ctx;
    struct load_engine_conf engine_confs[2]; /* DATA, BDAT */
    struct load_session *sessions;           /* conf.sessions, then conf.idle */
    struct transfer *transfers;
    struct load_rcpt *rcpts;
    uint16_t *codes;
    struct wake_heap heap;
    struct list free; /* open loop: sessions that wait for an arrival */
    struct arrivals arrivals;
    /* After each interval; may be NULL. */
    void (*on_point)(struct load *load, const struct load_point *point);
    uint64_t began_ns, measure_ns, end_ns; /* times of the run; end 0 = none */
    uint64_t last_done_ns;                 /* when the last message ended */
    uint64_t next_ns;                      /* no message begins before it (rate) */
    uint64_t point_ns, step_ns, step_rate; /* when they end; the rate of the step */
    uint64_t overdue;                      /* arrivals that were due and never begun */
    uint64_t idle_up, idle_connecting, idle_lost;
    unsigned open; /* sessions that have not ended */
    uint32_t in_flight;
    bool stopping;  /* asked to */
    bool finishing; /* nothing more begins; who waits was told */
    bool knee;      /* the sweep has found it */
};

/* Prepares: conf, ledger and shard are set, the rest is zero. */
MX_MUST_CHECK mx_err load_init(struct load *load);
/* Runs until all is sent; or *stop is set and what was under way has ended, which is waited for
 * some seconds, and not at all once *stop is 2. */
void load_run(struct load *load, const volatile int *stop);
void load_fini(struct load *load);
/* Seconds from the end of the warm-up to the end of the last message, and messages completed in
 * them. */
double load_seconds(const struct load *load);
uint64_t load_measured(const struct load *load);
double load_message_rate(const struct load *load);
