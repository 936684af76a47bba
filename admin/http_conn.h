/* The pump of one HTTP connection: owns the socket, drives admin/http_engine, sends answers in
 * pieces as the client takes them. */
#pragma once

#include "admin/http_engine.h"
#include "admin/http_server.h"
#include "io/stream.h"

enum {
    HTTP_OUT_PIECE = 16 * 1024,
    HTTP_REQUESTS_PER_TURN = 16, /* pipelined ones, then the others have their turn */
};

struct http_conn {
    struct stream stream;
    struct http_server *server;
    struct list_node node;
    struct timer timer;
    uint16_t slot;   /* of the listener */
    uint8_t phase;   /* private to http_conn.c */
    bool used;       /* a request was answered on it */
    bool running;    /* the loop is on the stack */
    bool keep_alive; /* after the answer that is being sent */
    uint64_t phase_ns;
    uint64_t sent_before; /* bytes_out when the answer began */
    struct netaddr peer;
    struct http_engine engine;
    uint64_t body_max;
    struct http_exchange *exchange;
    uint8_t *answer; /* the body being sent, if it is to be freed */
    size_t answer_len;
    struct slice left; /* what of it is not yet with the stream */
};

/* Takes an accepted descriptor. Over the limit: 503. */
void http_conn_accept(const struct http_listener *listener, int fd);
void http_conn_answer(struct http_conn *conn, const struct http_answer *answer);
void http_conn_stop(struct http_conn *conn, bool force);
