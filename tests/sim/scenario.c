#include "tests/sim/scenario.h"

#include "route/dir_record.h"
#include "tests/sim/run.h"

#include <stdio.h>
#include <string.h>

struct scenario {
    const char *name;
    uint64_t seed;
    unsigned struck; /* the life that meets the fault */
    struct plan plan;
    unsigned sparse; /* a long one: one operation in so many, unless every is asked for; 0: all */
};

#define CONF(segment_kib, retry)                                      \
    {                                                                 \
        .retry_ms = (retry), .recv_bufs = 8, .sq_entries = 16,        \
        .segment_bytes = (segment_kib)*UINT64_C(1024), .blocks = 4096 \
    }

#define CONF_CHANGES(segment_kib, retry, count, gap_ms)                                    \
    {                                                                                      \
        .retry_ms = (retry), .recv_bufs = 8, .sq_entries = 16,                             \
        .segment_bytes = (segment_kib)*UINT64_C(1024), .blocks = 4096, .changes = (count), \
        .change_gap_ms = (gap_ms)                                                          \
    }

static const struct scenario scenarios[] = {
    {"small",
     1,
     0,
     {.lives = 1,
      .life = {{.cores = 1, .idle_ms = 500}},
      .clients = 2,
      .client = {.messages = 3, .bytes_max = 4000},
      .conf = CONF(1024, 1000)}},
    {"three-cores",
     2,
     0,
     {.lives = 1,
      .life = {{.cores = 3, .idle_ms = 500}},
      .clients = 6,
      .client = {.messages = 2, .bytes_max = 4000},
      .conf = CONF(1024, 1000)}},
    {"large",
     3,
     0,
     {.lives = 1,
      .life = {{.cores = 1, .idle_ms = 500}},
      .clients = 2,
      .client = {.messages = 2, .bytes_max = 700000},
      .conf = CONF(1024, 1000)}},
    {"unkind-hops",
     4,
     0,
     {.lives = 1,
      .life = {{.cores = 2, .idle_ms = 15000}},
      .clients = 4,
      .faults = true,
      .client = {.messages = 4, .bytes_max = 2000},
      .conf = CONF(1024, 200)}},
    {"second-start",
     5,
     1,
     {.lives = 2,
      .life = {{.cores = 2, .strike = FAULT_KILL, .strike_at = 150}, {.cores = 1, .idle_ms = 3000}},
      .clients = 4,
      .faults = true,
      .client = {.messages = 4, .bytes_max = 400000},
      .conf = CONF(1024, 1000)}},
    {"more-cores",
     6,
     1,
     {.lives = 2,
      .life = {{.cores = 1, .strike = FAULT_POWER, .strike_at = 130},
               {.cores = 4, .idle_ms = 3000}},
      .clients = 4,
      .faults = true,
      .client = {.messages = 4, .bytes_max = 300000},
      .conf = CONF(1024, 1000)}},
    {"third-start",
     107,
     2,
     {.lives = 3,
      .life = {{.cores = 4, .strike = FAULT_KILL, .strike_at = 200},
               {.cores = 2, .strike = FAULT_KILL, .strike_at = 120},
               {.cores = 3, .idle_ms = 3000}},
      .clients = 5,
      .faults = true,
      .client = {.messages = 5, .bytes_max = 200000},
      .conf = CONF(1024, 1000)}},
    {"segments",
     28,
     0,
     {.lives = 1,
      .life = {{.cores = 1, .idle_ms = 3000}},
      .clients = 4,
      .faults = true,
      .client = {.messages = 6, .bytes_max = 800000},
      .conf = CONF(768, 1000)},
     4},
    {"configuration",
     21,
     0,
     {.lives = 1,
      .life = {{.cores = 2, .idle_ms = 500}},
      .clients = 4,
      .faults = true,
      .wide = true,
      .client = {.messages = 3, .bytes_max = 4000, .second = true},
      .conf = CONF_CHANGES(1024, 1000, 8, 200)}},
    {"configuration-restart",
     12,
     1,
     {.lives = 2,
      .life = {{.cores = 3, .strike = FAULT_KILL, .strike_at = 160}, {.cores = 2, .idle_ms = 500}},
      .clients = 4,
      .faults = true,
      .wide = true,
      .second = true,
      .client = {.messages = 3, .bytes_max = 4000, .second = true},
      .conf = CONF_CHANGES(1024, 1000, 6, 300)}},
    {"lists",
     13,
     0,
     {.lives = 1,
      .life = {{.cores = 2, .idle_ms = 3000}},
      .clients = 4,
      .wide = true,
      .client = {.messages = 4, .bytes_max = 300000},
      .conf = CONF(1024, 1000)}},
    {"proxy",
     14,
     0,
     {.lives = 1,
      .life = {{.cores = 2, .idle_ms = 500}},
      .clients = 6,
      .second = true,
      .client = {.messages = 2, .bytes_max = 2000, .second = true},
      .conf = CONF(1024, 1000)}},
    {"expiry",
     15,
     0,
     {.lives = 1,
      .life = {{.cores = 2, .idle_ms = 60000}},
      .clients = 3,
      .hops_away_ms = 50000,
      .client = {.messages = 2, .bytes_max = 2000},
      .conf = {.retry_ms = 4000,
               .notify_ms = 5000,
               .expire_ms = 40000,
               .recv_bufs = 8,
               .sq_entries = 16,
               .segment_bytes = UINT64_C(1024) << 10,
               .blocks = 4096}}},
    {"rot",
     16,
     1,
     {.lives = 2,
      .life = {{.cores = 2, .strike = FAULT_KILL, .strike_at = 140}, {.cores = 2, .idle_ms = 3000}},
      .clients = 4,
      .faults = true,
      .rot = true,
      .client = {.messages = 4, .bytes_max = 20000},
      .conf = CONF(1024, 1000)}},
    {"clock-jumps",
     17,
     0,
     {.lives = 1,
      .life = {{.cores = 2, .idle_ms = 5000}},
      .clients = 4,
      .faults = true,
      .clock_jumps = true,
      .client = {.messages = 3, .bytes_max = 4000},
      .conf = CONF(1024, 1000)}},
    {"one-buffer",
     18,
     0,
     {.lives = 1,
      .life = {{.cores = 1, .idle_ms = 1000}},
      .clients = 5,
      .faults = true,
      .client = {.messages = 2, .bytes_max = 40000},
      .conf = {.retry_ms = 1000,
               .recv_bufs = 1,
               .sq_entries = 1,
               .segment_bytes = UINT64_C(1024) << 10,
               .blocks = 64}}},
    {"kill-then-power",
     310,
     1,
     {.lives = 3,
      .life = {{.cores = 2, .strike = FAULT_KILL, .strike_at = 900},
               {.cores = 1, .idle_ms = 1000},
               {.cores = 3, .strike = FAULT_POWER, .idle_ms = 1000}},
      .clients = 4,
      .faults = true,
      .client = {.messages = 15, .bytes_max = 60000},
      .conf = {.retry_ms = 30000,
               .recv_bufs = 8,
               .sq_entries = 16,
               .segment_bytes = UINT64_C(512) << 10,
               .blocks = 4096}}},
    {"verify",
     22,
     0,
     {.lives = 1,
      .life = {{.cores = 2, .idle_ms = 500}},
      .clients = 4,
      .client = {.messages = 3, .bytes_max = 2000},
      .conf = {.retry_ms = 1000,
               .recv_bufs = 8,
               .sq_entries = 16,
               .segment_bytes = UINT64_C(1024) << 10,
               .blocks = 4096,
               .performance = {.verify_cache = 64},
               .verify = DIR_VERIFY_ELSE_DEFER}}},
    {"verify-unkind",
     23,
     0,
     {.lives = 1,
      .life = {{.cores = 2, .idle_ms = 3000}},
      .clients = 5,
      .faults = true,
      .wide = true,
      .client = {.messages = 4, .bytes_max = 2000, .misbehave = true},
      .conf = {.retry_ms = 200,
               .recv_bufs = 8,
               .sq_entries = 16,
               .segment_bytes = UINT64_C(1024) << 10,
               .blocks = 4096,
               .performance = {.verify_cache = 16,
                               .verify_timeout_ms = 1000,
                               .verify_connections = 2,
                               .verify_questions = 32},
               .mixed = true,
               .verify = DIR_VERIFY_ELSE_ACCEPT,
               .changes = 6,
               .change_gap_ms = 200}}},
    {"operator",
     24,
     1,
     {.lives = 3,
      .life = {{.cores = 2, .strike = FAULT_KILL, .strike_at = 160},
               {.cores = 2, .idle_ms = 500},
               {.cores = 1, .strike = FAULT_POWER, .idle_ms = 500}},
      .clients = 4,
      .faults = true,
      .hops_away_ms = 4000,
      .client = {.messages = 4, .bytes_max = 4000},
      .conf = {.retry_ms = 300,
               .recv_bufs = 8,
               .sq_entries = 16,
               .segment_bytes = UINT64_C(512) << 10,
               .blocks = 4096,
               .steers = 12,
               .change_gap_ms = 400}}},
    {"crowd",
     25,
     0,
     {.lives = 1,
      .life = {{.cores = 3, .idle_ms = 500}},
      .clients = 2,
      .guests = 12,
      .second = true,
      .client = {.messages = 2, .bytes_max = 2000, .second = true},
      .conf = {.retry_ms = 1000,
               .recv_bufs = 8,
               .sq_entries = 16,
               .segment_bytes = UINT64_C(1024) << 10,
               .blocks = 4096,
               .crowd = true,
               .changes = 20,
               .change_gap_ms = 800}}},
    {"schedules",
     26,
     1,
     {.lives = 2,
      .life = {{.cores = 2, .strike = FAULT_KILL, .strike_at = 150},
               {.cores = 3, .idle_ms = 30000}},
      .clients = 4,
      .faults = true,
      .hops_away_ms = 20000,
      .client = {.messages = 4, .bytes_max = 4000},
      .conf = {.scheduled = true,
               .recv_bufs = 8,
               .sq_entries = 16,
               .segment_bytes = UINT64_C(1024) << 10,
               .blocks = 4096,
               .changes = 4,
               .change_gap_ms = 3000}}},
    {"schedules-asked",
     27,
     0,
     {.lives = 1,
      .life = {{.cores = 2, .idle_ms = 8000}},
      .clients = 4,
      .client = {.messages = 4, .bytes_max = 20000},
      .conf = {.scheduled = true,
               .recv_bufs = 8,
               .sq_entries = 16,
               .segment_bytes = UINT64_C(1024) << 10,
               .blocks = 4096}}},
    {"reports-on-a-full-disk",
     29,
     0,
     {.lives = 1,
      .life = {{.cores = 1, .idle_ms = 120000}},
      .clients = 4,
      .hops_away_ms = 180000,
      .disk_bytes = UINT64_C(1) << 20,
      .client = {.messages = 40, .bytes_max = 4000},
      .conf = {.retry_ms = 60000,
               .notify_ms = 3000000,
               .expire_ms = 60000,
               .recv_bufs = 8,
               .sq_entries = 16,
               .segment_bytes = UINT64_C(256) << 10,
               .blocks = 4096}},
     50},
    {"deferrals-on-a-full-disk",
     30,
     0,
     {.lives = 1,
      .life = {{.cores = 1, .idle_ms = 25000}},
      .clients = 4,
      .hops_away_ms = 12000,
      .disk_bytes = UINT64_C(1) << 20,
      .client = {.messages = 40, .bytes_max = 4000},
      .conf = {.retry_ms = 500,
               .notify_ms = 3000000,
               .expire_ms = 3000000,
               .recv_bufs = 8,
               .sq_entries = 16,
               .segment_bytes = UINT64_C(256) << 10,
               .blocks = 4096}},
     100},
    {"orderly-end",
     9,
     0,
     {.lives = 1,
      .life = {{.cores = 2, .idle_ms = 0, .orderly = true}},
      .clients = 4,
      .faults = true,
      .client = {.messages = 3, .bytes_max = 20000},
      .conf = CONF(1024, 1000)}},
};

static const struct {
    const char *name;
    enum sim_fault fault;
    unsigned variant;
    uint64_t len;
    unsigned step; /* 4: every fourth operation, unless all are wanted */
} strikes[] = {
    {"kill", FAULT_KILL, 0, 0, 1},         {"power", FAULT_POWER, 0, 0, 1},
    {"power-again", FAULT_POWER, 1, 0, 4}, {"io", FAULT_IO, 0, 1, 4},
    {"io-long", FAULT_IO, 0, 30, 8},       {"full", FAULT_NOSPACE, 0, 5000, 8},
    {"read", FAULT_READ, 0, 1, 1},         {"read-long", FAULT_READ, 0, 20, 1},
};

static void run_point(const struct scenario *scenario, size_t strike, uint64_t at, unsigned variant,
                      bool trace)
{
    static char repeat[128];
    (void)snprintf(repeat, sizeof repeat, "--scenario %s --fault %s --at %llu --variant %u",
                   scenario->name, at == 0 ? "none" : strikes[strike].name, (unsigned long long)at,
                   variant);
    struct plan plan = scenario->plan;
    if (at > 0) {
        plan.life[scenario->struck].strike = strikes[strike].fault;
        plan.life[scenario->struck].strike_at = at;
        plan.life[scenario->struck].strike_len = strikes[strike].len;
    }
    sim.repeat = repeat;
    run_begin(scenario->seed, trace);
    sim.variant = strikes[strike].variant + 2 * variant;
    run_plan(&plan);
}

bool scenarios_run(const char *only, const char *fault, unsigned variant, unsigned part,
                   unsigned parts, unsigned stride, bool every, struct scenario_count *out)
{
    uint64_t number = 0;
    bool found = false;
    *out = (struct scenario_count){0};
    for (size_t i = 0; i < mx_countof(scenarios); i++) {
        if (only != NULL && strcmp(only, scenarios[i].name) != 0) {
            continue;
        }
        found = true;
        run_point(&scenarios[i], 0, 0, 0, false);
        uint64_t ops = run_totals.life_ops[scenarios[i].struck];
        uint64_t reads = run_totals.life_reads[scenarios[i].struck];
        uint64_t points = 0, sparse = scenarios[i].sparse;
        for (size_t s = 0; s < mx_countof(strikes); s++) {
            if (fault != NULL && strcmp(fault, strikes[s].name) != 0) {
                continue;
            }
            for (uint64_t at = 1; at <= (strikes[s].fault == FAULT_READ ? reads : ops);
                 at += every ? 1 : strikes[s].step * (sparse > 0 ? sparse : 1)) {
                if (number++ % ((uint64_t)parts * stride) == part) {
                    run_point(&scenarios[i], s, at, variant, false);
                    points++;
                }
            }
        }
        printf("%-21s %6llu operations %6llu reads %7llu points\n", scenarios[i].name,
               (unsigned long long)ops, (unsigned long long)reads, (unsigned long long)points);
        fflush(stdout);
        out->operations += ops;
        out->points += points;
    }
    return found;
}

bool scenario_repeat(const char *name, const char *fault, uint64_t at, unsigned variant, bool trace)
{
    for (size_t i = 0; i < mx_countof(scenarios); i++) {
        for (size_t s = 0; s < mx_countof(strikes); s++) {
            if (strcmp(scenarios[i].name, name) == 0 &&
                (at == 0 || strcmp(strikes[s].name, fault == NULL ? "kill" : fault) == 0)) {
                run_point(&scenarios[i], s, at, variant, trace);
                return true;
            }
        }
    }
    return false;
}

void scenario_load(unsigned messages)
{
    struct plan plan = {.lives = 1,
                        .life = {{.cores = 1, .idle_ms = 500}},
                        .clients = 4,
                        .client = {.messages = messages / 4, .bytes_max = 8192},
                        .conf = CONF(16384, 1000)};
    run_begin(1, false);
    run_plan(&plan);
}

void scenarios_list(void)
{
    for (size_t i = 0; i < mx_countof(scenarios); i++) {
        printf("%s\n", scenarios[i].name);
    }
}
