/* A closed-loop SMTP load: N sessions send messages as fast as they are answered, or at most so
 * many in a second. Every message carries a mark (bench/mark); what became of it goes into a
 * ledger. */
#pragma once

#include "bench/content.h"
#include "bench/histogram.h"
#include "bench/ledger.h"
#include "core/netaddr.h"
#include "io/shard.h"
#include "smtp/envelope.h"

enum {
    LOAD_SESSIONS_MAX = 4096,
    LOAD_RCPTS_MAX = 100,
    LOAD_ID_PREFIX_MAX = 48,
};

struct load_range {
    uint64_t min, max;
};

struct load_conf {
    struct netaddr to;
    struct slice from, ids;
    struct envelope_rcpt rcpts[LOAD_RCPTS_MAX];
    uint32_t rcpt_count;
    struct load_range rcpts_per_message; /* 0 = all */
    struct load_range size;              /* of the body in bytes */
    struct load_range per_connection;    /* messages */
    unsigned sessions;
    unsigned bdat_percent; /* of the connections use BDAT when it is offered, the others DATA */
    bool no_pipelining;
    bool retry;          /* a server that cannot be reached is asked again */
    uint64_t messages;   /* to send in all; 0 = until load_stop */
    uint64_t rate;       /* messages begun in a second at most; 0 = no limit */
    uint64_t timeout_ns; /* for a message, and for a connection to become usable */
    uint64_t seed;
};

struct load_result {
    uint64_t begun;
    uint64_t accepted; /* messages, for every recipient */
    uint64_t refused;  /* for some recipient */
    uint64_t unanswered;
    uint64_t connections, failed_connections; /* failed: never ready for a message */
    uint16_t refusal_code;                    /* of the first refusal */
    struct histogram latency_ns;              /* MAIL to the final reply, of accepted messages */
    uint64_t took_ns;
};

struct load_session;

struct load {
    struct load_conf conf;
    struct load_result result;
    struct ledger ledger;
    struct shard shard; /* open */
    struct shard_hook hook;
    struct dice dice;
    struct content_text text;
    struct load_session *sessions;
    struct list waiting; /* sessions that wait for their time */
    uint64_t began_ns;
    uint64_t next_ns; /* no message begins before it (rate) */
    unsigned open;
    bool stopping;
};

/* Prepares: conf, ledger and shard are set, the rest is zero. */
MX_MUST_CHECK mx_err load_init(struct load *load);
/* Runs until all is sent or *stop is set and what was under way has ended. */
void load_run(struct load *load, const volatile int *stop);
void load_fini(struct load *load);
