#include "tests/sim/life.h"

#include "tests/sim/limits.h"
#include "tests/sim/rates.h"
#include "tests/sim/settings.h"

#include "admin/bindings.h"
#include "core/check.h"
#include "io/mbox.h"
#include "io/sys.h"
#include "smtp/hop.h"
#include "smtp/service.h"
#include "smtp/spool_index.h"
#include "tests/sim/answers.h"
#include "tests/sim/bound.h"
#include "tests/sim/crowd.h"
#include "tests/sim/disk.h"
#include "tests/sim/log_lines.h"
#include "tests/sim/manager.h"
#include "tests/sim/net.h"
#include "tests/sim/networks.h"
#include "tests/sim/oracle.h"
#include "tests/sim/peer.h"

#include <stdio.h>
#include <stdlib.h>

enum {
    MAX_STEP_NS = 20000,
    GROUP_BYTES = 384 * 1024,
    CONNECTIONS_EVERY = 16, /* steps */
    RATE_BUCKETS = 64,
    KEYS_SEED = 7,
};

void life_setup(void)
{
    settings_setup();
}

/* The name server is dns.c. */
static const struct names names = {
    .resolv = {.servers = {{.family = 4, .bytes = {10, 0, 0, 53}, .port = 53}},
               .server_count = 1,
               .timeout_ms = 1000,
               .attempts = 2}};

/* --- one process -------------------------------------------------------------------------------
 */

struct core {
    struct shard shard;
    struct service service;
    struct service_conf conf;
    mx_err err;
    const char *what;
    bool opened, stopped;
    struct mbox_msg start_msg, stop_msg;
};

static struct {
    struct life_conf conf;
    struct core cores[SIM_CORES_MAX];
    struct journal_store *store;
    struct mbox_hub *hub;
    struct bindings bindings;
    struct session_count *sessions;
    struct rate_table *rates;
    struct expr_metrics metrics; /* nobody collects any */
    struct log log;
    bool running, failed, stop, may_close, closing;
} life;

static void service_stopped(struct service *service)
{
    shard_stop(service->shard);
}

static void on_start(struct mbox_msg *msg, struct shard *at)
{
    (void)msg;
    service_start(at->service);
}

static void on_stop(struct mbox_msg *msg, struct shard *at)
{
    (void)msg;
    service_stop(at->service);
}

static void core_run(void *arg)
{
    struct core *core = arg;
    core->what = "ring";
    core->err = shard_open(&core->shard);
    if (!core->err) {
        core->err = service_open(&core->service, &core->shard, &core->conf, &core->what);
    }
    core->opened = true;
    if (core->err) {
        return;
    }
    shard_run(&core->shard);
    core->stopped = true;
    while (!life.may_close) {
        fiber_wait(UINT64_MAX, &life.may_close);
    }
}

static struct service *service_at(unsigned core)
{
    return &life.cores[core].service;
}

static mx_err core_prepare(unsigned index)
{
    struct core *core = &life.cores[index];
    struct shard_conf conf = {
        .id = index,
        .count = life.conf.cores,
        .cpu = -1,
        .blocks_max = life.conf.blocks,
        .workers = 2,
        .log_level = sim.trace ? LOG_INFO : LOG_ERROR,
        .ring = {.recv_bufs = life.conf.recv_bufs, .sq_entries = life.conf.sq_entries},
        .hub = life.hub};
    const struct config *config = manager_config();
    *core = (struct core){0};
    core->conf = (struct service_conf){.image = &config->image,
                                       .domains = config->domains,
                                       .domain_count = config->domain_count,
                                       .addresses = config->addresses,
                                       .address_count = config->address_count,
                                       .hash_seed = sim_random(),
                                       .store = life.store,
                                       .takeover = manager_takeover(),
                                       .sessions = life.sessions,
                                       .rates = life.rates,
                                       .keys_seed = KEYS_SEED,
                                       .names = &names,
                                       .deliver = {.retry_ms = life.conf.retry_ms,
                                                   .mail_root = "/ringmx/mail",
                                                   .metrics = &life.metrics},
                                       .listen_fds = bindings_of(&life.bindings, index),
                                       .cert_pem = config->image.certificate->cert_pem,
                                       .key_pem = config->image.certificate->key_pem,
                                       .stopped = service_stopped};
    if (life.conf.crowd) {
        core->conf.offences = (struct offence_conf){
            .hub = life.hub, .from = index, .to = life.conf.cores + 1, .receive = crowd_offences};
    }
    struct schedule *schedule = &core->conf.deliver.schedule;
    schedule_default(schedule);
    if (life.conf.expire_ms > 0) {
        schedule->expire_ms = life.conf.expire_ms;
        schedule->notify_count = 1;
        schedule->notify_ms[0] = life.conf.notify_ms;
    }
    return shard_init(&core->shard, &conf);
}

static mx_err parts_open(void)
{
    struct journal_conf journal = {.node = 1,
                                   .first_segment_bytes = life.conf.segment_bytes,
                                   .segment_bytes = life.conf.segment_bytes,
                                   .reserve_bytes = 4096,
                                   .group_bytes = life.conf.group_bytes,
                                   .kept_bytes = 256 * 1024};
    life.metrics.values[EXPR_METRIC_QUEUED] = 5;
    life.metrics.collected = true;
    mx_err err = sys_mkdirs("/ringmx/mail");
    if (!err) {
        err = session_count_new(&life.sessions, life.conf.cores, IMAGE_LISTENERS_MAX, 1);
    }
    if (!err) {
        err = rate_table_new(&life.rates, RATE_BUCKETS, 1);
    }
    if (!err) {
        err = mbox_hub_new(&life.hub, life.conf.cores);
    }
    if (!err) {
        err = journal_store_open(&life.store, "/ringmx/journal", &journal, &life.log);
    }
    return err;
}

static mx_err management_open(void)
{
    struct config_problem problem;
    struct manager_conf conf = {.hub = life.hub,
                                .cores = life.conf.cores,
                                .log_level = sim.trace ? LOG_INFO : LOG_ERROR,
                                .service = service_at,
                                .changes = life.conf.changes,
                                .change_gap_ms = life.conf.change_gap_ms,
                                .crowd = life.conf.crowd,
                                .steers = life.conf.steers,
                                .release = life.conf.release};
    mx_err err = manager_open(&conf, life.store);
    while (!err) {
        err = bindings_open(&life.bindings, &manager_config()->image, NULL, life.conf.cores, 0,
                            &problem);
        if (!err) {
            break;
        }
        err = MX_OK; /* no socket is free just now: the operator tries again */
    }
    return err;
}

static mx_err cores_open(void)
{
    mx_err err = MX_OK;
    for (unsigned i = 0; !err && i < life.conf.cores; i++) {
        err = core_prepare(i);
    }
    for (unsigned i = 0; !err && i < life.conf.cores; i++) {
        struct core *core = &life.cores[i];
        (void)fiber_new(core_run, core, "core");
        while (!core->opened) {
            fiber_wait(UINT64_MAX, &core->opened);
        }
        err = core->err;
    }
    return err;
}

static void cores_tell(bool stop)
{
    for (unsigned i = 0; i < life.conf.cores; i++) {
        struct core *core = &life.cores[i];
        struct mbox_msg *msg = stop ? &core->stop_msg : &core->start_msg;
        msg->receive = stop ? on_stop : on_start;
        mx_err err = mbox_send(life.hub, life.conf.cores, i, msg);
        MX_ASSERT(err == MX_OK);
    }
}

/* The management thread: see admin/server.c. */
static void boot_run(void *arg)
{
    (void)arg;
    mx_err err = log_init(&life.log, -1, sim.trace ? LOG_INFO : LOG_ERROR);
    life.log.wall_ms = sim.wall_ms;
    err = err ? err : parts_open();
    err = err ? err : management_open();
    err = err ? err : cores_open();
    if (err) {
        sim_say("cannot start: %s", err_text(err));
        life.failed = true;
        return;
    }
    cores_tell(false);
    life.running = true;
    manager_run();
}

void life_boot(const struct life_conf *conf)
{
    memset(&life, 0, sizeof life);
    life.conf = *conf;
    settings_tune(&conf->performance);
    settings_verify(conf->verify);
    rates_life();
    limits_pause(false);
    settings_limit(conf->crowd ? CROWD_LIMIT : 0);
    networks_limit(conf->crowd ? CROWD_NETWORK_LIMIT : conf->throttled ? RATES_NETWORK : 0);
    life.conf.group_bytes = GROUP_BYTES;
    sim.ops = 0;
    sim.reads = 0;
    sim.struck = false;
    sim.dead = false;
    sim.ending = false;
    memory_peak_reset();
    sim_say("start with %u cores", conf->cores);
    (void)fiber_new(boot_run, NULL, "boot");
}

bool life_running(void)
{
    return life.running && !manager_failed();
}

bool life_up(void)
{
    uint64_t messages;
    return life.running && manager_taken(&messages);
}

bool life_failed(void)
{
    return life.failed || manager_failed();
}

bool life_changed(void)
{
    return manager_done();
}

uint64_t life_recovered(void)
{
    uint64_t messages;
    return manager_taken(&messages) ? messages : 0;
}

uint64_t life_queued(void)
{
    uint64_t count = 0;
    for (unsigned i = 0; i < life.conf.cores; i++) {
        count += life.cores[i].service.spool.count;
    }
    return count;
}

bool life_leftovers(bool fail)
{
    unsigned count = 0;
    for (unsigned i = 0; i < life.conf.cores; i++) {
        count += answers_leftovers(&life.cores[i].service, i, fail);
    }
    return count > 0;
}

bool life_parks_were_short(void)
{
    bool short_of = false;
    for (unsigned i = 0; i < life.conf.cores; i++) {
        const struct pool *parks = &life.cores[i].shard.park_blocks;
        short_of = short_of || parks->used_peak * 2 > parks->slots_max;
    }
    return short_of;
}

void life_stop(void)
{
    manager_stop();
}

/* The management ends first, then the cores are told. */
bool life_stopped(void)
{
    if (!life.stop && manager_idle()) {
        life.stop = true;
        cores_tell(true);
    }
    bool stopped = life.stop && manager_quiet();
    for (unsigned i = 0; i < life.conf.cores; i++) {
        stopped = stopped && life.cores[i].stopped;
    }
    return stopped;
}

static void logs_drain(void)
{
    log_lines_drain(&life.log);
    manager_drain_logs(log_lines_drain);
    for (unsigned i = 0; i < life.conf.cores; i++) {
        log_lines_drain(&life.cores[i].shard.log);
    }
}

/* --- the scheduler -----------------------------------------------------------------------------
 */

/* Of all cores to what has this name. */
static unsigned connections_to(const struct hop *named)
{
    unsigned count = 0;
    for (unsigned i = 0; i < life.conf.cores; i++) {
        const struct deliver *d = &life.cores[i].service.deliver;
        struct list_node *node = d->slots == NULL ? NULL : list_first(&d->hops);
        for (; node != NULL; node = list_next(&d->hops, node)) {
            const struct hop *hop = mx_container_of(node, struct hop, all_node);
            bool same = hop->connections > 0 && slice_equal(hop->route.name, named->route.name) &&
                        slice_equal(hop->domain, named->domain);
            count += same ? hop->connections : 0;
        }
    }
    return count;
}

/* Never more connections to a next hop than its limit says, however many cores there are. */
static void connections_check(void)
{
    for (unsigned i = 0; i < life.conf.cores; i++) {
        const struct deliver *d = &life.cores[i].service.deliver;
        struct list_node *node = d->slots == NULL ? NULL : list_first(&d->hops);
        for (; node != NULL; node = list_next(&d->hops, node)) {
            const struct hop *hop = mx_container_of(node, struct hop, all_node);
            if (hop->connections > 0 && connections_to(hop) > d->performance.hop_connections) {
                sim_fail("%u connections to %.*s, of at most %llu", connections_to(hop),
                         SLICE_ARGS(hop->route.name),
                         (unsigned long long)d->performance.hop_connections);
            }
        }
    }
}

/* Nor more deliveries of a virtual queue at a time than it has workers. */
static void workers_check(void)
{
    uint32_t busy = 0;
    for (unsigned i = 0; i < life.conf.cores; i++) {
        busy += limits_busy(&life.cores[i].service.deliver);
    }
    if (busy > LIMITS_WORKERS) {
        sim_fail("%u deliveries of a queue with %u workers", busy, LIMITS_WORKERS);
    }
    if (!limits_rest(busy)) {
        sim_fail("a delivery of a queue has begun that is paused");
    }
}

/* What the queue's index says of messages that are not in memory is what they say. */
static void index_check(void)
{
    for (unsigned i = 0; i < life.conf.cores; i++) {
        const struct spool *spool = &life.cores[i].service.spool;
        struct list_node *node = spool->journal == NULL ? NULL : list_first(&spool->all);
        for (; node != NULL; node = list_next(&spool->all, node)) {
            const struct message *msg = mx_container_of(node, struct message, all_node);
            int64_t due_ms = msg->rcpts_left > 0 ? spool_due_ms(msg) : SPOOL_NOT_THERE;
            if (msg->active == NULL && spool_index_due_ms(spool, msg) != due_ms) {
                sim_fail("a message is due at %lld, and in the index at %lld", (long long)due_ms,
                         (long long)spool_index_due_ms(spool, msg));
            }
        }
    }
}

void life_step(void)
{
    uint64_t next_ns = UINT64_MAX;
    unsigned fibers = fibers_ready(&next_ns);
    unsigned kernel = kernel_ready(&next_ns);
    unsigned peers = peers_ready(&next_ns);
    unsigned all = fibers + kernel + peers;
    sim.steps++;
    if (all == 0) {
        if (next_ns == UINT64_MAX) {
            sim_fail("nothing can happen any more");
        }
        sim.now_ns = next_ns;
        return;
    }
    unsigned n = (unsigned)sim_below(all);
    if (n < fibers) {
        fibers_step(n);
    } else if (n < fibers + kernel) {
        kernel_step(n - fibers);
    } else {
        peers_step(n - fibers - kernel);
    }
    sim.now_ns += sim_below(MAX_STEP_NS);
    if (!sim.dead && !life.closing && sim.steps % CONNECTIONS_EVERY == 0) {
        connections_check();
        if (life.running && life.conf.crowd) {
            crowd_check(service_at, life.conf.cores);
        }
        if (life.running) {
            networks_check(service_at, life.conf.cores);
        }
        workers_check();
        index_check();
    }
    if (!sim.dead && !life.closing && (sim.trace || sim.steps % 64 == 0)) {
        logs_drain();
    }
}

/* --- the end -----------------------------------------------------------------------------------
 */

static void pool_check(const struct pool *pool)
{
    if (pool->used > 0) {
        sim_fail("after quiet the pool %s still has %zu slots in use", pool->name, pool->used);
    }
}

static void hops_check(const struct deliver *d, bool drained)
{
    struct list_node *node = list_first(&d->hops);
    for (; node != NULL; node = list_next(&d->hops, node)) {
        const struct hop *hop = mx_container_of(node, struct hop, all_node);
        if (hop->waiting_count > 0 || hop->waiting_bytes > 0 || hop->references > 0 ||
            hop->connections > 0 || hop->batches > 0 || (drained && !list_empty(&hop->parked))) {
            sim_fail("after quiet the hop %.*s holds %u deliveries, %u references, %u connections, "
                     "%u batches",
                     SLICE_ARGS(hop->route.name), hop->waiting_count, hop->references,
                     hop->connections, hop->batches);
        }
    }
}

static void core_check(struct core *core, bool drained)
{
    struct service *s = &core->service;
    const struct pool *always[] = {&core->shard.blocks,
                                   &core->shard.park_blocks,
                                   &core->shard.park_small,
                                   &s->sessions_pool,
                                   &s->spool.writes,
                                   &s->spool.txns,
                                   &s->spool.incomings,
                                   &s->deliver.actives,
                                   &s->deliver.clis,
                                   &s->deliver.conns,
                                   &s->deliver.verify.questions,
                                   &s->deliver.verify.conns,
                                   &s->waits};
    for (size_t i = 0; i < mx_countof(always); i++) {
        pool_check(always[i]);
    }
    if (drained) {
        pool_check(&s->spool.messages);
        pool_check(&s->spool.extents);
        pool_check(&s->spool.histories);
    }
    if (s->deliver.expansions != 0 || s->deliver.dsns != 0 || s->deliver.active_rcpts != 0) {
        sim_fail("after quiet: %u lists and %u notices under way, %zu recipients in memory",
                 s->deliver.expansions, s->deliver.dsns, s->deliver.active_rcpts);
    }
    hops_check(&s->deliver, drained);
    if (drained && s->quotas.key_count != 0) {
        sim_fail("after quiet: %zu keys of quotas still count", s->quotas.key_count);
    }
    if (s->deliver.active_bytes != 0 || s->spool.moves != 0) {
        sim_fail("after quiet: %zu bytes active, %u moves", s->deliver.active_bytes,
                 s->spool.moves);
    }
    if (ring_pending(core->shard.ring) != 0) {
        sim_fail("after quiet %u operations are in flight", ring_pending(core->shard.ring));
    }
}

/* Has the process ever held more than it may? */
static void memory_check(void)
{
    size_t bound = bound_process(&life.conf);
    for (unsigned i = 0; i < life.conf.cores; i++) {
        const struct core *core = &life.cores[i];
        if (!core->opened || core->err) {
            return; /* it had not begun */
        }
        bound += bound_core(&life.conf, &core->shard, &core->service);
    }
    bound += bound_load(&life.conf, &life.cores[0].shard, &life.cores[0].service);
    sim_say("memory: at most %zu of %zu bytes", memory_peak(), bound);
    if (memory_peak() > bound) {
        sim_fail("the process held %zu bytes of memory, and may hold %zu", memory_peak(), bound);
    }
}

static void close_run(void *arg)
{
    bool *done = arg;
    for (unsigned i = 0; i < life.conf.cores; i++) {
        service_close(&life.cores[i].service);
    }
    for (unsigned i = 0; i < life.conf.cores; i++) {
        shard_close(&life.cores[i].shard);
        shard_fini(&life.cores[i].shard);
    }
    bindings_free(&life.bindings);
    manager_close();
    journal_store_close(life.store);
    mbox_hub_free(life.hub);
    session_count_free(life.sessions);
    rate_table_free(life.rates);
    log_fini(&life.log);
    *done = true;
}

void life_close(bool drained)
{
    logs_drain();
    memory_check();
    for (unsigned i = 0; i < life.conf.cores; i++) {
        core_check(&life.cores[i], drained);
    }
    bool done = false;
    life.closing = true;
    (void)fiber_new(close_run, &done, "close");
    while (!done) {
        life_step();
    }
    fibers_forget();
    if (memory_used() != 0) {
        sim_fail("the process left %zu bytes of memory", memory_used());
    }
    if (net_open() != 0) {
        sim_fail("the process left %u sockets open", net_open());
    }
    memset(&life, 0, sizeof life);
    disk_after_kill(); /* locks and descriptors of what is still open */
}

void life_bury(bool power)
{
    if (!sim.dead) {
        logs_drain();
    }
    memory_check();
    fibers_forget();
    kernel_kill(power);
    net_after_kill();
    if (power) {
        disk_after_power_cut();
    } else {
        disk_after_kill();
    }
    memory_clear();
    manager_forget();
    memset(&life, 0, sizeof life);
    oracle_killed();
}
