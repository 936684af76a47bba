/* Lives of the program on the simulated machine: start with some number of cores, kill or orderly
 * end; and the scheduler that decides whose turn it is. */
#pragma once

#include "route/performance.h"

#include "tests/sim/sim.h"

/* What a run asks of the process at most. */
struct life_load {
    size_t messages; /* with failure notices and mail to members of lists */
    size_t content;  /* bytes of all of them */
    size_t largest;  /* of one */
    size_t sessions; /* at a time; some have not noticed that the client has gone */
};

struct life_conf {
    unsigned cores;
    uint64_t retry_ms;             /* 0: as the schedules say */
    uint64_t notify_ms, expire_ms; /* 0: the usual days */
    unsigned recv_bufs, sq_entries;
    uint64_t segment_bytes;
    size_t blocks;
    struct performance performance; /* of all lives; zeros: defaults */
    bool throttled;                 /* tests/sim/rates.h */
    bool limited;                   /* tests/sim/limits.h */
    bool mixed;                     /* tests/sim/strategies.h */
    bool scheduled;                 /* tests/sim/schedules.h; with retry_ms 0 */
    uint8_t verify;                 /* enum dir_verify: of all domains that relay */
    unsigned changes;               /* of the configuration, while it runs */
    uint64_t change_gap_ms;
    bool crowd;           /* the changes are bans (crowd.h) */
    unsigned steers;      /* of the queue, by an administrator */
    bool release;         /* ... who releases in the end what he holds */
    uint32_t group_bytes; /* of the journal: set by life_boot */
    struct life_load load;
};

/* Once, before the first run. */
void life_setup(void);
/* Starts the process; it goes on in life_step. */
void life_boot(const struct life_conf *conf);
/* Gives one fiber, operation or peer a turn, or lets time pass. */
void life_step(void);
bool life_running(void); /* all cores are */
bool life_up(void);      /* and have the old queue */
bool life_changed(void); /* all changes of the configuration have been tried */
/* The start failed for good (the log says why). */
bool life_failed(void);
uint64_t life_queued(void); /* messages in the queue */
uint64_t life_recovered(void);
/* Something of former configurations is left on a core; with `fail` that ends the run. */
bool life_leftovers(bool fail);
/* Places for parked input were short on a core, at some time of this life (smtp/tarpit.h). */
bool life_parks_were_short(void);
void life_stop(void); /* asks for an orderly end */
bool life_stopped(void);
/* After life_stopped: ends it; every pool must be empty and every byte be given back. */
void life_close(bool drained);
/* After a kill: memory, descriptors and threads are gone. */
void life_bury(bool power);
