#include "smtp/service_update.h"

#include "core/check.h"
#include "io/tls.h"
#include "smtp/service.h"
#include "smtp/srv_conn.h"

static mx_err prepare_image(struct service *service, const struct service_update *update)
{
    const struct image *image = update->change->image;
    mx_err err = service_tune_prepare(service, image);
    err = err ? err : deliver_prepare(&service->deliver, image);
    return err ? err : listeners_prepare(service, image, update->listen_fds);
}

static mx_err prepare(struct service *service, const struct service_update *update)
{
    const struct service_change *change = update->change;
    mx_err err = directory_reserve(service->directory, change->domains_put, change->addresses_put);
    if (!err && change->new_certificate) {
        struct tls_server_conf conf = {.cert_pem = change->cert_pem,
                                       .key_pem = change->key_pem,
                                       .before = service->tls_server};
        err = tls_server_ctx_new(&service->next_tls, &conf);
    }
    if (!err && change->image != NULL) {
        err = prepare_image(service, update);
    }
    return err;
}

static void cancel(struct service *service)
{
    tls_ctx_free(service->next_tls);
    service->next_tls = NULL;
    service_tune_cancel(service);
    deliver_cancel(&service->deliver);
    listeners_cancel(service);
}

static const void *present(const struct directory *directory, const struct dir_change *change)
{
    return change->kind == DIR_PUT_DOMAIN || change->kind == DIR_REMOVE_DOMAIN
               ? (const void *)directory_find_domain(directory, change->domain->name)
               : directory_find_address(directory, change->address->domain_id,
                                        dir_record_local(change->address));
}

/* What next hops said of recipients that are other ones now. */
static void forget_verified(struct verify *verify, const struct dir_change *change)
{
    if (change->kind == DIR_PUT_DOMAIN || change->kind == DIR_REMOVE_DOMAIN) {
        verify_forget_all(verify);
    } else {
        verify_forget_address(verify, change->address->domain_id,
                              dir_record_local(change->address));
    }
}

static void apply_record(struct directory *directory, const struct dir_change *change)
{
    mx_err err = MX_OK;
    switch (change->kind) {
    case DIR_PUT_DOMAIN:
        err = directory_put_domain(directory, change->domain);
        break;
    case DIR_PUT_ADDRESS:
        err = directory_put_address(directory, change->address);
        break;
    case DIR_REMOVE_DOMAIN:
        directory_remove_domain(directory, change->domain->name);
        break;
    case DIR_REMOVE_ADDRESS:
        directory_remove_address(directory, change->address->domain_id,
                                 dir_record_local(change->address));
        break;
    }
    MX_ASSERT(err == MX_OK); /* room was reserved */
}

/* Who is blocked now is not served any more, whatever he is in the midst of; shorter times hold for
 * sessions that rest, too. */
static void recheck_sessions(struct service *service)
{
    struct list_node *node = list_first(&service->sessions);
    while (node != NULL) {
        struct srv_conn *conn = mx_container_of(node, struct srv_conn, node);
        node = list_next(&service->sessions, node);
        srv_conn_recheck(conn);
    }
}

static void switch_image(struct service *service, const struct image *image)
{
    service->image = image;
    service_tune(service, image);
    service_resolver_switch(service);
    recheck_sessions(service);
    deliver_switch(&service->deliver, image);
    listeners_switch(service, image);
    if (service->started && !service->stopping) {
        listeners_start(service);
    }
}

static void answer(struct service *service, struct service_update *update)
{
    struct shard *shard = service->shard;
    mx_err err = mbox_send(shard->hub, shard->conf.id, update->reply_to, &update->reply);
    MX_ASSERT(err == MX_OK); /* one change at a time */
}

/* Tables that have grown move their contents, between changes as well, so that the memory of the
 * old ones is given back. */
static void settle_slice(struct service *service)
{
    if (!directory_settle(service->directory, UPDATE_SLOTS_PER_SLICE)) {
        shard_after(service->shard, &service->update_timer, 0);
    }
}

/* Who connects after the answer must not come to a socket that is about to close. */
static void end_when_closed(struct service *service)
{
    struct service_update *update = service->update;
    if (listeners_closing(service)) {
        return;
    }
    service->generation = update->change->generation;
    service->update = NULL;
    answer(service, update);
    settle_slice(service);
}

/* Goes on; the rest of a large change waits for the next tick, so that mail has its turn. */
static void apply_slice(struct service *service)
{
    struct service_update *update = service->update;
    const struct service_change *change = update->change;
    size_t end = mx_min_size(change->record_count, update->applied + UPDATE_RECORDS_PER_SLICE);
    for (; update->applied < end; update->applied++) {
        const struct dir_change *record = &change->records[update->applied];
        if (service->shard->conf.id == 0) {
            change->replaced[update->applied] = present(service->directory, record);
        }
        apply_record(service->directory, record);
        forget_verified(&service->deliver.verify, record);
    }
    if (update->applied < change->record_count) {
        shard_after(service->shard, &service->update_timer, 0);
        return;
    }
    if (service->next_tls != NULL) {
        tls_ctx_free(service->tls_server);
        service->tls_server = service->next_tls;
        service->next_tls = NULL;
    }
    if (change->image != NULL) {
        switch_image(service, change->image);
    }
    update->switched = true;
    end_when_closed(service);
}

void service_update_listener_closed(struct service *service)
{
    if (service->update != NULL && service->update->switched) {
        end_when_closed(service);
    }
}

static void update_fire(struct timer *timer, uint64_t now_ns)
{
    struct service *service = mx_container_of(timer, struct service, update_timer);
    (void)now_ns;
    if (service->update != NULL) {
        apply_slice(service);
    } else {
        settle_slice(service);
    }
}

void service_update_receive(struct mbox_msg *msg, struct shard *at)
{
    struct service_update *update = mx_container_of(msg, struct service_update, msg);
    struct service *service = at->service;
    if (service == NULL) {
        return; /* this core has ended, and with it the process: nobody waits for an answer */
    }
    MX_ASSERT(service->update == NULL);
    switch (update->step) {
    case UPDATE_PREPARE:
        update->err = prepare(service, update);
        if (update->err) {
            cancel(service);
        }
        answer(service, update);
        break;
    case UPDATE_CANCEL:
        cancel(service);
        answer(service, update);
        break;
    case UPDATE_APPLY:
        update->applied = 0;
        update->switched = false;
        service->update = update;
        service->update_timer.fire = update_fire;
        wheel_cancel(&service->shard->wheel, &service->update_timer); /* of settling */
        apply_slice(service);
        break;
    }
}

void service_update_close(struct service *service)
{
    cancel(service);
    wheel_cancel(&service->shard->wheel, &service->update_timer);
}
