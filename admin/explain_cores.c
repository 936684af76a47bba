#include "admin/explain_cores.h"

#include "core/check.h"
#include "io/clock.h"

#include <stdlib.h>

enum { TEXT_MAX = 512 };

struct explain_cores {
    struct queue_cores_conf conf;
    struct explain_request request;
    const struct expr_metrics *metrics;
    bool waiting; /* the core has the request */
    void *late;   /* what the request needs, its owner no longer */
    void (*free_late)(void *what);
    uint8_t texts[4][TEXT_MAX]; /* what the request borrows */
};

static void on_reply(struct mbox_msg *msg, struct shard *at)
{
    struct explain_request *request = mx_container_of(msg, struct explain_request, reply);
    (void)at;
    mx_container_of(request, struct explain_cores, request)->waiting = false;
}

mx_err explain_cores_new(struct explain_cores **out_cores, const struct queue_cores_conf *conf,
                         const struct expr_metrics *metrics)
{
    struct explain_cores *cores = calloc(1, sizeof *cores);
    if (cores == NULL) {
        return MX_ERR_NOMEM;
    }
    cores->conf = *conf;
    cores->metrics = metrics;
    cores->request.msg.receive = explain_request_receive;
    cores->request.reply.receive = on_reply;
    cores->request.reply_to = conf->index;
    *out_cores = cores;
    return MX_OK;
}

static void free_late(struct explain_cores *cores)
{
    if (cores->late != NULL) {
        cores->free_late(cores->late);
        cores->late = NULL;
    }
}

void explain_cores_free(struct explain_cores *cores)
{
    if (cores != NULL) {
        free_late(cores);
        free(cores);
    }
}

void explain_cores_free_config(struct explain_cores *cores, const struct explain_config *config,
                               void *owner, void (*free_it)(void *owner))
{
    if (cores != NULL && cores->waiting && cores->request.config == config) {
        MX_ASSERT(cores->late == NULL); /* while it waits nothing else is asked */
        cores->late = owner;
        cores->free_late = free_it;
    } else {
        free_it(owner);
    }
}

const struct expr_metrics *explain_cores_metrics(const struct explain_cores *cores)
{
    return cores->metrics;
}

static bool await(struct explain_cores *cores)
{
    uint64_t until_ns = clock_monotonic_ns() + QUEUE_WAIT_MS * MX_NS_PER_MS;
    uint64_t now_ns;
    while (cores->waiting && (now_ns = clock_monotonic_ns()) < until_ns) {
        cores->conf.wait(cores->conf.wait_arg, (unsigned)((until_ns - now_ns) / MX_NS_PER_MS) + 1);
    }
    return !cores->waiting;
}

/* False: too long. */
static bool keep(struct slice *text, uint8_t copy[TEXT_MAX])
{
    if (text->len > TEXT_MAX) {
        return false;
    }
    if (text->len > 0) {
        memcpy(copy, text->ptr, text->len);
    }
    text->ptr = copy;
    return true;
}

mx_err explain_cores_ask(struct explain_cores *cores, const struct explain_query *query,
                         const struct explain_config *config,
                         const struct explanation **out_explanation)
{
    struct explain_query kept = *query;
    if (cores->conf.cores == 0) {
        return MX_ERR_UNSUPPORTED;
    }
    if (!await(cores)) {
        return MX_ERR_AGAIN;
    }
    free_late(cores);
    if (!keep(&kept.rcpt, cores->texts[0]) || !keep(&kept.sender, cores->texts[1]) ||
        !keep(&kept.listener, cores->texts[2]) || !keep(&kept.helo, cores->texts[3])) {
        return MX_ERR_RANGE;
    }
    cores->request.query = kept;
    cores->request.config = config;
    cores->waiting = true;
    mx_err err = mbox_send(cores->conf.hub, cores->conf.index, 0, &cores->request.msg);
    MX_ASSERT(err == MX_OK); /* one question at a time */
    if (!await(cores)) {
        return MX_ERR_TIMEOUT;
    }
    *out_explanation = &cores->request.out;
    return cores->request.out.err;
}
