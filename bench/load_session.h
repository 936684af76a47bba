/* One session of a load: the pump between a stream and bench/load_engine, its messages, and the
 * clock of its phases. What it is to do next is asked of the loop (bench/load.c). */
#pragma once

#include "bench/load.h"
#include "bench/mark.h"

/* The message under way. Idle sessions have none. */
struct transfer {
    bool open;
    uint64_t began_ns; /* what its latency counts from */
    struct content content;
    struct load_message msg;
    struct load_rcpt *rcpts;
    uint16_t *codes;
    uint8_t id[MARK_ID_MAX];
    size_t id_len;
};

struct load_session {
    struct stream stream;
    struct load_engine engine;
    struct load *load;
    struct transfer *transfer;
    struct wake wake;
    struct list_node free_node;
    bool connected; /* there is a stream */
    bool up, was_ready;
    bool waiting;         /* the engine is ready, the loop has nothing for it now */
    bool has_arrival;     /* open loop: it connects for a message */
    uint64_t number;      /* of the connection */
    uint64_t sent, quota; /* messages on this connection */
    uint64_t since_us;    /* when the connection began */
    uint64_t began_ns;    /* of the connection, then of the message; for deadlines */
    uint64_t intended_ns; /* of the arrival */
    uint64_t up_ns;
    uint64_t sent_ns[LOAD_VERBS];
};

void session_connect(struct load_session *s);
/* After waiting: goes on. */
void session_wake(struct load_session *s);

/* What the session calls (bench/load.c): */

/* It is ready for a message. True: load_engine_begin or load_engine_quit was called. */
bool load_next(struct load_session *s);
/* The connection has ended. */
void load_closed(struct load_session *s);

/* Starts a message (bench/load_message.c). */
void message_begin(struct load_session *s, uint64_t now_ns);
/* It has ended, also by the loss of the connection. */
void message_end(struct load_session *s, uint64_t now_ns);
