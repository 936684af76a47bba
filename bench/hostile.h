/* Slow and hostile clients beside a load. Each behaves in its way until the server ends the
 * connection or the dialogue is over, and begins anew. What the server said is counted, so that a
 * run shows how it takes them and what they do to the others. */
#pragma once

#include "bench/dial.h"
#include "bench/dice.h"
#include "bench/wake_heap.h"
#include "core/wheel.h"

enum hostile_kind {
#define HOSTILE(name, word, what) HOSTILE_##name,
#include "bench/hostile.def"
#undef HOSTILE
    HOSTILE_KINDS
};

/* Where in a dialogue a client is; HOSTILE_RESET goes through all of them. */
enum hostile_stage {
    STAGE_CONNECT,
    STAGE_BANNER,
    STAGE_EHLO,
    STAGE_MAIL,
    STAGE_RCPT,
    STAGE_DATA,
    STAGE_BODY, /* a part of the content is out */
    STAGE_END,  /* all of it, and no reply yet */
    STAGE_QUIT,
    /* Off that way: only who resets there goes there. */
    STAGE_STARTTLS,  /* the server waits for a handshake */
    STAGE_HANDSHAKE, /* a part of the ClientHello is out */
    STAGE_BDAT,      /* a part of a chunk is out */
    STAGES
};

enum { HOSTILE_CLIENTS_MAX = 65536, HOSTILE_SCRIPT_MAX = 1024, HOSTILE_DRIP_MS = 100 };

struct hostile_conf {
    uint32_t drip_ms; /* 0: HOSTILE_DRIP_MS */
    uint32_t clients[HOSTILE_KINDS];
};

struct hostile_counts {
    uint64_t connections;
    uint64_t failed;      /* of them: never made */
    mx_err first_failure; /* of these */
    uint64_t held;        /* clients that were connected at the end */
    uint64_t replies[6];  /* by first digit; 0: what is no reply */
    uint64_t messages;    /* taken by the server */
    uint64_t smuggled;    /* connections on which a command in the content was answered */
    uint64_t closed;      /* by the server, before the client was through */
    uint64_t reset[STAGES];
    uint64_t not_offered; /* connections that were to be reset at a stage that the server has not */
    uint64_t held_ns_max; /* the longest connection that the server ended */
};

struct hostile_client;

struct hostile {
    struct hostile_conf conf;
    struct dice dice; /* when the next byte leaves */
    struct hostile_counts counts[HOSTILE_KINDS];
    struct hostile_client *list; /* owned */
    uint32_t count;
    struct shard *shard;
    struct dial *dial;
    struct wake_heap drips; /* clients whose next byte is due: finer than timers, so that they do
                               not all come at the same tick */
    uint8_t script[STAGES][HOSTILE_SCRIPT_MAX]; /* what is sent to get to a stage */
    size_t script_len[STAGES];
    bool stopping;
};

const char *hostile_word(enum hostile_kind kind);
const char *hostile_what(enum hostile_kind kind);
const char *hostile_stage_word(enum hostile_stage stage);
/* "KIND" or "KIND:COUNT". False: no such kind, or too many. */
bool hostile_parse(struct hostile_conf *conf, struct slice text);
uint32_t hostile_clients(const struct hostile_conf *conf);
/* Of all kinds. */
uint64_t hostile_smuggled(const struct hostile *hostile);
/* MX_ERR_NOMEM. */
MX_MUST_CHECK mx_err hostile_init(struct hostile *hostile, const struct hostile_conf *conf,
                                  struct slice from, struct slice rcpt);
/* shard and dial are borrowed until hostile_fini. */
void hostile_start(struct hostile *hostile, struct shard *shard, struct dial *dial);
/* Once per turn of the loop: what is due is sent. */
void hostile_turn(struct hostile *hostile);
/* When the next turn is needed; UINT64_MAX: not for this. */
uint64_t hostile_due_ns(const struct hostile *hostile);
/* Ends all connections; the shard must turn until they have ended. */
void hostile_stop(struct hostile *hostile);
void hostile_fini(struct hostile *hostile);
