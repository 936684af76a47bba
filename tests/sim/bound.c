#include "tests/sim/bound.h"

#include "io/journal.h"
#include "io/mbox.h"
#include "smtp/hop.h"
#include "smtp/service.h"
#include "tests/sim/oracle.h"
#include "tests/sim/settings.h"

enum {
    IMAGES_MAX = 3,                  /* of the start, in force, prepared */
    IMAGE_BYTES = 32 * 1024,         /* of a simulated configuration, with its program */
    RECORD_BYTES = 1024,             /* of an address with its text, or of a list */
    SEGMENT_BYTES = 512,             /* of a segment in memory, without index */
    STEP_BYTES = 256 * 1024,         /* of a file that is being copied */
    ZEROS_BYTES = 1024 * 1024,       /* of a segment that is being made */
    BATCH_BYTES = 128 * 1024,        /* of a local batch */
    MESSAGE_BYTES = 4 * 1024,        /* envelope, record, texts of one message */
    SESSION_BYTES = 24 * 1024,       /* beside its slot: TLS, a reply, a line, a PROXY header */
    LOGS = 3,                        /* beside the cores': start and end, loop, takeover */
    RING_BYTES = 128 * 1024,         /* of a simulated ring, without receive buffers */
    JOURNAL_KEPT_BYTES = 600 * 1024, /* indexes of two segments, a header */
    DIRECTORY_BYTES = 16 * 1024,     /* of one core: a few addresses */
    QUEUE_BYTES = 1024 * 1024,       /* an administrator's questions, with their keys */
};

static size_t log_bytes(void)
{
    return (size_t)LOG_LINES * (LOG_LINE_BYTES + 4 * sizeof(void *));
}

size_t bound_process(const struct life_conf *conf)
{
    size_t threads = conf->cores + MBOX_OTHERS;
    size_t segments = conf->load.content / conf->segment_bytes + 64;
    return LOGS * log_bytes() + 2 * RING_BYTES + 2 * JOURNAL_GROUP_BYTES /* the scan's window */
           + threads * threads * (MBOX_CELLS * sizeof(void *) + 256) + IMAGES_MAX * IMAGE_BYTES +
           (conf->steers > 0 || conf->release ? QUEUE_BYTES : 0) +
           (size_t)conf->changes * SETTINGS_CHANGES_MAX * RECORD_BYTES + segments * SEGMENT_BYTES;
}

enum { POOLS = 16 };

struct demand {
    const struct pool *pool;
    size_t slots;
};

static void demands(struct demand out[POOLS], const struct life_conf *conf,
                    const struct shard *shard, const struct service *service)
{
    const struct life_load *load = &conf->load;
    const struct spool *spool = &service->spool;
    const struct deliver *d = &service->deliver;
    size_t sessions =
        mx_min_size(load->sessions, service->image->connections_max + SERVICE_REFUSALS_MAX +
                                        SERVICE_PROXY_WAITS_MAX);
    size_t connections =
        mx_min_size(load->messages * MAIL_RCPTS_MAX,
                    (size_t)(d->image->route_count * d->performance.hop_connections));
    bool asks = conf->verify != DIR_VERIFY_OFF;
    size_t asking = asks ? (size_t)(d->image->route_count * d->performance.verify_connections) : 0;
    size_t questions = asks ? sessions * (1 + SRV_AHEAD_MAX) : 0;
    size_t active = mx_min_size(load->messages, DELIVER_ACTIVE_MAX);
    const struct demand all[POOLS] = {
        {&shard->blocks, load->content / BLOCK_DATA + 2 * (load->messages + sessions)},
        {&shard->park_blocks, sessions + connections + asking},
        {&shard->park_small, sessions + connections + asking},
        {&service->sessions_pool, sessions},
        {&spool->histories, 2 * load->messages},
        {&spool->writes, load->messages},
        {&spool->txns, load->messages},
        {&spool->incomings, load->messages},
        {&spool->messages, load->messages},
        {&spool->extents, load->messages + load->content / EXTENT_BYTES},
        {&d->actives, active},
        {&d->clis, connections + asking},
        {&d->conns, connections},
        {&d->verify.questions, questions},
        {&d->verify.conns, asking},
        {&service->waits, sessions},
    };
    memcpy(out, all, sizeof all);
}

/* Slabs are made whole: one is not full in each pool. */
size_t bound_core(const struct life_conf *conf, const struct shard *shard,
                  const struct service *service)
{
    struct demand all[POOLS];
    demands(all, conf, shard, service);
    size_t bytes = log_bytes() + RING_BYTES + (size_t)conf->recv_bufs * (RING_RECV_BYTES + 1) +
                   2 * conf->group_bytes + ZEROS_BYTES + DIRECTORY_BYTES + JOURNAL_KEPT_BYTES;
    bytes += verify_cache_bytes(&service->deliver.verify.cache);
    bytes += conf->limited ? QUOTA_BUCKETS * sizeof(void *) : 0;
    for (size_t i = 0; i < POOLS; i++) {
        const struct pool *pool = all[i].pool;
        bytes += pool->slots_per_slab * pool->slot_bytes + pool->slab_max * sizeof(void *);
    }
    return bytes;
}

size_t bound_load(const struct life_conf *conf, const struct shard *shard,
                  const struct service *service)
{
    const struct life_load *load = &conf->load;
    struct demand all[POOLS];
    demands(all, conf, shard, service);
    size_t bytes = load->messages * MESSAGE_BYTES + load->sessions * SESSION_BYTES;
    for (size_t i = 0; i < POOLS; i++) {
        bytes += mx_min_size(all[i].slots, all[i].pool->slots_max) * all[i].pool->slot_bytes;
    }
    size_t batches = mx_min_size(load->messages, (size_t)conf->cores * LOCAL_BATCHES_MAX);
    size_t expansions = mx_min_size(load->messages, (size_t)conf->cores * EXPANSIONS_MAX);
    return bytes + batches * (BATCH_BYTES + STEP_BYTES) +
           expansions * (2 * mx_min_size(EXTENT_BYTES, load->largest)) +
           mx_min_size((size_t)conf->cores * DELIVER_BYTES_MAX, load->content);
}
