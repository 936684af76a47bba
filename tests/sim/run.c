#include "tests/sim/run.h"
#include "tests/sim/limits.h"
#include "tests/sim/rates.h"
#include "tests/sim/schedules.h"

#include "tests/sim/crowd.h"
#include "tests/sim/disk.h"
#include "tests/sim/net.h"
#include "tests/sim/oracle.h"
#include "tests/sim/settings.h"
#include "tests/sim/strategies.h"

enum {
    STEPS_MAX = 8000000, /* a message of bytes_max may come in pieces of a few bytes */
    DRAIN_S = 2400,
    DRAIN_ROT_S = 20,
    QUIET_S = 600,
    MAIL_BYTES_MORE = 2048,
    NOTICE_BYTES = 4096,
    LISTS_IN_LISTS = 2,
    JUMP_MAX_S = 600
};

#define DISK_BYTES (UINT64_C(64) << 20)

void clients_reset(void);

struct run_totals run_totals;

static void give_up_check(uint64_t began_steps, const char *what)
{
    if (sim.steps - began_steps > STEPS_MAX) {
        sim_fail("%s does not end", what);
    }
}

static void clock_jump(void)
{
    int64_t jump_ms = (int64_t)sim_scale(1, JUMP_MAX_S * 1000);
    if (sim_chance(2)) {
        jump_ms = -jump_ms;
    }
    sim.wall_ms += jump_ms;
    sim_say("the clock jumps by %lld ms", (long long)jump_ms);
}

/* Until the process dies, or everybody has said what he had to say. */
static void live(const struct plan *plan, unsigned n)
{
    uint64_t began = sim.steps;
    uint64_t idle_ns = plan->life[n].idle_ms * MX_NS_PER_MS;
    uint64_t until_ns = UINT64_MAX;
    while (!sim.dead && !life_failed() && sim.now_ns < until_ns) {
        life_step();
        if (until_ns == UINT64_MAX && clients_done() && crowd_done() && life_changed()) {
            until_ns = sim.now_ns + idle_ns;
        }
        if (plan->clock_jumps && sim_chance(2000)) {
            clock_jump();
        }
        give_up_check(began, "a life");
    }
}

static void stop_orderly(bool drained)
{
    uint64_t began = sim.steps;
    crowd_calm(false);
    sim.ending = true;
    life_stop();
    while (!sim.dead && !life_stopped()) {
        life_step();
        give_up_check(began, "an orderly end");
    }
    if (!sim.dead) {
        life_close(drained);
    }
}

/* A message may become a failure notice per recipient, and one to the members of a list and of a
 * list in it. */
static struct life_load load_of(const struct plan *plan)
{
    size_t guests = (size_t)plan->guests * CROWD_SESSIONS * 2; /* messages of theirs */
    size_t sent = (size_t)plan->clients * plan->client.messages + guests;
    size_t bytes =
        mx_max_size(plan->client.bytes_max, guests > 0 ? CROWD_MAIL_BYTES : 0) + MAIL_BYTES_MORE;
    size_t copies = plan->wide ? 1 + LISTS_IN_LISTS : 1;
    size_t notices = MAIL_RCPTS_MAX + (plan->wide ? MAIL_MEMBERS_MAX / 2 : 0);
    return (struct life_load){.messages = sent * (copies + notices),
                              .content = sent * (copies * bytes + notices * NOTICE_BYTES),
                              .largest = bytes,
                              .sessions = 4 * ((size_t)plan->clients + plan->guests)};
}

static void one_life(const struct plan *plan, unsigned n)
{
    struct life_conf conf = plan->conf;
    conf.load = load_of(plan);
    conf.cores = plan->life[n].cores;
    sim.strike = plan->life[n].strike;
    sim.strike_at = plan->life[n].strike_at;
    sim.strike_len = plan->life[n].strike_len;
    life_boot(&conf);
    crowd_calm(true);
    live(plan, n);
    bool power = sim.strike == FAULT_POWER;
    if (!sim.dead && plan->life[n].orderly && life_running()) {
        stop_orderly(false);
        if (!sim.dead) {
            oracle_killed();
            return;
        }
    }
    run_totals.crashes++;
    crowd_calm(false);
    life_bury(power);
}

/* The last life: no faults; the queue has to become empty, and everything to end. */
static void last_life(const struct plan *plan, unsigned cores, bool ghost)
{
    struct life_conf conf = plan->conf;
    conf.load = load_of(plan);
    conf.cores = cores;
    uint64_t began = sim.steps;
    sim.faults = false;
    sim.strike_at = 0;
    sim.full_until_ns = 0;
    disk_resize(DISK_BYTES);
    conf.release = !ghost && conf.steers > 0;
    conf.steers = 0;
    if (ghost) {
        conf.changes = 0;
        clients_stop();
        crowd_stop();
    }
    life_boot(&conf);
    crowd_calm(true);
    while (!life_up()) {
        life_step();
        if (life_failed()) {
            sim_fail("it does not start again");
        }
    }
    if (ghost && life_recovered() > 0 && !oracle_rotten()) {
        sim_fail("%llu finished messages came back", (unsigned long long)life_recovered());
    }
    /* What has rotted is tried for days; nobody waits for that here. */
    uint64_t until_ns = sim.now_ns + (oracle_rot_lost() ? DRAIN_ROT_S : DRAIN_S) * MX_NS_PER_S;
    while (life_queued() > 0 || !clients_done() || !crowd_done() || !life_changed()) {
        life_step();
        give_up_check(began, "draining");
        if (sim.now_ns > until_ns && !oracle_rot_lost()) {
            sim_fail("%llu messages are still queued after %d s without faults",
                     (unsigned long long)life_queued(), DRAIN_S);
        } else if (sim.now_ns > until_ns) {
            break;
        }
    }
    until_ns = sim.now_ns + QUIET_S * MX_NS_PER_S;
    while (life_leftovers(sim.now_ns > until_ns)) {
        life_step();
    }
    stop_orderly(!oracle_rot_lost());
    oracle_killed();
}

void run_plan(const struct plan *plan)
{
    oracle_reset(&(struct oracle_conf){.wide = plan->wide,
                                       .notify_ns = plan->conf.notify_ms * MX_NS_PER_MS,
                                       .expire_ns = plan->conf.expire_ms * MX_NS_PER_MS,
                                       .clock_jumps = plan->clock_jumps,
                                       .calm = !plan->faults && plan->hops_away_ms == 0});
    peers_reset();
    net_reset();
    clients_reset();
    crowd_reset();
    rates_reset(plan->conf.throttled);
    limits_reset(plan->conf.limited);
    strategies_reset(plan->conf.mixed);
    schedules_reset(plan->conf.scheduled, !plan->faults);
    settings_reset(plan->second);
    disk_format(plan->disk_bytes > 0 ? plan->disk_bytes : DISK_BYTES);
    sim.faults = plan->faults;
    sim.read_errors = plan->read_errors;
    sim.memory_errors = plan->memory_errors;
    sim.hops_from_ns = plan->hops_away_ms * MX_NS_PER_MS;
    hops_start();
    dns_start();
    for (unsigned i = 0; i < plan->clients; i++) {
        struct client_plan client = plan->client;
        client.verify = plan->conf.verify;
        client_start(&client);
    }
    crowd_start(plan->guests);
    for (unsigned i = 0; i < plan->lives; i++) {
        one_life(plan, i);
        run_totals.life_ops[i] = sim.ops;
        run_totals.life_reads[i] = sim.reads;
        enum disk_rot rot = plan->rot ? disk_rot() : ROT_NOTHING;
        if (rot != ROT_NOTHING) {
            oracle_rot(rot == ROT_RECORDS);
        }
    }
    last_life(plan, 1 + (unsigned)sim_below(SIM_CORES_MAX), false);
    last_life(plan, 1 + (unsigned)sim_below(SIM_CORES_MAX), true);
    oracle_judge();
    run_totals.runs++;
    run_totals.lives += plan->lives + 2;
    run_totals.messages += oracle_count();
    oracle_notices(&run_totals.delayed, &run_totals.expired);
    run_totals.steered += oracle_changes();
    run_totals.ops += sim.ops_all;
}

void run_begin(uint64_t seed, bool trace)
{
    const char *repeat = sim.repeat;
    memset(&sim, 0, sizeof sim);
    sim.seed = seed;
    sim.rng = seed * UINT64_C(0x2545f4914f6cdd1d) + 1;
    sim.trace = trace;
    sim.repeat = repeat;
    sim.wall_ms = INT64_C(1760000000000);
}
