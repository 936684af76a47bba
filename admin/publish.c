#include "admin/publish.h"

#include "admin/bindings.h"
#include "admin/config_build.h"
#include "admin/web.h"
#include "core/check.h"
#include "io/clock.h"
#include "smtp/service_update.h"

#include <stdatomic.h>
#include <stdlib.h>

/* One core's part of the change under way. */
struct core_part {
    struct service_update update;
    struct publisher *publisher;
    bool waiting;      /* for its answer */
    bool cancel_later; /* it answers a prepare that was given up */
};

/* A configuration that cores may be reading. */
struct running {
    struct config *config; /* NULL: the one of the start */
    struct tls_files tls;  /* of its own, or empty */
    const struct image *image;
    struct slice cert_pem, key_pem;
};

struct publisher {
    struct publisher_conf conf;
    struct running running;
    /* the change under way */
    struct running next;
    struct service_change change;
    struct record_changes records;
    struct records all_records; /* that did not come with the start */
    struct bindings bindings;
    struct core_part *parts;
    bool prepared;
    bool lingering; /* a core has not answered: nothing may be freed yet */
    bool applied;   /* the step that lingers is an apply */
    uint32_t next_slot;
    atomic_int behind;
    _Atomic uint64_t generation;
};

/* --- messages ----------------------------------------------------------------------------------
 */

static void send(struct publisher *p, unsigned core, enum update_step step)
{
    struct core_part *part = &p->parts[core];
    part->update.step = step;
    part->update.err = MX_OK;
    part->waiting = true;
    unsigned to = core < p->conf.cores ? core : p->conf.watcher;
    mx_err err = mbox_send(p->conf.hub, p->conf.index, to, &part->update.msg);
    MX_ASSERT(err == MX_OK); /* one message at a time */
}

/* The first core that has not answered, or -1. */
static int unanswered(const struct publisher *p)
{
    for (unsigned i = 0; i <= p->conf.cores; i++) { /* and the watcher */
        if (p->parts[i].waiting) {
            return (int)i;
        }
    }
    return -1;
}

static void on_reply(struct mbox_msg *msg, struct shard *at)
{
    struct service_update *update = mx_container_of(msg, struct service_update, reply);
    struct core_part *part = mx_container_of(update, struct core_part, update);
    (void)at;
    part->waiting = false;
    if (part->publisher->lingering && part->publisher->applied) {
        atomic_store(&part->publisher->behind, unanswered(part->publisher));
    }
    if (part->cancel_later) {
        part->cancel_later = false;
        if (update->err == MX_OK) {
            send(part->publisher, (unsigned)(part - part->publisher->parts), UPDATE_CANCEL);
        }
    }
}

/* Waits until all have answered; false: time is over. */
static bool await_all(struct publisher *p)
{
    uint64_t until_ns = clock_monotonic_ns() + PUBLISH_WAIT_MS * MX_NS_PER_MS;
    while (unanswered(p) >= 0) {
        uint64_t now_ns = clock_monotonic_ns();
        if (now_ns >= until_ns) {
            return false;
        }
        p->conf.wait(p->conf.wait_arg, (unsigned)((until_ns - now_ns) / MX_NS_PER_MS) + 1);
    }
    return true;
}

/* --- the end of a change -----------------------------------------------------------------------
 */

static void running_free(struct running *running)
{
    config_free(running->config);
    tls_files_free(&running->tls);
    *running = (struct running){0};
}

static void change_forget(struct publisher *p)
{
    free(p->change.replaced);
    p->change = (struct service_change){0};
    p->prepared = false;
    p->lingering = false;
    atomic_store(&p->behind, -1);
}

/* No core has the change. */
static void change_dropped(struct publisher *p)
{
    running_free(&p->next);
    record_changes_free(&p->records, false);
    bindings_close(&p->bindings);
    web_cancel(p->conf.web);
    change_forget(p);
}

/* Every core has it, and has let go of what was before. */
static void change_done(struct publisher *p)
{
    for (size_t i = 0; p->conf.cores > 0 && i < p->records.count; i++) {
        dir_change_free(&p->all_records, p->records.items[i].kind, p->change.replaced[i]);
    }
    record_changes_free(&p->records, p->conf.cores > 0);
    bindings_free(&p->bindings);
    web_apply(p->conf.web);
    if (p->change.image != NULL) {
        running_free(&p->running);
        p->running = p->next;
        p->next = (struct running){0};
    }
    atomic_store(&p->generation, p->change.generation);
    change_forget(p);
}

/* A change whose answers were late may have ended meanwhile. */
static bool finish_lingering(struct publisher *p)
{
    if (!p->lingering) {
        return true;
    }
    if (!await_all(p)) {
        return false;
    }
    if (p->applied) {
        change_done(p);
    } else {
        change_dropped(p);
    }
    return true;
}

/* --- preparing ---------------------------------------------------------------------------------
 */

/* Accounts, lists and what is for the management alone do not touch the image; all else may. */
static bool touches_image(const struct object_change *changes, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        bool new_domain = changes[i].before == NULL && changes[i].type->storage == REG_IN_DOMAINS;
        if (!reg_has_address(changes[i].type) && !new_domain && !changes[i].type->administrative) {
            return true;
        }
    }
    return false;
}

/* A listener keeps the session counters that it has; a new one takes those unused for longest. */
static void assign_slots(struct publisher *p, struct config *config)
{
    bool taken[IMAGE_LISTENERS_MAX] = {false};
    const struct image *old = p->running.image;
    struct listener_conf *listeners = (struct listener_conf *)(uintptr_t)config->image.listeners;
    for (uint32_t k = 0; k < old->listener_count; k++) {
        taken[old->listeners[k].slot] = true;
    }
    for (uint32_t i = 0; i < config->image.listener_count; i++) {
        bool found = false;
        for (uint32_t k = 0; !found && k < old->listener_count; k++) {
            found = slice_equal(old->listeners[k].name, listeners[i].name);
            if (found) {
                listeners[i].slot = old->listeners[k].slot;
            }
        }
        for (uint32_t n = 0; !found && n < IMAGE_LISTENERS_MAX; n++) {
            uint32_t slot = p->next_slot++ % IMAGE_LISTENERS_MAX;
            found = !taken[slot];
            if (found) {
                taken[slot] = true;
                listeners[i].slot = slot;
            }
        }
        /* All but a few are taken while many are replaced at once: counted together. */
        if (!found) {
            listeners[i].slot = i;
        }
    }
}

static mx_err certificate_prepare(struct publisher *p, struct config_problem *problem)
{
    const char *text = "";
    struct running *next = &p->next;
    if (p->conf.cores == 0) {
        return MX_OK;
    }
    mx_err err = tls_files_load(&next->tls, next->image, p->conf.tls_dir, clock_wall_ms(), &text);
    if (err) {
        config_problem_set(problem, "Certificate: %s", text);
        return err;
    }
    next->cert_pem = next->tls.cert_pem;
    next->key_pem = next->tls.key_pem;
    p->change.new_certificate = !slice_equal(next->cert_pem, p->running.cert_pem) ||
                                !slice_equal(next->key_pem, p->running.key_pem);
    p->change.cert_pem = next->cert_pem;
    p->change.key_pem = next->key_pem;
    return MX_OK;
}

static mx_err image_prepare(struct publisher *p, struct store *store,
                            const struct reg_type **out_type, struct config_problem *problem)
{
    mx_err err = config_build(&p->next.config, store, CONFIG_IMAGE, out_type, problem);
    if (err) {
        return err;
    }
    p->next.image = &p->next.config->image;
    assign_slots(p, p->next.config);
    err = certificate_prepare(p, problem);
    if (!err && p->conf.cores > 0) {
        err =
            bindings_open(&p->bindings, p->next.image, p->running.image, p->conf.cores, 0, problem);
    }
    if (!err && p->conf.cores > 0) {
        struct bindings_change change = {.image = p->next.image, .present = p->running.image};
        err = web_prepare(p->conf.web, &change, p->next.cert_pem, p->next.key_pem, problem);
    }
    if (!err) {
        p->change.image = p->next.image;
    }
    return err;
}

static mx_err records_prepare(struct publisher *p, struct store *store,
                              const struct object_change *changes, size_t count,
                              struct config_problem *problem)
{
    mx_err err = record_changes_make(&p->records, store, changes, count);
    if (!err && p->records.count > 0) {
        p->change.replaced = calloc(p->records.count, sizeof(void *));
        err = p->change.replaced == NULL ? MX_ERR_NOMEM : MX_OK;
    }
    if (err) {
        config_problem_set(problem, "%s",
                           err == MX_ERR_NOMEM ? err_text(err) : store_problem(store));
    }
    p->change.records = p->records.items;
    p->change.record_count = p->records.count;
    p->change.domains_put = p->records.domains_put;
    p->change.addresses_put = p->records.addresses_put;
    return err;
}

static void core_problem(struct config_problem *problem, int core, const char *text)
{
    config_problem_set(problem, "core %d %s", core, text);
}

/* Takes back what some cores have prepared; what they have of it is freed when they have answered.
 * The ports that were bound for it are free at once, however late a core is. */
static void give_up(struct publisher *p)
{
    bindings_shut(&p->bindings);
    web_cancel(p->conf.web);
    for (unsigned i = 0; i < p->conf.cores; i++) {
        struct core_part *part = &p->parts[i];
        if (part->waiting) {
            part->cancel_later = true;
        } else if (part->update.err == MX_OK) {
            send(p, i, UPDATE_CANCEL);
        }
    }
    p->prepared = false;
    p->lingering = true;
    p->applied = false;
}

static mx_err cores_prepare(struct publisher *p, struct config_problem *problem)
{
    for (unsigned i = 0; i < p->conf.cores; i++) {
        p->parts[i].update.change = &p->change;
        p->parts[i].update.listen_fds =
            p->change.image == NULL ? NULL : bindings_of(&p->bindings, i);
        send(p, i, UPDATE_PREPARE);
    }
    if (!await_all(p)) {
        core_problem(problem, unanswered(p), "does not answer");
        give_up(p);
        return MX_ERR_TIMEOUT;
    }
    for (unsigned i = 0; i < p->conf.cores; i++) {
        mx_err err = p->parts[i].update.err;
        if (err) {
            core_problem(problem, (int)i, err_text(err));
            give_up(p);
            (void)finish_lingering(p);
            return err;
        }
    }
    return MX_OK;
}

static mx_err prepare(struct publisher *p, struct store *store, bool image,
                      const struct object_change *changes, size_t count,
                      const struct reg_type **out_type, struct config_problem *problem)
{
    *out_type = NULL;
    if (!finish_lingering(p)) {
        core_problem(problem, unanswered(p), "is behind an earlier change; try again later");
        return MX_ERR_AGAIN;
    }
    MX_ASSERT(!p->prepared);
    mx_err err = image ? image_prepare(p, store, out_type, problem) : MX_OK;
    if (!err) {
        err = records_prepare(p, store, changes, count, problem);
    }
    if (err) {
        change_dropped(p);
        return err;
    }
    err = cores_prepare(p, problem);
    p->prepared = err == MX_OK;
    return err;
}

mx_err publisher_prepare(struct publisher *p, struct store *store,
                         const struct object_change *changes, size_t count,
                         const struct reg_type **out_type, struct config_problem *problem)
{
    return prepare(p, store, touches_image(changes, count), changes, count, out_type, problem);
}

mx_err publisher_apply(struct publisher *p, uint64_t generation, struct config_problem *problem)
{
    MX_ASSERT(p->prepared);
    p->change.generation = generation;
    for (unsigned i = 0; i < p->conf.cores; i++) {
        send(p, i, UPDATE_APPLY);
    }
    if (p->conf.watch != NULL && p->change.image != NULL) {
        send(p, p->conf.cores, UPDATE_APPLY);
    }
    p->prepared = false; /* nothing takes it back any more */
    if (await_all(p)) {
        change_done(p);
        return MX_OK;
    }
    p->lingering = true;
    p->applied = true;
    atomic_store(&p->behind, unanswered(p));
    core_problem(problem, unanswered(p),
                 "is behind: the change is committed, and it gets it as "
                 "soon as it can");
    return MX_ERR_TIMEOUT;
}

mx_err publisher_reload(struct publisher *p, struct store *store, struct config_problem *problem)
{
    const struct reg_type *type;
    mx_err err = prepare(p, store, true, NULL, 0, &type, problem);
    return err ? err : publisher_apply(p, store_generation(store), problem);
}

void publisher_cancel(struct publisher *p)
{
    if (p->prepared) {
        give_up(p);
        (void)finish_lingering(p);
    }
}

void publisher_settle(struct publisher *p)
{
    if (p->lingering && unanswered(p) < 0) {
        (void)finish_lingering(p);
    }
}

/* --- life --------------------------------------------------------------------------------------
 */

/* What runs in recovery mode when the stored configuration does not compile. */
static const struct image nothing;

mx_err publisher_new(struct publisher **out_publisher, const struct publisher_conf *conf)
{
    struct publisher *p = calloc(1, sizeof *p);
    struct core_part *parts = calloc(conf->cores + 1, sizeof *parts);
    if (p == NULL || parts == NULL) {
        free(p);
        free(parts);
        return MX_ERR_NOMEM;
    }
    p->conf = *conf;
    p->parts = parts;
    records_init(&p->all_records);
    p->records.records = &p->all_records;
    p->running = (struct running){.image = conf->config != NULL ? &conf->config->image : &nothing,
                                  .cert_pem = conf->tls->cert_pem,
                                  .key_pem = conf->tls->key_pem};
    p->next_slot = p->running.image->listener_count;
    atomic_init(&p->behind, -1);
    atomic_init(&p->generation, p->running.image->generation);
    for (unsigned i = 0; i < conf->cores; i++) {
        parts[i].publisher = p;
        parts[i].update = (struct service_update){.msg.receive = service_update_receive,
                                                  .reply.receive = on_reply,
                                                  .reply_to = conf->index};
    }
    parts[conf->cores] = (struct core_part){.publisher = p,
                                            .update = {.msg.receive = conf->watch,
                                                       .change = &p->change,
                                                       .reply.receive = on_reply,
                                                       .reply_to = conf->index}};
    *out_publisher = p;
    return MX_OK;
}

void publisher_free(struct publisher *p)
{
    if (p == NULL) {
        return;
    }
    running_free(&p->running);
    running_free(&p->next);
    free(p->records.items);
    free(p->change.replaced);
    if (p->lingering && !p->applied) {
        bindings_close(&p->bindings); /* no core has taken them over */
    } else {
        bindings_free(&p->bindings);
    }
    records_free(&p->all_records);
    free(p->parts);
    free(p);
}

const char *publisher_skipped_certificate(const struct publisher *p)
{
    return p->running.config != NULL ? p->running.config->skipped_certificate : "";
}

int publisher_behind(const struct publisher *p)
{
    return atomic_load(&p->behind);
}

uint64_t publisher_generation(const struct publisher *p)
{
    return atomic_load(&p->generation);
}
