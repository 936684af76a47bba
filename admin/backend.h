/* What the management worker owns: the store, the API over it, sign-in, and the publisher. The loop
 * hands it HTTP requests as jobs. */
#pragma once

#include "admin/environment.h"
#include "admin/explain_cores.h"
#include "admin/http_server.h"
#include "admin/publish.h"
#include "admin/queue_cores.h"
#include "admin/worker.h"

struct backend;
struct ban;

struct backend_conf {
    const char *data_dir;
    const struct environment *env;
    struct publisher *publisher;
    struct queue_cores *queue;
    bool delivers;              /* there are cores, not in recovery mode */
    struct deliver_pause pause; /* as the cores began */
    struct explain_cores *explain;
    struct worker *worker;
    struct ban *ban;
    const struct pulse *const *pulses; /* of the cores, borrowed */
    unsigned cores;
    struct shard *shard; /* of the loop */
    struct log *log;     /* of the worker */
};

/* Opens the store and builds the API. A store that cannot be used is no failure here: every API
 * request is then answered 503 with the reason. MX_ERR_NOMEM. */
MX_MUST_CHECK mx_err backend_open(struct backend **out_backend, const struct backend_conf *conf);
/* On the loop: requests that wait for passwords are answered now; what they had not done yet is
 * given up and said so. */
void backend_stop(struct backend *backend);
/* No answer waits for its time (those to failed sign-ins do). NULL is fine. */
bool backend_idle(const struct backend *backend);
/* With no job pending, and idle. NULL is fine. */
void backend_close(struct backend *backend);
/* On the loop: the exchange is answered later; or now with 503 when the worker's queue is full. */
void backend_request(struct backend *backend, struct http_exchange *exchange);
/* On the loop: then is called later, on the loop, when the exchange's caller is signed in and has
 * the permission; otherwise the exchange is answered as backend_request would. */
typedef void (*backend_then_fn)(void *arg, struct http_exchange *exchange);
void backend_permit(struct backend *backend, struct http_exchange *exchange, const char *permission,
                    backend_then_fn then, void *arg);
