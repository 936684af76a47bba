/* The management of the simulated process: its loop with the old queue's takeover (smtp/takeover),
 * and its worker, which publishes new configurations with the real publisher (admin/publish) while
 * mail goes on. Both are fibers, as admin/server's threads. */
#pragma once

#include "smtp/service.h"
#include "tests/sim/settings.h"

struct manager_conf {
    struct mbox_hub *hub;
    unsigned cores;
    enum log_level log_level;
    struct service *(*service)(unsigned core);
    unsigned changes;       /* of the configuration, to be tried in this life */
    uint64_t change_gap_ms; /* between two, about */
    bool crowd;             /* the changes are bans; overload comes and goes */
    unsigned steers;        /* times that an administrator changes the queue */
    bool release;           /* in the end he releases what is held */
};

/* In the fiber that starts the process, before the cores: what they are started with. */
MX_MUST_CHECK mx_err manager_open(const struct manager_conf *conf, struct journal_store *store);
const struct config *manager_config(void);
struct takeover *manager_takeover(void);
/* In the same fiber, when the cores run: takes over the old queue, and goes on until manager_stop.
 */
void manager_run(void);
/* The old queue has been taken over: how many messages; false: not yet. */
bool manager_taken(uint64_t *out_messages);
bool manager_failed(void);
void manager_stop(void);
/* After manager_stop: no change is under way, so that the cores may be told to end. */
bool manager_idle(void);
/* All changes that were to be tried have been. */
bool manager_done(void);
/* The helper thread has ended: after the cores. */
bool manager_quiet(void);
void manager_close(void);
/* The process is gone. */
void manager_forget(void);
void manager_drain_logs(void (*drain)(struct log *log));
/* Moves whenever a change begins or ends; odd while one is under way, so that nobody knows what
 * cores answer. */
uint64_t manager_epoch(void);
/* Changes that were tried, refused and done since the program began; for the report. */
struct manager_counts {
    uint64_t tried, refused, done, late;
};
extern struct manager_counts manager_counts;
