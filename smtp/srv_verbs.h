/* Inside of the server session: its states, its verb table, the four ways in which a verb acts on
 * the session, and what the parts of the engine use of each other. Only srv_engine*.c and
 * srv_verbs.c include this. */
#pragma once

#include "smtp/srv_engine.h"

/* Comments: what has happened. */
enum srv_state {
    SRV_STATE_START,        /* nothing; SRV_ASK_CONNECT comes first */
    SRV_STATE_BANNERED,     /* banner sent, or TLS started; no EHLO or HELO accepted since */
    SRV_STATE_GREETED,      /* EHLO or HELO accepted; no transaction */
    SRV_STATE_MAIL,         /* sender accepted, no recipient yet */
    SRV_STATE_RCPT,         /* at least one recipient accepted */
    SRV_STATE_DATA,         /* 354 sent, reading content up to its dot */
    SRV_STATE_CHUNK,        /* inside a BDAT chunk that is kept */
    SRV_STATE_CHUNKED,      /* between chunks, all of them accepted */
    SRV_STATE_CHUNK_FAILED, /* between chunks, one was refused and the transaction dropped */
    SRV_STATE_SKIP,   /* inside a BDAT chunk that is thrown away; srv->failed comes after it */
    SRV_STATE_TLS,    /* 220 to STARTTLS written, waiting for the handshake */
    SRV_STATE_CLOSED, /* nothing more will be written */
};

enum verb_argument { ARGUMENT_NONE, ARGUMENT_TEXT, ARGUMENT_CHECKED, ARGUMENT_CHUNK };
enum verb_wait { WAIT_ALWAYS, WAIT_OFFER, WAIT_NEVER };

struct verb {
    struct slice text;
    uint32_t states; /* bit per enum srv_state */
    enum verb_argument argument;
    bool drops;
    enum verb_wait waits;
    enum reply (*check)(struct srv *srv, struct slice argument);
    void (*act)(struct srv *srv, struct writer *out);
};

/* Finds the verb of a line (*out_verb = NULL if there is none) and says whether it may act now. For
 * a well-formed BDAT srv->chunk_left and chunk_last are set whatever the answer. */
enum reply srv_verb_check(struct srv *srv, const struct verb **out_verb, struct slice line);

/* For statistics: see smtp/srv_counts.h. */
uint8_t srv_verb_number(const struct verb *verb);
/* The only place that changes the state. */
void srv_enter(struct srv *srv, enum srv_state state);
/* Writes a reply, counts it if it is an error of the client, and closes the session after a 421. */
void srv_say(struct srv *srv, enum reply reply, struct slice arg, struct writer *out);
/* Opens the question whose details are in srv->ask. */
void srv_question(struct srv *srv, enum srv_question kind);
void srv_close(struct srv *srv, enum srv_close_reason reason);
/* Recipients that one message may have. */
uint32_t srv_rcpts_max(const struct srv *srv);

/* --- among the parts of the engine --- */

/* Of a reply that is not written by srv_say. */
static inline void srv_count_reply(const struct srv *srv, enum reply reply)
{
    if (srv->conf->counts != NULL) {
        count_one(&srv->conf->counts->replies[srv->verb][reply]);
    }
}

/* RFC 3030 section 2: the bytes of a refused chunk are read before the reply. */
void srv_skip_chunk(struct srv *srv, enum reply refusal, enum srv_state next_state);

/* Where a refused chunk leads. */
static inline enum srv_state srv_after_failed_chunk(const struct srv *srv)
{
    return srv->chunk_last ? SRV_STATE_GREETED : SRV_STATE_CHUNK_FAILED;
}
