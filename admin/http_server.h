/* The HTTP/1.1 server of the management loop: listeners, connections, requests in progress, and the
 * bounds of all of them. One thread: the one of the shard it is given; nothing in here blocks.
 *
 * A complete request goes to the handler as an exchange, which is answered once, at once or later.
 * The exchange outlives its connection: when the client has gone, the answer is dropped.
 *
 * Memory is at most: (connections_max + HTTP_REFUSING_MAX) x sizeof(struct http_conn), plus
 * connections_max x head_bytes_max, plus bodies_bytes_max, plus answers_bytes_max, plus
 * (STREAM_OUT_LOW + HTTP_OUT_PIECE) of output and one park of the shard per connection. */
#pragma once

#include "admin/http_answer.h"
#include "admin/http_request.h"
#include "core/pool.h"
#include "io/listen.h"
#include "io/shard.h"

struct http_conn;
struct http_server;
struct tls_ctx;

enum {
    HTTP_SLOTS_MAX = 257,
    HTTP_REFUSING_MAX = 16, /* connections over the limit that are told so with 503; others are
                             * just closed */
};

struct http_limits {
    unsigned connections_max;
    size_t head_bytes_max;     /* at most HTTP_HEAD_MAX */
    uint64_t body_bytes_max;   /* of one request */
    uint64_t bodies_bytes_max; /* of all requests together, over it 503 */
    uint64_t answers_bytes_max;
    uint64_t head_ms; /* from the first byte (or accept) to the end of the head; TLS handshake */
    uint64_t idle_ms; /* between requests */
    /* Who lets the server wait for longer (for a request, a body, or to read the answer) gives way
     * when another wants the place and there is none. */
    uint64_t yield_ms;
    uint64_t transfer_ms;  /* for a body or an answer, and */
    uint64_t rate_bytes_s; /* one second more for so many bytes that went */
};

/* 128 connections, 16 KiB, 10 MB, 64 MiB, 64 MiB, 10 s, 60 s, 2 s, 60 s, 16 KiB/s. */
struct http_limits http_limits_default(void);

/* One request in progress. The request is borrowed until http_answer; another thread may read it
 * until then, but nothing else of the exchange. */
struct http_exchange {
    struct http_request request;
    void *context; /* the handler's own */
    /* private */
    struct http_server *server;
    struct http_conn *conn; /* NULL: the client has gone */
    bool handed;            /* the handler has it */
    uint8_t *body;
    size_t body_len, body_cap;
    uint8_t head[];
};

struct http_server_conf {
    struct shard *shard;
    struct http_limits limits;
    void *arg;
    /* A complete request; http_answer follows, from within or later. */
    void (*request)(void *arg, struct http_exchange *exchange);
    /* How large the body may be, asked when the head is there (request.body is empty); NULL:
     * body_bytes_max, which also bounds what this says. */
    uint64_t (*body_max)(void *arg, const struct http_request *request);
    /* A client sent what is no HTTP. May be NULL. */
    void (*malformed)(void *arg, const struct netaddr *peer);
    /* After http_server_stop, when nothing is left; the server may be released. May be NULL. */
    void (*stopped)(void *arg);
};

struct http_stats {
    uint64_t connections, over_limit, requests;
    uint64_t refused;  /* malformed or over a limit: every 4xx and 5xx that no handler gave */
    uint64_t timeouts; /* of any phase but idle */
    uint64_t yielded;  /* gave way to others */
};

struct http_server {
    struct http_server_conf conf;
    struct http_stats stats;
    /* private */
    struct pool conns_pool;
    struct pool exchanges_pool;
    struct list conns;
    struct list listeners;
    unsigned conns_count;
    unsigned closing_count; /* of them, on their way out */
    unsigned slot_conns[HTTP_SLOTS_MAX];
    unsigned exchanges_count;
    uint64_t bodies_bytes;
    uint64_t answers_bytes;
    bool stopping, stop_running;
    bool stopped; /* and said so */
};

/* A listening socket; embedded in its owner, zeroed but for closed before http_listen. */
struct http_listener {
    struct listener listener;
    struct http_server *server;
    struct list_node node;
    struct tls_ctx *tls; /* NULL: clear; may be replaced at any time, connections keep theirs */
    /* Connections at a time of the listeners with this slot; may be changed at any time. 0: as many
     * as the server has. */
    uint32_t connections_max;
    uint16_t slot;                                  /* below HTTP_SLOTS_MAX */
    void (*closed)(struct http_listener *listener); /* after http_unlisten or the server's stop: the
                                                     * memory may be released; may be NULL */
};

MX_MUST_CHECK mx_err http_server_init(struct http_server *server,
                                      const struct http_server_conf *conf);
/* Nothing may be left: after conf->stopped. A zeroed server is fine. */
void http_server_fini(struct http_server *server);
/* fd is a listening socket (ring_listen), taken. */
void http_listen(struct http_listener *listener, struct http_server *server, int fd,
                 struct tls_ctx *tls);
/* Connections that it accepted go on. */
void http_unlisten(struct http_listener *listener);
/* Closes the listeners and idle connections; requests in progress are answered, then their
 * connections are closed. force: all connections are closed at once (also by a second call).
 * Exchanges that the handler holds are still waited for. */
void http_server_stop(struct http_server *server, bool force);

/* Answers, exactly once; takes answer->body. The exchange is gone with this call. From the server's
 * thread only. */
void http_answer(struct http_exchange *exchange, const struct http_answer *answer);

/* --- for http_conn.c --- */

struct http_exchange *http_exchange_new(struct http_conn *conn, struct http_server *server);
/* Room for len more bytes of body. MX_ERR_NOMEM: over bodies_bytes_max or out of memory. body_max:
 * no more than this will ever come. */
MX_MUST_CHECK mx_err http_exchange_grow(struct http_exchange *exchange, size_t len,
                                        uint64_t body_max);
void http_exchange_free(struct http_exchange *exchange); /* NULL is fine */
/* Calls conf->stopped when it is time; the server may be gone afterwards. */
void http_server_settle(struct http_server *server);
