/* Lives of the program on the simulated machine: start with some number of cores, kill or orderly
 * end; and the scheduler that decides whose turn it is. */
#pragma once

#include "route/performance.h"

#include "tests/sim/sim.h"

struct life_conf {
    unsigned cores;
    uint64_t retry_ms;
    unsigned recv_bufs, sq_entries;
    uint64_t segment_bytes;
    size_t blocks;
    struct performance performance; /* of all lives; zeros: defaults */
};

/* The configuration that all lives of all runs use. */
void life_setup(void);
/* Starts the process; it goes on in life_step. */
void life_boot(const struct life_conf *conf);
/* Gives one fiber, operation or peer a turn, or lets time pass. */
void life_step(void);
bool life_up(void); /* all cores are running */
/* The start failed for good (the log says why). */
bool life_failed(void);
uint64_t life_queued(void); /* messages in the queue */
uint64_t life_recovered(void);
void life_stop(void); /* asks for an orderly end */
bool life_stopped(void);
/* After life_stopped: ends it; every pool must be empty and every byte be given back. */
void life_close(bool drained);
/* After a kill: memory, descriptors and threads are gone. */
void life_bury(bool power);
