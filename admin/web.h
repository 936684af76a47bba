/* The configured HTTP listeners (NetworkListener of protocol `http`) on the management loop, beside
 * the one of the command line. Like the cores' listeners they change with the publisher's changes:
 *
 *   web_prepare   on the worker: opens what is new, makes the TLS context. A refusal is no change.
 *   web_apply     on the worker: the loop listens on what is wanted now, and on nothing else.
 *   web_cancel    instead of it
 *
 * A socket stays open as long as its address is wanted, whatever else changes; connections that
 * were accepted go on with the certificate that they have. */
#pragma once

#include "admin/bindings.h"
#include "admin/http_server.h"
#include "io/mbox.h"

struct web;

struct web_conf {
    struct mbox_hub *hub;
    unsigned loop, worker;                        /* their numbers in the hub */
    void (*wait)(void *arg, unsigned timeout_ms); /* on the worker: takes messages */
    void *wait_arg;
};

MX_MUST_CHECK mx_err web_new(struct web **out_web, const struct web_conf *conf);
/* After the HTTP server has ended. NULL is fine, as in all of these. */
void web_free(struct web *web);

/* *problem says what is wrong. Also from the loop's thread before web_start. */
MX_MUST_CHECK mx_err web_prepare(struct web *web, const struct bindings_change *change,
                                 struct slice cert_pem, struct slice key_pem,
                                 struct config_problem *problem);
void web_apply(struct web *web);
void web_cancel(struct web *web);
/* On the loop's thread, once: listens on what was prepared. */
void web_start(struct web *web, struct http_server *server);
