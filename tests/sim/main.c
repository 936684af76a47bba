/* The simulator's two drives. */
#include "core/check.h"
#include "tests/sim/disk.h"
#include "tests/sim/life.h"
#include "tests/sim/net.h"
#include "tests/sim/oracle.h"
#include "tests/sim/peer.h"

#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

enum { LIVES_MAX = 6, STEPS_MAX = 4000000, DRAIN_S = 1200 };

void clients_reset(void);

/* What a run does, made from its seed or from a scenario. */
struct plan {
    unsigned lives; /* with faults; one without follows */
    struct {
        unsigned cores;
        enum sim_fault strike;
        uint64_t strike_at, strike_len;
        bool orderly;
    } life[LIVES_MAX];
    unsigned clients;
    struct client_plan client;
    bool faults;
    bool rot;
    struct life_conf conf;
};

static struct {
    uint64_t runs, lives, crashes, messages, ops;
} totals;

static void give_up_check(uint64_t began_steps, const char *what)
{
    if (sim.steps - began_steps > STEPS_MAX) {
        sim_fail("%s does not end", what);
    }
}

/* Until the process dies, or everybody has said what he had to say. */
static void live(const struct plan *plan, unsigned n)
{
    uint64_t began = sim.steps;
    uint64_t until_ns = sim.now_ns + sim_scale(1, 120) * MX_NS_PER_S;
    (void)plan;
    (void)n;
    while (!sim.dead && !life_failed() && !(clients_done() && sim.now_ns > until_ns)) {
        life_step();
        give_up_check(began, "a life");
    }
}

static void stop_orderly(bool drained)
{
    uint64_t began = sim.steps;
    life_stop();
    while (!sim.dead && !life_stopped()) {
        life_step();
        give_up_check(began, "an orderly end");
    }
    if (!sim.dead) {
        life_close(drained);
    }
}

static void one_life(const struct plan *plan, unsigned n)
{
    struct life_conf conf = plan->conf;
    conf.cores = plan->life[n].cores;
    sim.strike = plan->life[n].strike;
    sim.strike_at = plan->life[n].strike_at;
    sim.strike_len = plan->life[n].strike_len;
    life_boot(&conf);
    live(plan, n);
    bool power = sim.strike == FAULT_POWER;
    if (!sim.dead && plan->life[n].orderly && life_up() && !life_failed()) {
        stop_orderly(false);
        if (!sim.dead) {
            oracle_killed();
            return;
        }
    }
    totals.crashes++;
    life_bury(power);
}

/* The last life: no faults; the queue has to become empty, and everything to end. */
static void last_life(const struct plan *plan, unsigned cores, bool ghost)
{
    struct life_conf conf = plan->conf;
    conf.cores = cores;
    uint64_t began = sim.steps;
    sim.faults = false;
    sim.strike_at = 0;
    sim.full_until_ns = 0;
    if (ghost) {
        clients_stop();
    }
    life_boot(&conf);
    while (!life_up()) {
        life_step();
        if (life_failed()) {
            sim_fail("it does not start again");
        }
    }
    if (ghost && life_recovered() > 0) {
        sim_fail("%llu finished messages came back", (unsigned long long)life_recovered());
    }
    uint64_t until_ns = sim.now_ns + DRAIN_S * MX_NS_PER_S;
    while (life_queued() > 0 || !clients_done()) {
        life_step();
        give_up_check(began, "draining");
        if (sim.now_ns > until_ns && !oracle_rotten()) {
            sim_fail("%llu messages are still queued after %d s without faults",
                     (unsigned long long)life_queued(), DRAIN_S);
        } else if (sim.now_ns > until_ns) {
            break;
        }
    }
    stop_orderly(!oracle_rotten());
    oracle_killed();
}

static void run(uint64_t seed, const struct plan *plan)
{
    oracle_reset();
    peers_reset();
    net_reset();
    clients_reset();
    disk_format(UINT64_C(64) << 20);
    sim.faults = plan->faults;
    hops_start();
    for (unsigned i = 0; i < plan->clients; i++) {
        client_start(&plan->client);
    }
    for (unsigned i = 0; i < plan->lives; i++) {
        one_life(plan, i);
        if (plan->rot && disk_rot()) {
            oracle_rot();
        }
    }
    last_life(plan, 1 + (unsigned)sim_below(SIM_CORES_MAX), false);
    last_life(plan, 1 + (unsigned)sim_below(SIM_CORES_MAX), true);
    oracle_judge();
    totals.runs++;
    totals.lives += plan->lives + 2;
    totals.messages += oracle_count();
    totals.ops += sim.ops_all;
    (void)seed;
}

static void sim_begin(uint64_t seed, bool trace)
{
    const char *repeat = sim.repeat;
    memset(&sim, 0, sizeof sim);
    sim.seed = seed;
    sim.rng = seed * UINT64_C(0x2545f4914f6cdd1d) + 1;
    sim.trace = trace;
    sim.repeat = repeat;
    sim.wall_ms = INT64_C(1760000000000);
}

/* --- random seeds ------------------------------------------------------------------------------
 */

static void plan_random(struct plan *plan)
{
    static const enum sim_fault strikes[] = {FAULT_NONE,  FAULT_KILL, FAULT_KILL,   FAULT_POWER,
                                             FAULT_POWER, FAULT_IO,   FAULT_NOSPACE};
    *plan = (struct plan){.faults = !sim_chance(4),
                          .lives = (unsigned)sim_below(LIVES_MAX),
                          .clients = 1 + (unsigned)sim_below(6)};
    for (unsigned i = 0; i < plan->lives; i++) {
        plan->life[i].cores = 1 + (unsigned)sim_below(SIM_CORES_MAX);
        plan->life[i].strike = strikes[sim_below(mx_countof(strikes))];
        plan->life[i].strike_at = 1 + sim_scale(0, 1000);
        plan->life[i].strike_len = sim_scale(1, 200);
        if (plan->life[i].strike == FAULT_NOSPACE) {
            plan->life[i].strike_len = sim_scale(1, 60000);
        }
        plan->life[i].orderly = sim_chance(2);
    }
    plan->client = (struct client_plan){.messages = 1 + (unsigned)sim_below(6),
                                        .bytes_max = sim_chance(3) ? 700000 : 20000,
                                        .misbehave = sim_chance(2)};
    plan->conf = (struct life_conf){.retry_ms = sim_scale(500, 4000),
                                    .recv_bufs = 1U << sim_below(6),
                                    .sq_entries = 1U << sim_below(7),
                                    .segment_bytes = UINT64_C(1) << 20,
                                    .blocks = 4096};
}

static uint64_t run_seed(uint64_t seed, bool trace)
{
    struct plan plan;
    static char repeat[64];
    (void)snprintf(repeat, sizeof repeat, "--seed %llu", (unsigned long long)seed);
    sim.repeat = repeat;
    sim_begin(seed, trace);
    plan_random(&plan);
    run(seed, &plan);
    return sim.hash;
}

/* --- the program -------------------------------------------------------------------------------
 */

static void on_abort(int number)
{
    static char text[256];
    int len = snprintf(text, sizeof text,
                       "sim: FAILED: signal %d; seed %llu, commit %s; repeat: sim %s --trace\n",
                       number, (unsigned long long)sim.seed, SIM_COMMIT, sim.repeat);
    ssize_t written = write(STDERR_FILENO, text, (size_t)len);
    (void)written;
    _exit(1);
}

static double seconds(void)
{
    struct timespec now;
    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static int usage(void)
{
    fprintf(stderr, "usage: sim --seeds N [--from S] | --seed N [--trace]\n");
    return 2;
}

int main(int argc, char **argv)
{
    static const struct option options[] = {{"seeds", required_argument, NULL, 'n'},
                                            {"from", required_argument, NULL, 'f'},
                                            {"seed", required_argument, NULL, 's'},
                                            {"trace", no_argument, NULL, 't'},
                                            {NULL, 0, NULL, 0}};
    uint64_t seeds = 0, from = 1;
    bool trace = false;
    int option;
    while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
        switch (option) {
        case 'n':
            seeds = strtoull(optarg, NULL, 10);
            break;
        case 'f':
            from = strtoull(optarg, NULL, 10);
            break;
        case 's':
            from = strtoull(optarg, NULL, 10);
            seeds = 1;
            break;
        case 't':
            trace = true;
            break;
        default:
            return usage();
        }
    }
    if (seeds == 0) {
        return usage();
    }
    (void)signal(SIGABRT, on_abort);
    (void)signal(SIGSEGV, on_abort);
    life_setup();
    memory_keep();
    double began = seconds();
    uint64_t hash = 0;
    for (uint64_t seed = from; seed < from + seeds; seed++) {
        hash ^= run_seed(seed, trace);
    }
    printf("%llu runs, %llu lives, %llu crashes, %llu messages, %llu operations, %.1f s, trace "
           "%016llx\n",
           (unsigned long long)totals.runs, (unsigned long long)totals.lives,
           (unsigned long long)totals.crashes, (unsigned long long)totals.messages,
           (unsigned long long)totals.ops, seconds() - began, (unsigned long long)hash);
    return 0;
}
