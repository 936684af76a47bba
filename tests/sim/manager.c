#include "tests/sim/manager.h"

#include "admin/bindings.h"
#include "admin/publish.h"
#include "core/check.h"
#include "io/mbox.h"
#include "tests/sim/answers.h"
#include "tests/sim/crowd.h"
#include "tests/sim/limits.h"
#include "tests/sim/net.h"
#include "tests/sim/operator.h"
#include "tests/sim/oracle.h"
#include "tests/sim/sim.h"

#include <stdlib.h>

enum { MANAGER_BLOCKS = 64, STALL_MAX_MS = 12000, STALL_WAIT_MS = 1000, UPDATE_ALLOCS = 12 };

struct manager_counts manager_counts;

static struct {
    struct manager_conf conf;
    struct config *config;
    struct tls_files tls;
    struct takeover *takeover;
    struct shard shard;
    struct ring *worker_ring;
    struct publisher *publisher;
    struct queue_cores *queue;
    bool open, taken, failed, stop, stopping, worker_ended;
    uint64_t recovered;
    unsigned stalled; /* cores that do not come to their messages */
    bool was_stalled; /* during the change under way */
    uint64_t epoch;
} manager;

static uint32_t change_number; /* owner of memory: see memory.c */

/* --- a core receives an update -----------------------------------------------------------------
 */

void __real_service_update_receive(struct mbox_msg *msg, struct shard *at);
void __wrap_service_update_receive(struct mbox_msg *msg, struct shard *at);

/* The core is busy, for longer than the publisher waits, now and then. */
static void stall(void)
{
    if (sim.faults && sim_chance(40)) {
        manager.stalled++;
        manager.was_stalled = true;
        uint64_t until_ns = sim.now_ns + sim_scale(1, STALL_MAX_MS) * MX_NS_PER_MS;
        sim_trouble(until_ns);
        fiber_wait(until_ns, NULL);
        manager.stalled--;
    }
}

/* Every step is an operation at which the process may die. Memory runs out while a core prepares;
 * while it applies there is none at all, since applying cannot fail. */
void __wrap_service_update_receive(struct mbox_msg *msg, struct shard *at)
{
    static const char *const steps[] = {"update-prepare", "update-apply", "update-cancel"};
    const struct service_update *update = mx_container_of(msg, struct service_update, msg);
    if (at->service == NULL) {
        __real_service_update_receive(msg, at);
        return;
    }
    enum sim_fault fault = sim_op(steps[update->step], NULL);
    stall();
    if (update->step == UPDATE_PREPARE && (fault == FAULT_IO || (sim.faults && sim_chance(8)))) {
        memory_fail((unsigned)sim_below(UPDATE_ALLOCS), 1);
    } else if (update->step == UPDATE_APPLY) {
        memory_fail(0, UINT32_MAX);
    }
    fiber_own(change_number);
    __real_service_update_receive(msg, at);
    fiber_own(0);
    memory_fail(0, 0);
}

/* --- the publisher -----------------------------------------------------------------------------
 */

static void take_messages(void *arg, unsigned timeout_ms)
{
    unsigned index = manager.conf.cores + 1;
    (void)arg;
    if (mbox_drain(manager.conf.hub, index, NULL, MBOX_CELLS) > 0) {
        return;
    }
    if (mbox_sleep(manager.conf.hub, index)) {
        ring_wait(manager.worker_ring, timeout_ms * MX_NS_PER_MS);
    }
    mbox_awake(manager.conf.hub, index);
    (void)mbox_drain(manager.conf.hub, index, NULL, MBOX_CELLS);
}

/* Until all cores have come to their messages, and to those that come of these. */
static void await_cores(void)
{
    for (unsigned quiet = 0; quiet < 3; quiet++) {
        take_messages(NULL, STALL_WAIT_MS);
        quiet = manager.stalled > 0 ? 0 : quiet;
    }
}

static void check_all(const struct answers wanted[], bool same, const char *when)
{
    static struct answers now;
    for (unsigned i = 0; i < manager.conf.cores; i++) {
        answers_of(&now, manager.conf.service(i));
        answers_compare(&now, &wanted[same ? 0 : i], i, when);
    }
}

static size_t tables_bytes(void)
{
    size_t bytes = 0;
    for (unsigned i = 0; i < manager.conf.cores; i++) {
        struct directory_stats stats;
        directory_stats(manager.conf.service(i)->directory, &stats);
        bytes += stats.memory_bytes;
    }
    return bytes;
}

/* The tables may have grown for it, once: that they keep. */
static void check_memory(size_t tables_before)
{
    size_t left = memory_owned(change_number);
    size_t tables = tables_bytes();
    if (left > (tables == tables_before ? 0 : tables)) {
        memory_say_owned(change_number);
        sim_fail("a refused configuration left %zu bytes of memory", left);
    }
}

/* What the cores had before a change. */
struct held {
    const struct answers *answers;
    size_t tables;      /* bytes */
    unsigned listening; /* sockets */
};

static void refused(const struct held *before, const char *why)
{
    settings_rollback();
    manager_counts.refused++;
    sim_say("configuration refused: %s", why);
    /* At once, whoever is late; fewer when an earlier change still closes some. */
    if (net_listening() > before->listening) {
        sim_fail("a refused configuration left %u listening sockets",
                 net_listening() - before->listening);
    }
    if (manager.was_stalled) {
        await_cores();
    } else {
        check_memory(before->tables);
    }
    check_all(before->answers, false, "after a refused configuration");
}

/* Committed; *problem of the publisher says that a core is behind, perhaps. */
static void applied(mx_err err, const char *problem)
{
    if (err) {
        if (err != MX_ERR_TIMEOUT || !manager.was_stalled) {
            sim_fail("a committed configuration is not in force: %s", problem);
        }
        manager_counts.late++;
        sim_say("configuration late: %s", problem);
        while (publisher_behind(manager.publisher) >= 0) {
            take_messages(NULL, STALL_WAIT_MS);
        }
    }
    manager_counts.done++;
    static struct answers wanted;
    answers_expected(&wanted, &settings_store.now);
    check_all(&wanted, true, "with a new configuration");
    if (!err && publisher_generation(manager.publisher) != settings_store.now.generation) {
        sim_fail("the publisher says generation %llu",
                 (unsigned long long)publisher_generation(manager.publisher));
    }
    sim_say("configuration %llu is in force", (unsigned long long)settings_store.now.generation);
}

static void publish(const struct object_change *changes, size_t count,
                    const struct answers before[])
{
    struct config_problem problem = {0};
    const struct reg_type *type;
    const struct held held = {before, tables_bytes(), net_listening()};
    manager.was_stalled = false;
    fiber_own(++change_number);
    mx_err err =
        publisher_prepare(manager.publisher, &settings_store, changes, count, &type, &problem);
    fiber_own(0);
    if (err) {
        refused(&held, problem.text);
        return;
    }
    if (sim_op("commit", NULL) == FAULT_IO || (sim.faults && sim_chance(12))) {
        publisher_cancel(manager.publisher);
        refused(&held, "it cannot be committed");
        return;
    }
    settings_commit();
    (void)sim_op("committed", NULL);
    err = publisher_apply(manager.publisher, settings_store.now.generation, &problem);
    applied(err, problem.text);
}

static void change(void)
{
    struct object_change changes[SETTINGS_CHANGES_MAX];
    struct settings next = settings_store.now;
    static struct answers before[SIM_CORES_MAX];
    for (unsigned i = 0; i < manager.conf.cores; i++) {
        answers_of(&before[i], manager.conf.service(i));
    }
    if (manager.conf.crowd) {
        crowd_mutate(&next);
    } else {
        settings_mutate(&next);
    }
    sim_note("configuration", next.generation, 0);
    manager_counts.tried++;
    manager.epoch++;
    settings_begin(&next);
    size_t count = settings_changes(changes, &settings_store.before, &settings_store.now);
    publish(changes, count, before);
    settings_changes_free(changes, count);
    manager.epoch++;
}

static void steer(void)
{
    for (unsigned i = 0; i < manager.conf.steers && !manager.stop; i++) {
        uint64_t gap_ms = sim_scale(1, manager.conf.change_gap_ms);
        fiber_wait(sim.now_ns + gap_ms * MX_NS_PER_MS, &manager.stop);
        if (limits_set()) {
            operator_pause(manager.queue);
        } else {
            operator_steer(manager.queue);
        }
    }
    if (manager.conf.release) {
        while (!manager.taken && !manager.failed && !manager.stop) {
            fiber_wait(sim.now_ns + STALL_WAIT_MS * MX_NS_PER_MS, &manager.stop);
        }
        (void)operator_release_all(manager.queue, &manager.stop);
    }
}

/* With it comes what the cores have told. */
static void overload(bool none)
{
    struct mbox_hub *hub = manager.conf.hub;
    if (!manager.conf.crowd) {
        return;
    }
    (void)mbox_drain(hub, manager.conf.cores + 1, NULL, MBOX_CELLS);
    while (!crowd_overload(hub, manager.conf.cores, none) && none) {
        take_messages(NULL, STALL_WAIT_MS);
    }
}

static void worker_run(void *arg)
{
    (void)arg;
    for (unsigned i = 0; i < manager.conf.changes && !manager.stop; i++) {
        uint64_t gap_ms = sim_scale(1, manager.conf.change_gap_ms);
        fiber_wait(sim.now_ns + gap_ms * MX_NS_PER_MS, &manager.stop);
        if (!manager.stop) {
            overload(false);
            change();
        }
    }
    overload(true);
    steer();
    manager.worker_ended = true;
}

/* --- the loop ----------------------------------------------------------------------------------
 */

static void queue_taken(void *owner, const struct takeover_result *result)
{
    (void)owner;
    manager.failed = result->err != MX_OK;
    manager.taken = !manager.failed;
    manager.recovered = result->found.messages;
    sim_note("recovered", result->found.messages, result->found.finished);
}

static mx_err queue_open(void)
{
    struct queue_cores_conf conf = {.hub = manager.conf.hub,
                                    .cores = manager.conf.cores,
                                    .index = manager.conf.cores + 1,
                                    .wait = take_messages};
    bool wanted = manager.conf.steers > 0 || manager.conf.release;
    return wanted ? queue_cores_new(&manager.queue, &conf) : MX_OK;
}

static mx_err publisher_open(void)
{
    struct ring_conf ring = {.recv_bufs = 1};
    struct publisher_conf conf = {.hub = manager.conf.hub,
                                  .cores = manager.conf.cores,
                                  .index = manager.conf.cores + 1,
                                  .wait = take_messages,
                                  .tls_dir = "/ringmx/tls",
                                  .config = manager.config,
                                  .tls = &manager.tls};
    mx_err err = ring_open(&manager.worker_ring, &ring);
    if (!err) {
        mbox_attach_ring(manager.conf.hub, conf.index, manager.worker_ring);
        err = publisher_new(&manager.publisher, &conf);
    }
    return err;
}

mx_err manager_open(const struct manager_conf *conf, struct journal_store *store)
{
    struct shard_conf shard = {.id = conf->cores,
                               .count = conf->cores,
                               .cpu = -1,
                               .blocks_max = MANAGER_BLOCKS,
                               .log_level = conf->log_level,
                               .ring = {.recv_bufs = 1},
                               .hub = conf->hub};
    struct takeover_conf takeover = {.store = store,
                                     .hub = conf->hub,
                                     .cores = conf->cores,
                                     .log_level = conf->log_level,
                                     .ended = queue_taken};
    manager.conf = *conf;
    manager.open = true;
    manager.config = settings_config(&settings_store.now, true);
    const struct certificate_conf *certificate = manager.config->image.certificate;
    manager.tls.cert_pem = certificate->cert_pem;
    manager.tls.key_pem = certificate->key_pem;
    mx_err err = shard_init(&manager.shard, &shard);
    err = err ? err : shard_open(&manager.shard);
    err = err ? err : takeover_new(&manager.takeover, &takeover);
    err = err ? err : publisher_open();
    return err ? err : queue_open();
}

const struct config *manager_config(void)
{
    return manager.config;
}

struct takeover *manager_takeover(void)
{
    return manager.takeover;
}

void manager_run(void)
{
    takeover_begin(manager.takeover, &manager.shard);
    (void)fiber_new(worker_run, NULL, "publisher");
    while (!manager.taken && !manager.failed && !manager.stop) {
        shard_turn(&manager.shard, MX_NS_PER_S);
    }
    while (!manager.stop) {
        fiber_wait(UINT64_MAX, &manager.stop);
    }
    takeover_stop(manager.takeover);
    manager.stopping = true;
    while (!takeover_quiet(manager.takeover)) {
        shard_turn(&manager.shard, MX_NS_PER_S);
    }
}

bool manager_taken(uint64_t *out_messages)
{
    *out_messages = manager.recovered;
    return manager.taken;
}

bool manager_failed(void)
{
    return manager.failed;
}

void manager_stop(void)
{
    manager.stop = true;
}

bool manager_idle(void)
{
    return manager.stopping && manager.worker_ended;
}

bool manager_done(void)
{
    bool idle = manager.conf.changes == 0 && manager.conf.steers == 0 && !manager.conf.release;
    return idle || manager.worker_ended;
}

bool manager_quiet(void)
{
    return takeover_quiet(manager.takeover);
}

void manager_close(void)
{
    takeover_end(manager.takeover);
    queue_cores_free(manager.queue);
    publisher_free(manager.publisher);
    ring_close(manager.worker_ring);
    shard_close(&manager.shard);
    shard_fini(&manager.shard);
    takeover_free(manager.takeover);
    config_free(manager.config);
    if (settings_configs() != 0) {
        sim_fail("%u configurations were not freed", settings_configs());
    }
    manager_forget();
}

void manager_forget(void)
{
    uint64_t epoch = manager.epoch;
    memset(&manager, 0, sizeof manager);
    manager.epoch = (epoch + 3) / 2 * 2; /* even */
    settings_killed();
}

void manager_drain_logs(void (*drain)(struct log *log))
{
    if (manager.open) {
        drain(&manager.shard.log);
        if (manager.takeover != NULL) {
            drain(takeover_log(manager.takeover));
        }
    }
}

uint64_t manager_epoch(void)
{
    return manager.epoch;
}
