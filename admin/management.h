/* The management endpoint on the loop: which HTTP request goes where. Health and statistics are
 * answered by the loop itself, whatever the worker is busy with; everything else is a job of the
 * worker, and a 503 when its queue is full. Statistics are free on this machine; a client elsewhere
 * signs in for them, which the worker checks before the loop answers. */
#pragma once

#include "admin/http_server.h"
#include "admin/overload_watch.h"
#include "admin/sampler.h"
#include "admin/worker.h"
#include "smtp/offence.h"

struct management;
struct publisher;
struct web;

struct management_conf {
    struct shard *shard; /* of the loop */
    unsigned cores;
    const struct pulse *const *pulses; /* of the cores */
    struct worker *worker;
    const struct publisher *publisher;
    struct backend *backend;
    struct offence_conf offences; /* who counts clients that send nonsense */
    const struct image *image; /* of the start; later ones come by management_watch. NULL: none */
    struct overload_watch *overload; /* NULL: nothing is watched; taken */
    const char *public_url;          /* STALWART_PUBLIC_URL, or empty */
    int listen_fd;                   /* of the command line, taken; -1: none */
    struct web *web;                 /* the configured listeners, prepared; NULL: none are served */
};

MX_MUST_CHECK mx_err management_open(struct management **out_management,
                                     const struct management_conf *conf);
/* For struct publisher_conf.watch, in the loop's thread. */
void management_watch(struct mbox_msg *msg, struct shard *at);
/* No new requests; those in progress are answered. force: connections are cut. */
void management_stop(struct management *management, bool force);
/* No request is in progress. NULL is idle. */
bool management_idle(const struct management *management);
/* Nothing is left of it: no connection, no job. */
bool management_stopped(const struct management *management);
/* Requires management_stopped. NULL is fine. */
void management_close(struct management *management);
