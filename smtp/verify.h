/* Asking a next hop whether it has a recipient, before the recipient is accepted (call-ahead): MAIL
 * FROM:<>, RCPT TO, RSET on connections of their own that are kept. For domains that say so
 * (Domain.verifyRecipients), and only for recipients that are not here and take a relay route.
 *
 *   verify_ask -> answer kept? -> the same question under way? -> queue of the hop -> connection
 *   (smtp/verify_conn): up to VERIFY_BATCH_MAX recipients in one transaction, pipelined
 *
 * A connection is made by the strategies that hold for its recipients (smtp/strategy.h), as mail to
 * them would be; where an expression chooses, each asks only about those who have the same.
 *
 * Only what the next hop says of the recipient counts (a 2xx to RCPT, or a 5xx that is about the
 * address); everything else (4xx, policy, no connection, no answer in time) is VERIFY_UNKNOWN, and
 * the domain says what then. One question is one recipient; sessions that ask the same wait for the
 * same question.
 *
 * Bounds: Performance.verificationQuestions under way, verificationConnections per next hop,
 * verificationCache answers, all per core; over the first the answer is VERIFY_UNKNOWN. */
#pragma once

#include "core/hdr.h"
#include "core/list.h"
#include "core/pool.h"
#include "core/wheel.h"
#include "smtp/cli_engine.h"
#include "smtp/verify_cache.h"

struct deliver;
struct dns_answers;
struct hop;
struct routing_host;
struct strategy_kept;
struct strategy_pick;

enum {
    VERIFY_QUESTIONS_MAX = 65536, /* per core, whatever is configured */
    VERIFY_CONNECTIONS_MAX = 256, /* the same */
    VERIFY_BATCH_MAX = 10,        /* recipients of one transaction */
    /* Refusals on one connection: servers slow those down, or cut them off, who name many unknown
     * recipients. */
    VERIFY_REFUSALS_MAX = 10,
    VERIFY_PAUSE_MS = 5000, /* no further connection after one that could not be used */
    VERIFY_LOOK_MAX = 32,   /* questions that a connection looks at for those it may ask */
    VERIFY_RESTS_MAX = 4,   /* strategies of one hop that pause at a time */
};

/* Why a question had no answer. The order is that of verify_result_name. */
enum verify_result {
    VERIFY_RESULT_ACCEPTED,
    VERIFY_RESULT_REFUSED,
    VERIFY_RESULT_UNDECIDED,   /* a 4xx, or a refusal that is not about the recipient */
    VERIFY_RESULT_UNREACHABLE, /* no connection, or it was lost */
    VERIFY_RESULT_LATE,        /* no answer within the time */
    VERIFY_RESULT_FULL,        /* too many questions at a time */
    VERIFY_RESULTS
};

struct verify_stats {
    uint64_t results[VERIFY_RESULTS]; /* of questions */
    uint64_t kept;                    /* answered by what was kept */
    uint64_t shared;                  /* waited for a question of another session */
    struct hdr ns;                    /* from a question to its answer */
};

struct verify {
    struct deliver *deliver;
    struct verify_cache cache;
    struct pool questions, conns;
    struct list asked;    /* struct verify_question by all_node */
    struct list answered; /* struct verify_waiter: told in this turn */
    struct verify_stats stats;
};

/* Part of struct hop: what is asked there. */
struct verify_hop {
    struct list waiting; /* struct verify_question by node */
    unsigned waiting_count;
    struct list asking;      /* the same: their strategies wait for the DNS */
    struct list conns, idle; /* struct verify_conn */
    unsigned connections, connecting;
    unsigned yielding;       /* ending to make room for one of another strategy */
    uint64_t pause_until_ns; /* no new connections before */
    /* The same for those of one strategy, where an expression chooses. */
    struct verify_rest {
        uint64_t tls_effect, connection_effect, until_ns;
    } rests[VERIFY_RESTS_MAX];
};

/* Somebody who waits for an answer; his. */
struct verify_waiter {
    struct list_node node;
    enum verify_answer answer;
    /* Once per waiter, never from within verify_ask. VERIFY_LATER: the way to the recipient has
     * changed, ask anew. */
    void (*done)(struct verify_waiter *waiter);
};

/* One recipient. */
struct verify_question {
    struct list_node all_node;
    struct list_node node; /* in hop->verify.waiting or .asking */
    struct verify *verify;
    struct hop *hop;
    struct list waiters;
    struct dns_answers *answers; /* what its strategies asked; NULL: nothing */
    struct timer timer;          /* the waiters' deadline */
    uint64_t began_ns;
    uint64_t domain_id;
    uint32_t route;
    uint32_t epoch;  /* of the cache: answers of an earlier one are not kept */
    bool stale;      /* the address has changed here meanwhile: the answer is not kept */
    bool on_its_way; /* a connection has it */
    bool asking;     /* in hop->verify.asking */
    bool late;       /* nobody waits any longer */
    bool retried;    /* the connection that had it was lost */
    uint16_t len;
    uint8_t address[ADDRESS_MAX];
};

MX_MUST_CHECK mx_err verify_open(struct verify *v, struct deliver *d);
void verify_close(struct verify *v);
/* The settings of the image have changed. */
void verify_tune(struct verify *v);
/* True when no connection is open. */
bool verify_quiet(const struct verify *v);
/* Tells those whose answer is there; once a turn. */
void verify_turn(struct verify *v);

/* VERIFY_LATER: waiter->done follows, unless verify_cancel. waiter NULL: nobody waits, the answer
 * is for later (the question may be dropped). key: of the image in force; its route is a relay. */
enum verify_answer verify_ask(struct verify *v, const struct verify_key *key,
                              struct verify_waiter *waiter);
/* done will not be called. Harmless when it was. */
void verify_cancel(struct verify_waiter *waiter);
/* What is known, without asking. */
enum verify_answer verify_known(const struct verify *v, const struct verify_key *key,
                                uint64_t *out_until_ns);
/* The configuration has changed: of one address (lower case; also when it was taken away), or of
 * domains or routes. */
void verify_forget_address(struct verify *v, uint64_t domain_id, struct slice local);
void verify_forget_all(struct verify *v);

/* --- for the hop and its connections -----------------------------------------------------------
 */

void verify_hop_init(struct verify_hop *vh);
/* Goes on with what waits: gives it to connections or opens them. */
void verify_hop_run(struct hop *hop);
/* A connection could not be used: no further one like it for a while. Unless others work, what it
 * was for has no answer. */
void verify_pause(struct hop *hop, const struct strategy_kept *kept, struct slice reason);
/* Mail found that the host cannot be used, or its name not be found. */
void verify_hop_failed(struct hop *hop, struct slice reason);
/* The route is gone, or the end has come: nothing waits here any more; connections end. */
void verify_hop_stop(struct hop *hop);
/* The first question that may be asked over a connection with these strategies to this host, or
 * NULL; looks at VERIFY_LOOK_MAX. */
struct verify_question *verify_take(struct hop *hop, const struct strategy_kept *kept,
                                    const struct routing_host *host);
/* The same, which goes on waiting. */
struct verify_question *verify_find(struct hop *hop, const struct strategy_kept *kept,
                                    const struct routing_host *host);
/* The strategies that it wants at this host. False: it does not wait any more; it is finished, or
 * it asks the DNS. */
bool verify_pick(struct verify_question *q, struct strategy_pick *out,
                 const struct routing_host *host);
/* What waits fits no connection that there is, and there may be no more. */
bool verify_wants_room(const struct hop *hop);
/* Its connection was lost: asked once more on another one. */
void verify_give_back(struct verify_question *q);
/* What became of a question; it is gone. o NULL: nothing was said. */
void verify_finish(struct verify_question *q, enum verify_result result, const struct outcome *o);
size_t verify_conn_bytes(void);
/* For this question, which goes on waiting, or not (verify_pick). False: no memory. */
bool verify_conn_open(struct hop *hop, unsigned address, struct verify_question *q);
/* How many connections like this are not ready yet. */
unsigned verify_conns_coming(const struct hop *hop, const struct strategy_pick *pick);
/* Idle connections take what waits and fits. */
void verify_conns_use_idle(struct hop *hop);
/* The connection that has been idle for longest ends; the place is free later. */
void verify_conns_make_room(struct hop *hop);
void verify_conns_stop(struct hop *hop);

/* Label values, lower case, static. */
const char *verify_result_name(unsigned result);
