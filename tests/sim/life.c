#include "tests/sim/life.h"

#include "core/check.h"
#include "io/mbox.h"
#include "io/sys.h"
#include "smtp/service.h"
#include "tests/dir_records.h"
#include "tests/sim/disk.h"
#include "tests/sim/net.h"
#include "tests/sim/oracle.h"
#include "tests/sim/peer.h"

#include <stdio.h>
#include <stdlib.h>

enum { MAX_STEP_NS = 20000 };

/* --- the configuration -------------------------------------------------------------------------
 */

static struct {
    struct image image;
    struct route_conf routes[4];
    struct listener_conf listener;
    struct netaddr bind;
    struct dir_domain domains[4];
    struct expr_program *program;
} config;
DIR_RECORDS(addresses, 1024);

static struct route_conf relay(uint32_t index, const char *name, const char *address, uint16_t port,
                               bool lmtp)
{
    return (struct route_conf){.name = slice_of_text(name),
                               .kind = ROUTE_RELAY,
                               .address = slice_of_text(address),
                               .port = port,
                               .lmtp = lmtp,
                               .index = index};
}

static void routes_make(void)
{
    static const struct expr_branch branches[] = {
        {SLICE_LITERAL("is_local_address(rcpt)"), SLICE_LITERAL("'local'")},
        {SLICE_LITERAL("rcpt_domain == 'source.example'"), SLICE_LITERAL("'source'")},
        {SLICE_LITERAL("rcpt_domain == 'lmtp.example'"), SLICE_LITERAL("'lmtp'")},
    };
    struct expr_source source = {
        .branches = branches, .branch_count = 3, .otherwise = SLICE_LITERAL("'back'")};
    struct expr_problem problem;
    mx_err err = expr_compile(&config.program, &source, EXPR_QRCPT, &problem);
    if (err) {
        sim_fail("route program: %s", problem.message);
    }
    config.routes[0] =
        (struct route_conf){.name = SLICE_LITERAL("local"), .kind = ROUTE_LOCAL, .index = 0};
    config.routes[1] = relay(1, "source", "source.sim", 25, false);
    config.routes[2] = relay(2, "lmtp", "10.0.0.3", 24, true);
    config.routes[3] = relay(3, "back", "10.0.0.4", 25, false);
}

static void directory_make(void)
{
    static const char *const names[] = {"local.example", "source.example", "lmtp.example",
                                        "back.example"};
    static const char *const users[] = {"user0", "user1", "user2", "user3"};
    static const char *const boxes[] = {"user0@local.example", "user1@local.example",
                                        "user2@local.example", "user3@local.example"};
    for (unsigned i = 0; i < 4; i++) {
        config.domains[i] = (struct dir_domain){.id = i + 1,
                                                .name = slice_of_text(names[i]),
                                                .enabled = true,
                                                .allow_relaying = i > 0,
                                                .tag_mode = 1};
        struct dir_address about = {.domain_id = 1,
                                    .local = slice_of_text(users[i]),
                                    .kind = DIR_ACCOUNT,
                                    .enabled = true,
                                    .object_id = 10 + i,
                                    .mailbox = slice_of_text(boxes[i])};
        dir_records_add(addresses, addresses_max, &about);
    }
}

void life_setup(void)
{
    routes_make();
    directory_make();
    config.bind = (struct netaddr){.family = 4, .bytes = {10, 0, 0, 1}, .port = 25};
    config.listener = (struct listener_conf){.name = SLICE_LITERAL("smtp"),
                                             .binds = &config.bind,
                                             .bind_count = 1,
                                             .tls = true,
                                             .connections_max = 64,
                                             .backlog = 64};
    config.image = (struct image){.generation = 1,
                                  .hostname = SLICE_LITERAL("mx.example"),
                                  .connections_max = 64,
                                  .listeners = &config.listener,
                                  .listener_count = 1,
                                  .routes = config.routes,
                                  .route_count = 4,
                                  .route_program = config.program};
    config.image.limits = (struct session_limits){.idle_ms = 300000,
                                                  .data_block_ms = 600000,
                                                  .session_ms = 3600000,
                                                  .proxy_header_ms = 5000,
                                                  .tls_handshake_ms = 60000,
                                                  .size_bytes_max = 100 << 20,
                                                  .line_bytes_max = 4096,
                                                  .rcpts_max = 1000,
                                                  .received_max = 50,
                                                  .errors_max = 20,
                                                  .messages_max = 1000,
                                                  .commands_max = 10000};
}

/* sys_resolve: the one name there is. */
mx_err sys_resolve(struct netaddr *out, size_t *count, const char *host, uint16_t port)
{
    if (strcmp(host, "source.sim") != 0) {
        return MX_ERR_DNS_NOTFOUND;
    }
    if (sim.faults && sim_chance(10)) {
        return MX_ERR_DNS_TEMPORARY;
    }
    size_t n = 0;
    if (*count > 1 && sim.faults && sim_chance(2)) {
        out[n++] = (struct netaddr){.family = 4, .bytes = {10, 0, 0, 99}, .port = port};
    }
    out[n++] = (struct netaddr){.family = 4, .bytes = {10, 0, 0, 2}, .port = port};
    *count = n;
    return MX_OK;
}

/* --- one process -------------------------------------------------------------------------------
 */

struct core {
    struct shard shard;
    struct service service;
    struct service_conf conf;
    int listen_fd;
    mx_err err;
    const char *what;
    bool opened, adopting, stopped, ended;
    struct mbox_msg start_msg, adopt_msg, stop_msg;
};

static struct {
    struct life_conf conf;
    struct core cores[SIM_CORES_MAX];
    struct journal_store *store;
    struct spool_recovery *recovery;
    struct mbox_hub *hub;
    struct session_count *sessions;
    struct log log;
    bool booted, failed, may_close, closing;
    uint64_t recovered;
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

static void on_adopt(struct mbox_msg *msg, struct shard *at)
{
    service_adopt(at->service, spool_recovery_part(life.recovery, at->conf.id));
    mx_container_of(msg, struct core, adopt_msg)->adopting = true;
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
    *core = (struct core){.listen_fd = -1};
    core->conf = (struct service_conf){
        .image = &config.image,
        .domains = config.domains,
        .domain_count = mx_countof(config.domains),
        .addresses = addresses,
        .address_count = mx_countof(config.domains),
        .hash_seed = sim_random(),
        .store = life.store,
        .sessions = life.sessions,
        .deliver = {.retry_ms = life.conf.retry_ms, .mail_root = "/ringmx/mail"},
        .listen_fds = &core->listen_fd,
        .stopped = service_stopped};
    schedule_default(&core->conf.deliver.schedule);
    struct ring_listen_conf listen_conf = {.addr = ring_addr_of(&config.bind), .backlog = 64};
    mx_err err = ring_listen(&core->listen_fd, &listen_conf);
    return err ? err : shard_init(&core->shard, &conf);
}

static void say_listed(void *arg, const struct spool_listed *listed)
{
    char text[64], states[64];
    struct writer w = writer_init(text, sizeof text - 1);
    struct writer s = writer_init(states, sizeof states - 1);
    (void)arg;
    qid_print(&w, listed->id);
    for (uint32_t i = 0; i < listed->rcpt_count; i++) {
        put_char(&s, "pdf"[listed->rcpts[i].status]);
        put_decimal(&s, listed->rcpts[i].attempts);
    }
    text[w.len] = states[s.len] = '\0';
    sim_say("queued %s at %u in set %u: %s", text, listed->ref.offset,
            segment_set(listed->ref.segment), states);
}

static mx_err parts_open(void)
{
    struct journal_conf journal = {.node = 1,
                                   .first_segment_bytes = life.conf.segment_bytes,
                                   .segment_bytes = life.conf.segment_bytes,
                                   .reserve_bytes = 4096,
                                   .group_bytes = 384 * 1024,
                                   .kept_bytes = 256 * 1024};
    mx_err err = sys_mkdirs("/ringmx/mail");
    if (!err) {
        err = session_count_new(&life.sessions, life.conf.cores, 1);
    }
    if (!err) {
        err = mbox_hub_new(&life.hub, life.conf.cores);
    }
    if (!err) {
        err = journal_store_open(&life.store, "/ringmx/journal", &journal, &life.log);
    }
    return err;
}

/* As smtp/takeover does, whose helper thread this fiber stands for: mail is accepted meanwhile. */
static mx_err queue_take_over(void)
{
    struct spool_recover_conf conf = {.log = &life.log};
    struct spool_recovered found;
    mx_err err = spool_recover(&life.recovery, life.store, &conf, &found);
    err = err ? err : spool_recovery_divide(life.recovery, life.conf.cores);
    if (err) {
        return err;
    }
    life.recovered = found.messages;
    sim_note("recovered", found.messages, found.finished);
    if (sim.trace) {
        spool_recovery_each(life.recovery, say_listed, NULL);
    }
    for (unsigned i = 0; i < life.conf.cores; i++) {
        struct core *core = &life.cores[i];
        core->adopt_msg.receive = on_adopt;
        err = mbox_send(life.hub, life.conf.cores, i, &core->adopt_msg);
        MX_ASSERT(err == MX_OK);
    }
    for (unsigned i = 0; i < life.conf.cores; i++) {
        const struct core *core = &life.cores[i];
        while (!core->adopting || core->service.spool.part != NULL) {
            fiber_wait(sim.now_ns + MX_NS_PER_MS, NULL);
        }
    }
    return MX_OK;
}

/* The management thread's part: see admin/server.c. */
static void boot_run(void *arg)
{
    (void)arg;
    mx_err err = log_init(&life.log, -1, sim.trace ? LOG_INFO : LOG_ERROR);
    life.log.wall_ms = sim.wall_ms;
    if (!err) {
        err = parts_open();
    }
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
    for (unsigned i = 0; !err && i < life.conf.cores; i++) {
        life.cores[i].start_msg.receive = on_start;
        err = mbox_send(life.hub, life.conf.cores, i, &life.cores[i].start_msg);
        MX_ASSERT(err == MX_OK);
    }
    err = err ? err : queue_take_over();
    if (err) {
        sim_say("cannot start: %s", err_text(err));
        life.failed = true;
        return;
    }
    life.booted = true;
}

void life_boot(const struct life_conf *conf)
{
    memset(&life, 0, sizeof life);
    life.conf = *conf;
    sim.ops = 0;
    sim.struck = false;
    sim.dead = false;
    memory_peak_reset();
    sim_say("start with %u cores", conf->cores);
    (void)fiber_new(boot_run, NULL, "boot");
}

bool life_up(void)
{
    return life.booted;
}

bool life_failed(void)
{
    return life.failed;
}

uint64_t life_recovered(void)
{
    return life.recovered;
}

uint64_t life_queued(void)
{
    uint64_t count = 0;
    for (unsigned i = 0; i < life.conf.cores; i++) {
        count += life.cores[i].service.spool.count;
    }
    return count;
}

void life_stop(void)
{
    for (unsigned i = 0; i < life.conf.cores; i++) {
        life.cores[i].stop_msg.receive = on_stop;
        mx_err err = mbox_send(life.hub, life.conf.cores, i, &life.cores[i].stop_msg);
        MX_ASSERT(err == MX_OK);
    }
}

bool life_stopped(void)
{
    for (unsigned i = 0; i < life.conf.cores; i++) {
        if (!life.cores[i].stopped) {
            return false;
        }
    }
    return true;
}

/* --- log lines ---------------------------------------------------------------------------------
 */

/* Events that say that something was lost; only rot may cause them. */
static void line_judge(struct slice line)
{
    static const char *const bad[] = {"journal-damaged", "message-incomplete", "message-unreadable",
                                      "queue-record-malformed", "queue-record-unreadable"};
    for (size_t i = 0; i < mx_countof(bad) && !oracle_rotten(); i++) {
        if (memmem(line.ptr, line.len, bad[i], strlen(bad[i])) != NULL) {
            sim_fail("without rot: %.*s", SLICE_ARGS(line));
        }
    }
    if (sim.trace) {
        sim_say("log %.*s", (int)line.len - 1, (const char *)line.ptr);
    }
}

static void log_drain(struct log *log)
{
    uint8_t buf[LOG_LINE_BYTES + 64];
    struct writer w = writer_init(buf, sizeof buf);
    while (log->lines != NULL && log_take(log, &w)) {
        line_judge(writer_slice(&w));
        w = writer_init(buf, sizeof buf);
    }
}

static void logs_drain(void)
{
    log_drain(&life.log);
    for (unsigned i = 0; i < life.conf.cores; i++) {
        log_drain(&life.cores[i].shard.log);
    }
}

/* --- the scheduler -----------------------------------------------------------------------------
 */

static unsigned fibers_ready(uint64_t *next_ns)
{
    unsigned ready = 0;
    for (unsigned i = 0; i < fiber_count(); i++) {
        struct fiber *fiber = fiber_at(i);
        if (fiber_ended(fiber)) {
            fiber_drop(fiber);
            i--;
        } else if (fiber_ready(fiber)) {
            ready++;
        } else if (fiber_until(fiber) < *next_ns) {
            *next_ns = fiber_until(fiber);
        }
    }
    return ready;
}

static void fibers_step(unsigned n)
{
    for (unsigned i = 0; i < fiber_count(); i++) {
        if (fiber_ready(fiber_at(i)) && n-- == 0) {
            fiber_resume(fiber_at(i));
            return;
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

static void core_check(struct core *core, bool drained)
{
    struct service *s = &core->service;
    const struct pool *always[] = {
        &core->shard.blocks, &core->shard.park_blocks, &core->shard.park_small, &s->sessions_pool,
        &s->spool.writes,    &s->spool.txns,           &s->spool.incomings,     &s->deliver.actives,
        &s->deliver.clis,    &s->deliver.conns};
    for (size_t i = 0; i < mx_countof(always); i++) {
        pool_check(always[i]);
    }
    if (drained) {
        pool_check(&s->spool.messages);
        pool_check(&s->spool.extents);
    }
    if (s->deliver.active_bytes != 0 || s->spool.moves != 0) {
        sim_fail("after quiet: %zu bytes active, %u moves", s->deliver.active_bytes,
                 s->spool.moves);
    }
    if (ring_pending(core->shard.ring) != 0) {
        sim_fail("after quiet %u operations are in flight", ring_pending(core->shard.ring));
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
    spool_recovery_free(life.recovery);
    journal_store_close(life.store);
    mbox_hub_free(life.hub);
    session_count_free(life.sessions);
    log_fini(&life.log);
    *done = true;
}

void life_close(bool drained)
{
    logs_drain();
    for (unsigned i = 0; i < life.conf.cores; i++) {
        core_check(&life.cores[i], drained);
    }
    bool done = false;
    life.closing = true;
    (void)fiber_new(close_run, &done, "close");
    while (!done) {
        life_step();
    }
    while (fiber_count() > 0) {
        fiber_drop(fiber_at(0));
    }
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
    while (fiber_count() > 0) {
        fiber_drop(fiber_at(0));
    }
    kernel_kill(power);
    net_after_kill();
    if (power) {
        disk_after_power_cut();
    } else {
        disk_after_kill();
    }
    memory_clear();
    memset(&life, 0, sizeof life);
    oracle_killed();
}
