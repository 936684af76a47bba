/* Publishing: a committed change reaches every core before its answer is sent (DESIGN: one writer,
 * N private copies). Runs on the management worker, inside its jobs.
 *
 *   publisher_prepare   inside the store's transaction: compiles what the change touches, opens new
 *                       listening sockets, lets every core take the memory. A refusal changes
 *                       nothing.
 *   store_commit        by the caller
 *   publisher_apply     every core runs the new generation, or one is behind (said, not undone)
 *   publisher_cancel    instead, when the commit failed
 */
#pragma once

#include "admin/config.h"
#include "admin/publish_records.h"
#include "admin/tls_files.h"
#include "admin/worker.h"

struct publisher;
struct web;

enum {
    PUBLISH_WAIT_MS = 5000, /* until a core that has not answered is called behind */
    PUBLISH_CHANGES_MAX = 10000,
};

struct publisher_conf {
    struct mbox_hub *hub;
    unsigned cores; /* 0: nobody to tell, but everything is compiled all the same */
    unsigned index; /* of the worker's thread in the hub */
    void (*wait)(void *arg, unsigned timeout_ms); /* takes messages of the cores, as worker_wait */
    void *wait_arg;
    struct web *web; /* the HTTP listeners; NULL: none are served */
    /* Told of every image after the cores, in the thread `watcher`; answers as a core does. NULL:
     * nobody. */
    void (*watch)(struct mbox_msg *msg, struct shard *at);
    unsigned watcher;
    const char *tls_dir;
    /* What the cores were started with; stays with the caller until the publisher is freed. */
    const struct config *config; /* NULL with no cores: it does not compile */
    const struct tls_files *tls;
};

MX_MUST_CHECK mx_err publisher_new(struct publisher **out_publisher,
                                   const struct publisher_conf *conf);
/* After the cores have ended; frees what they had borrowed. NULL is fine. */
void publisher_free(struct publisher *publisher);

/* *out_type: the type at fault, NULL = none in particular. MX_ERR_INVALID and the like: the change
 * does not compile; MX_ERR_INUSE, MX_ERR_PERMISSION: a listener cannot be bound; MX_ERR_AGAIN: a
 * core is still behind an earlier change; *problem says it in a sentence. */
MX_MUST_CHECK mx_err publisher_prepare(struct publisher *publisher, struct store *store,
                                       const struct object_change *changes, size_t count,
                                       const struct reg_type **out_type,
                                       struct config_problem *problem);
/* The same without a change, for what objects name outside of the store (certificates in files and
 * environment variables): read again and in force on every core when it returns. */
MX_MUST_CHECK mx_err publisher_reload(struct publisher *publisher, struct store *store,
                                      struct config_problem *problem);
/* MX_ERR_TIMEOUT: committed, but the core that *problem names is behind. */
MX_MUST_CHECK mx_err publisher_apply(struct publisher *publisher, uint64_t generation,
                                     struct config_problem *problem);
void publisher_cancel(struct publisher *publisher);
/* Between changes, after messages of the cores: ends a change whose last answer has come late. Its
 * HTTP listeners are in force then, and what it has replaced is freed. */
void publisher_settle(struct publisher *publisher);

/* A certificate, not the default one, that the configuration in force goes without, and why; empty:
 * none. Valid until the next change; nothing is known of the start's. */
const char *publisher_skipped_certificate(const struct publisher *publisher);

/* From any thread: the number of a core that is behind, or -1. */
int publisher_behind(const struct publisher *publisher);
/* From any thread: the generation that all cores run. */
uint64_t publisher_generation(const struct publisher *publisher);
