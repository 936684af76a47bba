/* One run: some lives with faults, then one without that must empty the queue, then one that must
 * find nothing. Then judgement. */
#pragma once

#include "tests/sim/life.h"
#include "tests/sim/peer.h"

enum { LIVES_MAX = 6 };

/* What a run does, made from its seed or from a scenario. */
struct plan {
    unsigned lives; /* with faults; one without follows */
    struct {
        unsigned cores;
        enum sim_fault strike;
        uint64_t strike_at, strike_len;
        bool orderly;     /* if it lives that long */
        uint64_t idle_ms; /* after the clients have finished */
    } life[LIVES_MAX];
    unsigned clients;
    struct client_plan client;
    unsigned guests; /* of crowd.h; with conf.crowd */
    bool faults;
    bool rot;
    unsigned read_errors;   /* one read in so many fails; 0: none */
    unsigned memory_errors; /* likewise, allocations */
    bool clock_jumps;
    bool wide;             /* mail to lists, and to what the configuration has and has not */
    uint64_t disk_bytes;   /* until the last lives; 0: enough for everything */
    uint64_t hops_away_ms; /* next hops do not answer, from the start on */
    bool second;           /* the second listener, behind a proxy, is there from the start */
    struct life_conf conf;
};

struct run_totals {
    uint64_t runs, lives, crashes, messages, ops;
    uint64_t delayed, expired;    /* notices */
    uint64_t steered;             /* times that mail was held or cancelled */
    uint64_t life_ops[LIVES_MAX]; /* of the last run: operations per life */
    uint64_t life_reads[LIVES_MAX];
};
extern struct run_totals run_totals;

void run_begin(uint64_t seed, bool trace);
void run_plan(const struct plan *plan);
