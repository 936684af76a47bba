/* Delivery of one core's queue: which messages are due, where each recipient goes, what came of it.
 *
 *   due or fresh -> active (envelope and content in memory) -> route per recipient -> one delivery
 * per next hop -> hop queue -> local batch (smtp/local) or connection (smtp/relay) -> outcome per
 * recipient -> mark, DSN, or next try -> inactive
 *
 * Bounds: DELIVER_ACTIVE_MAX messages and DELIVER_BYTES_MAX bytes are in memory; a hop holds at
 * most HOP_WAITING_MAX deliveries and no more memory than it leaves for the others; what exceeds it
 * is parked at the hop without its content. So a slow or dead hop holds neither memory nor the
 * others up. The route is evaluated anew at every
 * attempt. */
#pragma once

#include "core/list.h"
#include "io/shard.h"
#include "io/work.h"
#include "route/directory.h"
#include "route/image.h"
#include "route/schedule.h"
#include "smtp/cli_engine.h"
#include "smtp/dns_answers.h"
#include "smtp/reply.h"
#include "smtp/spool.h"
#include "smtp/stats.h"
#include "smtp/verify.h"
#include "smtp/virtual_queue.h"
#include "smtp/worker_lease.h"

enum {
    /* Lanes of the workers (io/work.h). */
    DELIVER_LANES = 2,             /* mailboxes; the journal makes its segments in the first */
    DELIVER_UNREAD_MS = 10 * 1000, /* until what could not be read, for now, is tried again */
    DELIVER_REPORT_WAIT_MS = 100,  /* until one is looked at again whose report is being written */
    DELIVER_ACTIVE_MAX = 16384,
    DELIVER_BYTES_MAX = 128 * 1024 * 1024,
    DELIVER_HISTORY_SHARE = 8,    /* histories have at most this part of the memory for messages */
    DELIVER_STARTS_MAX = 256,     /* messages made active per turn */
    DELIVER_RECALLS_MAX = 256,    /* ... and told that their virtual queue goes on */
    DELIVER_RCPTS_MAX = 100,      /* per transaction: what every server takes (RFC 5321) */
    DELIVER_HEAD_MAX = 16 * 1024, /* of a large message kept for a DSN */
    DELIVER_CONNECTIONS_MAX = 4096, /* per core */
    HOP_WAITING_MAX = 4096,
    HOP_WAITING_SHARE = 64,                   /* what a hop may always keep waiting: messages */
    HOP_SHARE_BYTES = DELIVER_BYTES_MAX / 64, /* and memory */
    HOP_PARKED_MS = 60000,   /* a message that found no room is tried again after this, if the hop
                                does not call it back */
    HOP_PARKED_EACH_MS = 10, /* ... and this per message in the queue */
    HOP_PARKED_MAX_MS = 3600000,
    HOP_ADDRESSES_MAX = 16,
    HOP_PROBE_FIRST_MS = 5000, /* a hop that is down is tried again after this, doubling */
    HOP_PROBE_MAX_MS = 300000,
    HOP_RESOLVE_KEEP_MS = 60000,
    MX_HOPS_MAX = 8192,        /* domains with mail for them, per core */
    MX_HOPS_SWEEP_MS = 30000,  /* how often those without mail are freed */
    LOCAL_BATCHES_MAX = 8,     /* in flight per core */
    EXPANSIONS_MAX = 8,        /* lists being expanded, per core */
    EXPANSION_RETRY_MS = 1000, /* a list that could not be expanded now is tried again after this */
    EXPANSION_DEPTH_MAX = 8,   /* lists in lists in lists */
    EXPANSION_ENVELOPE_MAX = 512 * 1024, /* addresses of one message to members */
};

struct bounce_item;
struct deliver;
struct expansion;
struct hop_lookup;
struct relay_conn;
struct slot_account;
struct slots;

/* A message in memory. */
struct active {
    struct deliver *deliver;
    struct message *msg;
    struct txn *txn;
    struct chain content;        /* last part of the content, if it came from the session, or: */
    uint8_t *loaded;             /* the whole record read back */
    struct slice inline_content; /* in loaded */
    uint8_t *head;               /* first bytes of the content when it lies in extents */
    size_t head_len;
    size_t bytes; /* accounted to the budget */
    struct journal_read read;
    uint32_t deliveries;          /* and expansion, not done yet */
    struct hop *park_at;          /* hop that had no room, or is down */
    bool no_room;                 /* some recipient was not even tried */
    bool rests;                   /* ... as its virtual queue is paused */
    struct dns_answers *answers;  /* what expressions asked about its recipients; NULL: nothing */
    struct list_node asking_node; /* in deliver->asking: waits for the DNS */
    struct expansion *expansion;  /* of a list among the recipients; one at a time */
    struct bounce_item *reports;  /* for the DSN (smtp/bounce); room for all recipients, or NULL */
    uint32_t report_count;
    struct timer report_wait;
    uint8_t *history; /* of its attempts (smtp/history), before and in this activation */
    size_t history_len, history_cap; /* cap: of the budget */
    bool history_grown;
    bool history_left; /* there was no room to read it: it stays as it is */
};

struct delivery_rcpt {
    uint32_t rcpt;        /* index in the envelope */
    struct slice mailbox; /* local hops: of the account */
    bool decided;
    bool expanded;          /* a list: delivered means that all its members have got their mail */
    struct outcome outcome; /* text in the transaction's memory */
    /* When it was put off: */
    uint8_t notices;        /* delay DSNs that are due by now, sent or not */
    int64_t retry_until_ms; /* 0: depends on the attempts */
};

/* One message for one next hop. */
struct delivery {
    struct list_node node;
    struct active *active;
    struct hop *hop;        /* stays while deliveries refer to it; NULL: of recipients that have no
                               next hop, and are decided */
    struct slice remote;    /* for DSNs: the host that spoke, or empty */
    const char *peer, *tls; /* for the log: its address and port, TLS version; NULL: nobody spoke */
    uint64_t began_ns;      /* of the transaction; 0: there was none */
    uint32_t open;          /* recipients without outcome */
    uint32_t rcpt_count;
    uint8_t queue;   /* slot of its virtual queue */
    bool has_worker; /* takes one of the queue's workers */
    bool retried;    /* was given back once because a kept connection had died */
    bool refused;    /* for now, by a mail host: this attempt ends when the next one fails too */
    bool dsn_passed; /* the next hop took over the DSN duty */
    bool asking;     /* in hop->asking */
    struct dns_answers *answers; /* what strategies asked for it; NULL: nothing */
    struct delivery_rcpt rcpts[];
};

/* One address of a next hop, in the order in which they are tried. */
struct hop_address {
    struct netaddr addr;
    struct slice host; /* its name, in the hop's memory; empty: the route's address */
    int preference;    /* of its MX record; negative: there is none */
    bool by_chance;    /* another host has the same: which is before is decided at each look-up */
};

/* A next hop as one configuration of a route; where the route leads to the MX of domains, each
 * domain is one (smtp/mx_hops). When the route changes, it gets a new hop, and this one is retired:
 * it finishes what is on its way, gives the rest back and goes. */
struct hop {
    struct deliver *deliver;
    struct list_node all_node;  /* in deliver->hops */
    struct list_node busy_node; /* in deliver->busy: something waits that might go on */
    struct hop *parent;         /* of a domain's hop: the route's */
    struct hop *mx_next;        /* in its slot of the table */
    struct slice domain;        /* lower case, as routed to */
    struct route_conf route;    /* a copy; so is: */
    struct slice hostname;      /* what we call ourselves there */
    unsigned row;               /* of its route's statistics */
    struct class_stats *stats;  /* of its kind */
    text_id name;               /* as administrators call it: ROUTE or ROUTE:DOMAIN; 0: no memory */
    bool retired;
    bool paused;                      /* its route is, or everything */
    bool kept;                        /* only while a new image is prepared: it serves there too */
    unsigned references;              /* deliveries, and messages that will park here */
    struct list waiting[QUEUE_SLOTS]; /* struct delivery, by virtual queue */
    struct list asking;               /* struct delivery: its strategy waits for the DNS */
    uint32_t waiting_mask;            /* those that are not empty */
    unsigned next_queue;              /* whose turn it is */
    uint32_t waiting_count;
    size_t waiting_bytes; /* memory of the messages in waiting */
    struct list parked;   /* struct message by wait_node */
    /* health */
    bool down;
    bool probing;
    uint32_t failures;
    struct timer probe;
    struct outcome problem; /* why it is down; text in problem_text */
    uint8_t problem_text[CLI_TEXT_MAX];
    uint8_t problem_host[DOMAIN_MAX];
    /* relay and MX */
    struct list idle;  /* struct relay_conn, ready for a transaction */
    struct list conns; /* all of them */
    unsigned connections;
    unsigned connecting;          /* of them, not yet ready for a first transaction */
    unsigned yielding;            /* ending to make room for one of another strategy */
    struct slot_account *account; /* a slot for every connection: smtp/slots */
    struct list_node slot_node;
    struct hop_address addresses[HOP_ADDRESSES_MAX];
    unsigned address_count;
    unsigned first_address; /* those before it did not answer lately */
    uint8_t *host_names;    /* memory of their names */
    uint64_t resolved_ns;
    struct hop_lookup *lookup; /* under way, or NULL */
    struct verify_hop verify;
    /* local */
    unsigned batches;
    unsigned lane;
};

/* What is not delivered: accepted and queued only. */
enum { PAUSED_ROUTES_MAX = 64, PAUSED_NAME_MAX = 127 };
struct deliver_pause {
    bool all;
    unsigned route_count; /* mail on these routes */
    char routes[PAUSED_ROUTES_MAX][PAUSED_NAME_MAX + 1];
    struct queue_names queues; /* mail of these virtual queues */
};
bool deliver_pause_has(const struct deliver_pause *pause, struct slice route);

struct deliver_conf {
    struct schedule schedule; /* where the image says nothing */
    uint64_t retry_ms;        /* 0, or: all retries and probes after this time (tests) */
    const char *mail_root;    /* folder of the mailboxes */
    struct deliver_pause pause;
    struct rate_table *rates;           /* of all cores; NULL: no image has throttles */
    const struct expr_metrics *metrics; /* of all cores; NULL: metric() fails */
    struct keys *keys;                  /* of the core */
    struct dns *dns;                    /* of the core */
    const struct names *names;
};

struct deliver {
    struct shard *shard;
    struct spool *spool;
    const struct image *image;
    struct performance performance; /* of the image, complete */
    const struct directory *directory;
    struct deliver_conf conf;
    struct virtual_queues queues;
    text_id queue_texts[QUEUE_SLOTS]; /* their names; 0: none, or no memory */
    struct worker_leases worker_leases;
    uint64_t longest_ms[SCHEDULE_STEPS_MAX]; /* of all schedules: wait after so many attempts - 1 */
    struct list hops;                        /* of the image, and retired ones */
    struct list busy;                        /* those to be looked at in this turn */
    struct hop **route;                      /* by route_conf.index: the image's hops */
    struct hop **next_route;                 /* the same for the image that is prepared */
    uint32_t next_count;
    struct hop **mx_slots; /* smtp/mx_hops */
    size_t mx_count;
    uint64_t mx_seed;
    struct timer mx_sweep;
    struct expr_vm *vm;
    struct list ready;    /* struct message by wait_node: to be made active */
    struct list resting;  /* likewise: a recipient's virtual queue is paused */
    struct list recalled; /* of these, those that go on, some in every turn */
    struct list asking;   /* struct active by asking_node: their expressions ask the DNS */
    struct shard_hook hook;
    struct pool actives;
    struct pool clis;
    struct pool conns;
    struct slots *slots;
    struct tls_ctx *tls_strict, *tls_any; /* clients: verifying, and not */
    size_t active_bytes;                  /* with: */
    size_t active_bytes_peak;
    size_t history_bytes; /* of all that are in memory */
    size_t history_peak;
    size_t active_rcpts;      /* of all that are in memory */
    uint64_t unread_quiet_ns; /* no log line about unread messages before */
    unsigned dsns;            /* being written */
    size_t dsn_bytes;         /* memory of these */
    unsigned expansions;      /* lists, under way */
    bool stopping;            /* no new attempts */
    uint64_t random;          /* state of the jitter generator */
    struct deliver_stats stats;
    struct verify verify; /* whether next hops have a recipient */
};

MX_MUST_CHECK mx_err deliver_open(struct deliver *d, struct shard *shard, struct spool *spool,
                                  const struct image *image, const struct directory *directory,
                                  const struct deliver_conf *conf);
/* spool_ops.recovered: makes the message due according to its stored times. */
void deliver_recovered(struct deliver *d, struct message *msg);
/* spool_ops.queued and .ended */
void deliver_queued(struct deliver *d, struct message *msg, struct txn *txn, struct chain *content);
void deliver_ended(struct deliver *d, struct message *msg);
/* No new attempts; deliveries that wait are given back, connections finish their transaction. */
void deliver_stop(struct deliver *d);
/* True when nothing is in flight any more. */
bool deliver_quiet(const struct deliver *d);
/* Cuts what is still in flight (its messages stay queued). */
void deliver_abort(struct deliver *d);
void deliver_close(struct deliver *d);

/* Another pause: no new attempts that it covers; what waits at the hops is given back, and is due
 * at once when it ends. Transactions on their way end as they would. */
void deliver_pause(struct deliver *d, const struct deliver_pause *pause);
/* The addresses of all next hops are looked up anew before they are used again, and connections
 * that are kept to them end. */
void deliver_forget_addresses(struct deliver *d);
/* What an administrator may change about recipients that are not decided. */
enum deliver_change_kind {
    CHANGE_HOLD,    /* neither tried nor given up any more */
    CHANGE_RELEASE, /* held ones are tried again, at once */
    CHANGE_RETRY,   /* due at at_ms; when that has passed it is really tried: a hop that is down is
                       probed. Held ones stay held */
    CHANGE_EXPIRE,  /* given up at at_ms instead of when the schedule says */
    CHANGE_CANCEL,  /* become failed, without a report */
    CHANGE_GIVE_UP, /* become failed, with a report to the sender where one is wanted */
};
enum { CHANGE_ALL = UINT32_MAX };
struct deliver_change {
    enum deliver_change_kind kind;
    uint32_t rcpt; /* its index, or CHANGE_ALL */
    int64_t at_ms;
};
/* Makes a change; to be called again, with the same *made (first false), until it says more than
 * MX_ERR_AGAIN. MX_OK: it is made, durably (a retry at once: made). MX_ERR_AGAIN: *made: it is on
 * its way to the disk; else nothing has been done, as the message is being delivered, or something
 * is being written about it that would undo the change. MX_ERR_UNSUPPORTED: there is nobody to be
 * changed: everyone concerned is decided, or of a retry held. A message that ends by a change goes
 * once that is durable. */
MX_MUST_CHECK mx_err deliver_change(struct deliver *d, struct message *msg,
                                    const struct deliver_change *change, bool *made);

/* A new image in two steps, so that the second cannot fail: prepare takes the memory, then either
 * switch or cancel. Hops whose route has not changed stay. */
MX_MUST_CHECK mx_err deliver_prepare(struct deliver *d, const struct image *image);
void deliver_switch(struct deliver *d, const struct image *image);
void deliver_cancel(struct deliver *d);

/* --- for the hops ------------------------------------------------------------------------------
 */

/* Notes the outcome of recipient i (index in delivery->rcpts); the text is copied. */
void delivery_decide(struct delivery *delivery, uint32_t i, const struct outcome *outcome);
/* Gives every recipient without outcome this one. */
void delivery_decide_rest(struct delivery *delivery, const struct outcome *outcome);
/* All recipients are decided: applies the outcomes and frees the delivery. */
void delivery_done(struct delivery *delivery);
/* Moves the undecided recipients at these positions (rising) into a delivery of their own, for the
 * same hop; NULL: no memory. Some have to stay. */
struct delivery *delivery_split(struct delivery *delivery, const uint32_t *positions,
                                uint32_t count);
/* Gives the delivery up without any outcome (shutdown): its recipients stay as they are. */
void delivery_drop(struct delivery *delivery);
/* Our own temporary outcome. */
struct outcome deliver_problem(struct slice text, struct slice command);
uint64_t deliver_random(struct deliver *d);
/* Memory that further messages may take. */
size_t deliver_bytes_left(const struct deliver *d);
/* Something that active->deliveries counts has ended; the message leaves memory with the last. */
void active_release(struct active *active);
/* Arms the message's timer for its earliest recipient. */
void deliver_schedule(struct deliver *d, struct message *msg);
/* Is it to be tried now? */
bool deliver_is_due(const struct deliver *d, const struct rcpt_state *state);
/* Puts a message into the ready list. */
void deliver_ready(struct deliver *d, struct message *msg);

/* --- routing (smtp/routing.c): the same code at RCPT and at delivery
 * ------------------------------- */

struct routing {
    struct resolution resolution;
    const struct route_conf *route;  /* NULL: could not be evaluated */
    const char *problem;             /* static text then, and why: */
    const char *detail;              /* static text, or NULL */
    const struct schedule *schedule; /* of the image, or of the context where that has no program;
                                        NULL: cannot be told now */
    bool waits;                      /* an expression asks: no route and no problem yet */
};
struct routing_context {
    const struct image *image;
    const struct directory *directory;
    struct expr_vm *vm;
    int64_t now_ms;
    const struct rcpt_state *state;  /* of the recipient; NULL: not tried yet */
    const struct schedule *schedule; /* where the image has no program; may be NULL */
    const struct expr_asker *asker;  /* NULL: expressions can ask nobody */
    const struct expr_trace *trace;  /* NULL: nobody asks why */
};
/* Where mail is delivered to, for programs of the context QHOST. */
struct routing_host {
    struct slice mx;
    const struct netaddr *remote, *local; /* NULL: not known */
};
/* Runs a program of the context QHOST about a recipient and a host. *out borrows from the program
 * and ctx->vm. */
enum expr_status routing_run(struct expr_value *out, const struct routing_context *ctx,
                             const struct expr_program *program, const struct routing_host *host,
                             struct slice rcpt, const struct envelope *env);
/* The same, for who cannot wait. False: it failed. */
bool routing_ask(struct expr_value *out, const struct routing_context *ctx,
                 const struct expr_program *program, const struct routing_host *host,
                 struct slice rcpt, const struct envelope *env);
/* Resolves the address and runs the programs: schedule, then route. rcpt is the address as sent. */
void routing_find(struct routing *out, const struct routing_context *ctx, struct slice rcpt,
                  const struct envelope *env);
/* Resolves the address and runs the schedule program alone. NULL: it does not yield a schedule, and
 * *out_problem (static text) says why. */
const struct schedule *routing_schedule(const struct routing_context *ctx, struct slice rcpt,
                                        const struct envelope *env, const char **out_problem);
/* Is the next hop asked whether it has the recipient? */
bool routing_verifies(const struct routing *routing);
/* What RCPT answers; REPLY_OK: accepted, or to be verified. */
enum reply routing_reply(const struct routing *routing);
