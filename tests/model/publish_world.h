/* What surrounds the publisher and the cores in check_publish.c: memory that is never reused, a
 * mailbox that is one step, a clock whose patience ends when a thread says so, and stand-ins for
 * what they use of the product. publish_world.c has those that remember something,
 * publish_nothing.c those that do nothing. */
#pragma once

#include "model.h"

#include "admin/publish.h"
#include "smtp/service.h"

#include <stdatomic.h>

enum { CORES = 2, PUBLISHER = 2, CLOCK = 3, CHANGES_MAX = 8 };

#define GONE UINT64_C(0xdeaddeaddeaddead) /* what was freed reads as this */

struct directory {
    const struct dir_record *address;
    bool fails;
};

struct core {
    struct shard shard;
    struct service service;
    struct directory directory;
    const struct image *prepared;
    struct mbox_msg stop_msg;
    bool stopped;
};

extern struct core cores[CORES];
extern struct config configs[CHANGES_MAX];     /* by number of the change; 0: of the start */
extern struct dir_record records[CHANGES_MAX]; /* as well */
extern uint64_t building;                      /* number of a change */
extern struct model_event events[CORES + 1];
extern unsigned bindings_open_now;
extern bool sockets_open;           /* of the change under way, in nobody's hands yet */
extern bool has_clock, no_patience; /* of the publisher */
extern atomic_uint late;

/* Everything as before the first change, without what the cores have. */
void world_reset(void);
/* The number of the change that was committed last. Known to the observer, not a memory that the
 * threads share. */
uint64_t committed_now(void);
void commit(uint64_t number);
/* Message and wake-up are one step: what the sender did before happens before what the receiver
 * does then. */
void send(unsigned from, unsigned to, struct mbox_msg *msg);
struct mbox_msg *take(unsigned to, unsigned from);
/* For struct publisher_conf: waits for messages and receives them. */
void take_messages(void *arg, unsigned timeout_ms);
