#include "admin/server_private.h"

#include "core/check.h"
#include "io/random.h"
#include "io/thread.h"

#include <errno.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>

/* Longer than the kernel's own 3 ms: what completes a synced write is a thread of the kernel on the
 * CPU that the disk interrupts, and with a queue for each CPU that is the core's own. A core that
 * is never idle would keep it, and with it every 250, waiting for the rest of its slice. */
enum { CORE_SLICE_NS = 20000000 };

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

static void on_gone(struct mbox_msg *msg, struct shard *at)
{
    (void)at;
    mx_container_of(msg, struct core_thread, gone_msg)->server->cores_gone++;
}

static void *core_main(void *arg)
{
    struct core_thread *core = arg;
    thread_slice(CORE_SLICE_NS);
    core->what = "io_uring";
    core->err = shard_open(&core->shard);
    bool shard_is_open = core->err == MX_OK;
    if (shard_is_open) {
        core->err = service_open(&core->service, &core->shard, &core->conf, &core->what);
    }
    bool opened = core->err == MX_OK;
    sem_post(&core->server->opened);
    if (opened) {
        shard_run(&core->shard);
        service_close(&core->service);
    }
    core->gone_msg.receive = on_gone;
    mx_err err = mbox_send(core->server->hub, core->shard.conf.id, core->server->core_count,
                           &core->gone_msg);
    MX_ASSERT(err == MX_OK); /* the only message that a core sends there */
    while (sem_wait(&core->server->may_close) != 0 && errno == EINTR) {
    }
    if (shard_is_open) {
        shard_close(&core->shard);
    }
    return NULL;
}

static int cpu_of(unsigned index, unsigned cores)
{
    cpu_set_t set;
    if (sched_getaffinity(0, sizeof set, &set) != 0 || cores > (unsigned)CPU_COUNT(&set)) {
        return -1;
    }
    for (int cpu = 0; cpu < CPU_SETSIZE; cpu++) {
        if (CPU_ISSET(cpu, &set) && index-- == 0) {
            return cpu;
        }
    }
    return -1;
}

unsigned server_cpu_count(void)
{
    cpu_set_t set;
    return sched_getaffinity(0, sizeof set, &set) == 0 ? (unsigned)CPU_COUNT(&set) : 1;
}

struct core_thread *server_cores_new(unsigned count)
{
    size_t bytes = (count + 1) * sizeof(struct core_thread);
    struct core_thread *cores = aligned_alloc(_Alignof(struct core_thread), bytes);
    if (cores != NULL) {
        memset(cores, 0, bytes);
    }
    return cores;
}

struct offence_conf server_offences_from(struct server *server, unsigned from)
{
    return (struct offence_conf){.hub = server->hub,
                                 .from = from,
                                 .to = server->core_count + 1,
                                 .receive = ban_receive,
                                 .owner = server->ban};
}

static mx_err core_prepare(struct server *server, unsigned index)
{
    struct core_thread *core = &server->cores[index];
    const struct server_options *options = server->options;
    uint64_t memory = options->memory_bytes ? options->memory_bytes : SERVER_MEMORY_BYTES;
    core->server = server;
    struct shard_conf conf = {.id = index,
                              .count = server->core_count,
                              .cpu = options->no_pin ? -1 : cpu_of(index, server->core_count),
                              .blocks_max = memory / BLOCK_BYTES,
                              .workers = DELIVER_LANES,
                              .log_level = options->log_level,
                              .hub = server->hub};
    const struct config *config = server->config;
    core->conf.image = &config->image;
    core->conf.domains = config->domains;
    core->conf.domain_count = config->domain_count;
    core->conf.addresses = config->addresses;
    core->conf.address_count = config->address_count;
    core->conf.hash_seed = random_u64();
    core->conf.keys_seed = server->keys_seed;
    core->conf.store = server->store;
    core->conf.sessions = server->sessions;
    core->conf.rates = server->rates;
    core->conf.takeover = server->takeover;
    core->conf.names = &server->names;
    core->conf.cert_pem = server->tls.cert_pem;
    core->conf.key_pem = server->tls.key_pem;
    core->conf.stopped = service_stopped;
    core->conf.offences = server_offences_from(server, index);
    core->conf.deliver = (struct deliver_conf){.retry_ms = options->retry_ms,
                                               .mail_root = server->dir.mail,
                                               .metrics = &server->metrics,
                                               .pause = server->pause};
    schedule_default(&core->conf.deliver.schedule);
    return shard_init(&core->shard, &conf);
}

/* Every core's memory is made before the first thread starts, since the management loop reads their
 * logs. They open at the same time: each makes the first segments of its journal. */
bool server_cores_start(struct server *server)
{
    for (unsigned i = 0; i < server->core_count; i++) {
        mx_err err = core_prepare(server, i);
        if (err) {
            return server_failed(server, "memory of a core", err);
        }
    }
    unsigned started = 0;
    while (started < server->core_count) {
        struct core_thread *core = &server->cores[started];
        core->started = pthread_create(&core->thread, NULL, core_main, core) == 0;
        if (!core->started) {
            break;
        }
        started++;
    }
    for (unsigned i = 0; i < started; i++) {
        while (sem_wait(&server->opened) != 0 && errno == EINTR) {
        }
    }
    bool good =
        started == server->core_count || server_failed(server, "a core's thread", MX_ERR_NOMEM);
    for (unsigned i = 0; good && i < started; i++) {
        const struct core_thread *core = &server->cores[i];
        good = core->err == MX_OK || server_failed(server, core->what, core->err);
    }
    if (!good) {
        server_advise_on_ring(server);
    }
    return good;
}

void server_cores_tell(struct server *server, bool stop)
{
    for (unsigned i = 0; i < server->core_count; i++) {
        struct core_thread *core = &server->cores[i];
        struct mbox_msg *msg = stop ? &core->stop_msg : &core->start_msg;
        msg->receive = stop ? on_stop : on_start;
        if (core->started && core->err == MX_OK) {
            mx_err err = mbox_send(server->hub, server->core_count, i, msg);
            MX_ASSERT(err == MX_OK); /* at most two are ever sent */
        }
    }
}
