/* The simulator's two drives. */
#include "commit.h"
#include "tests/sim/manager.h"
#include "tests/sim/networks.h"
#include "tests/sim/rates.h"
#include "tests/sim/run.h"
#include "tests/sim/scenario.h"

#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

/* --- random seeds ------------------------------------------------------------------------------
 */

/* Many messages through small segments, with next hops that keep some of them waiting: segments are
 * sealed, emptied by moves, freed and used again. */
static void plan_churn(struct plan *plan)
{
    plan->faults = true;
    plan->clients = 4;
    plan->client.messages = 10 + (unsigned)sim_below(10);
    plan->client.bytes_max = 120000;
    plan->conf.segment_bytes = UINT64_C(512) << 10;
    plan->conf.retry_ms = sim_scale(2000, 60000);
    for (unsigned i = 0; i < plan->lives; i++) {
        plan->life[i].cores = 1 + (unsigned)sim_below(2);
        plan->life[i].strike_at = 1 + sim_scale(0, 5000);
    }
}

static void plan_random(struct plan *plan)
{
    static const enum sim_fault strikes[] = {FAULT_NONE,  FAULT_KILL, FAULT_KILL,    FAULT_POWER,
                                             FAULT_POWER, FAULT_IO,   FAULT_NOSPACE, FAULT_READ};
    *plan = (struct plan){.faults = !sim_chance(4),
                          .clock_jumps = sim_chance(4),
                          .rot = sim_chance(10),
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
        plan->life[i].idle_ms = sim_scale(1, 60000);
    }
    plan->client = (struct client_plan){.messages = 1 + (unsigned)sim_below(6),
                                        .bytes_max = sim_chance(3) ? 1400000 : 20000,
                                        .misbehave = sim_chance(2),
                                        .second = sim_chance(2)};
    plan->conf = (struct life_conf){.retry_ms = sim_scale(500, 4000),
                                    .recv_bufs = 1U << sim_below(6),
                                    .sq_entries = 1U << sim_below(7),
                                    .segment_bytes = UINT64_C(1) << 20,
                                    .blocks = 4096};
    if (sim_chance(6)) {
        plan_churn(plan);
    }
    if (sim_chance(2)) {
        plan->conf.changes = 1 + (unsigned)sim_scale(0, 12);
        plan->conf.change_gap_ms = sim_scale(1, 3000);
    }
    if (sim_chance(5)) {
        plan->conf.expire_ms = 12 * plan->conf.retry_ms + sim_scale(20000, 300000);
        plan->conf.notify_ms = plan->conf.expire_ms / 4;
        plan->hops_away_ms = sim_scale(1000, 400000);
    }
    plan->read_errors = sim_chance(4) ? (unsigned)sim_scale(2, 300) : 0;
    plan->wide = sim_chance(2);
    plan->second = sim_chance(2);
}

/* Every eighth seed runs tuned to extremes, another under rates of what comes in, a third under
 * limits of the queue, a fourth with delivery schedules, a fifth with connections by recipient, few
 * of them; without drawing, so that the others stay as they are. */
static void tune(struct plan *plan, uint64_t seed)
{
    plan->conf.throttled = seed % 8 == 3;
    plan->conf.limited = seed % 8 == 7;
    plan->conf.mixed = seed % 8 == 2;
    plan->conf.performance.hop_connections = plan->conf.mixed ? seed / 8 % 5 : 0;
    if (seed % 8 == 6) {
        plan->conf.scheduled = true;
        plan->conf.retry_ms = plan->conf.notify_ms = plan->conf.expire_ms = 0;
        plan->hops_away_ms = seed / 8 % 4 * 40000;
    }
    if (seed % 8 == 5) {
        plan->conf.performance = (struct performance){.turn_completions = 1 + seed / 8 % 4,
                                                      .session_steps = 16,
                                                      .commit_delay_us = seed / 8 % 3 * 20000,
                                                      .commit_records = 1 + seed / 8 % 5,
                                                      .outcome_delay_ms = 1 + seed / 8 % 50,
                                                      .active_messages = 16,
                                                      .delivery_bytes = 1 << 20,
                                                      .hop_connections = 1 + seed / 8 % 2,
                                                      .connection_idle_ms = 1000,
                                                      .connection_transactions = 1 + seed / 8 % 2};
    }
}

/* Every second of those with limits has an administrator who pauses the virtual queue at times. */
static void operate(struct plan *plan, uint64_t seed)
{
    if (seed % 16 == 15) {
        plan->conf.steers = 4 + (unsigned)(seed / 16 % 10);
        plan->conf.change_gap_ms = 200 + seed % 1500;
    }
}

/* Every sixteenth seed has a crowd at the door, likewise. */
static void crowd(struct plan *plan, uint64_t seed)
{
    if (seed % 16 == 9) {
        plan->guests = 2 + (unsigned)(seed / 16 % 12);
        plan->second = true;
        plan->conf.crowd = true;
        plan->conf.changes = 4 + (unsigned)(seed / 16 % 10);
        plan->conf.change_gap_ms = 200 + seed % 1500;
    }
}

static uint64_t run_seed(uint64_t seed, bool trace)
{
    struct plan plan;
    static char repeat[64];
    (void)snprintf(repeat, sizeof repeat, "--seed %llu", (unsigned long long)seed);
    sim.repeat = repeat;
    run_begin(seed, trace);
    plan_random(&plan);
    tune(&plan, seed);
    crowd(&plan, seed);
    operate(&plan, seed);
    run_plan(&plan);
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
    fprintf(stderr, "usage: sim --seeds N [--from S] [--twice]  random runs; each twice, compared\n"
                    "       sim --seed N [--trace]          one of them\n"
                    "       sim --exhaustive [--scenario NAME] [--fault F] [--part K/N] [--stride "
                    "N] [--variant N] [--every]\n"
                    "       sim --scenario NAME [--fault F --at N] [--variant N] [--trace]\n"
                    "       sim --list                      names of scenarios\n"
                    "       sim --load N                    so many messages without faults\n");
    return 2;
}

struct args {
    uint64_t seeds, from, at;
    unsigned part, parts, stride, variant, load;
    const char *scenario, *fault;
    bool exhaustive, every, list, trace, twice;
};

static bool args_parse(struct args *args, int argc, char **argv)
{
    static const struct option options[] = {
        {"seeds", required_argument, NULL, 'n'},   {"from", required_argument, NULL, 'f'},
        {"seed", required_argument, NULL, 's'},    {"trace", no_argument, NULL, 't'},
        {"exhaustive", no_argument, NULL, 'e'},    {"part", required_argument, NULL, 'p'},
        {"stride", required_argument, NULL, 'd'},  {"scenario", required_argument, NULL, 'c'},
        {"fault", required_argument, NULL, 'u'},   {"at", required_argument, NULL, 'a'},
        {"list", no_argument, NULL, 'l'},          {"twice", no_argument, NULL, 'w'},
        {"variant", required_argument, NULL, 'v'}, {"load", required_argument, NULL, 'o'},
        {"every", no_argument, NULL, 'y'},         {NULL, 0, NULL, 0}};
    *args = (struct args){.from = 1, .parts = 1, .stride = 1};
    int option;
    while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
        switch (option) {
        case 'n':
            args->seeds = strtoull(optarg, NULL, 10);
            break;
        case 'f':
            args->from = strtoull(optarg, NULL, 10);
            break;
        case 's':
            args->from = strtoull(optarg, NULL, 10);
            args->seeds = 1;
            break;
        case 't':
            args->trace = true;
            break;
        case 'e':
            args->exhaustive = true;
            break;
        case 'p':
            if (sscanf(optarg, "%u/%u", &args->part, &args->parts) != 2 || args->parts == 0) {
                return false;
            }
            break;
        case 'd':
            args->stride = (unsigned)strtoul(optarg, NULL, 10);
            break;
        case 'c':
            args->scenario = optarg;
            break;
        case 'u':
            args->fault = optarg;
            break;
        case 'a':
            args->at = strtoull(optarg, NULL, 10);
            break;
        case 'v':
            args->variant = (unsigned)strtoul(optarg, NULL, 10);
            break;
        case 'w':
            args->twice = true;
            break;
        case 'l':
            args->list = true;
            break;
        case 'y':
            args->every = true;
            break;
        case 'o':
            args->load = (unsigned)strtoul(optarg, NULL, 10);
            break;
        default:
            return false;
        }
    }
    return args->stride > 0 && (args->seeds > 0 || args->load > 0 || args->exhaustive ||
                                args->list || args->scenario != NULL);
}

static void print_totals(double took, uint64_t hash)
{
    printf("%llu recipients were told that their mail is late, %llu that it was given up\n",
           (unsigned long long)run_totals.delayed, (unsigned long long)run_totals.expired);
    printf("%llu configurations tried, %llu refused, %llu in force, %llu of them late\n",
           (unsigned long long)manager_counts.tried, (unsigned long long)manager_counts.refused,
           (unsigned long long)manager_counts.done, (unsigned long long)manager_counts.late);
    printf("%llu connections and recipients were over a rate, %llu refusals waited\n",
           rates_refused, rates_errors);
    printf("%llu times a session was seen beside another one of its network\n", networks_shared);
    printf("%llu times mail was held, cancelled or bounced\n",
           (unsigned long long)run_totals.steered);
    printf("%llu runs, %llu lives, %llu crashes, %llu messages, %llu operations, %.1f s, trace "
           "%016llx\n",
           (unsigned long long)run_totals.runs, (unsigned long long)run_totals.lives,
           (unsigned long long)run_totals.crashes, (unsigned long long)run_totals.messages,
           (unsigned long long)run_totals.ops, took, (unsigned long long)hash);
}

int main(int argc, char **argv)
{
    struct args args;
    if (!args_parse(&args, argc, argv)) {
        return usage();
    }
    if (args.list) {
        scenarios_list();
        return 0;
    }
    (void)signal(SIGABRT, on_abort);
    (void)signal(SIGSEGV, on_abort);
    life_setup();
    memory_keep();
    double began = seconds();
    uint64_t hash = 0;
    if (args.exhaustive) {
        struct scenario_count count;
        if (!scenarios_run(args.scenario, args.fault, args.variant, args.part, args.parts,
                           args.stride, args.every, &count)) {
            return usage();
        }
        printf("%llu points\n", (unsigned long long)count.points);
    } else if (args.scenario != NULL) {
        if (!scenario_repeat(args.scenario, args.fault, args.at, args.variant, args.trace)) {
            return usage();
        }
        hash = sim.hash;
    } else if (args.load > 0) {
        scenario_load(args.load);
        hash = sim.hash;
    }
    for (uint64_t seed = args.from; seed < args.from + args.seeds; seed++) {
        uint64_t one = run_seed(seed, args.trace);
        if (args.twice && run_seed(seed, false) != one) {
            sim_fail("the same seed gave two different runs");
        }
        hash ^= one;
    }
    print_totals(seconds() - began, hash);
    return 0;
}
