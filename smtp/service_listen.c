#include "smtp/service_listen.h"

#include "core/check.h"
#include "smtp/service.h"
#include "smtp/session_settings.h"
#include "smtp/srv_conn.h"

#include <stdlib.h>

/* --- profiles ----------------------------------------------------------------------------------
 */

static struct srv_profile *profile_new(struct service *service, const struct image *image,
                                       const struct listener_conf *conf)
{
    struct srv_profile *profile = calloc(1, sizeof *profile);
    if (profile == NULL) {
        return NULL;
    }
    MX_ASSERT(image->hostname.len <= sizeof profile->hostname);
    memcpy(profile->hostname, image->hostname.ptr, image->hostname.len);
    profile->references = 1;
    profile->tls_implicit = conf->tls_implicit;
    profile->conf = (struct srv_conf){.limits = session_engine_limits(&image->limits),
                                      .hostname = slice_of(profile->hostname, image->hostname.len),
                                      .tls_available = conf->tls,
                                      .counts = &service->session_stats.srv};
    return profile;
}

static void profile_release(struct srv_profile *profile)
{
    if (profile != NULL && --profile->references == 0) {
        free(profile);
    }
}

/* --- sessions ----------------------------------------------------------------------------------
 */

static void on_accepted(struct listener *listener, int fd)
{
    srv_conn_accept(mx_container_of(listener, struct service_listener, listener), fd);
}

static void each_open(struct service *service, void (*each)(struct listener *listener))
{
    struct list_node *node = list_first(&service->listeners);
    for (; node != NULL; node = list_next(&service->listeners, node)) {
        struct service_listener *own = mx_container_of(node, struct service_listener, node);
        if (own->open && own->conf != NULL) {
            each(&own->listener);
        }
    }
}

void listener_count_refusal(struct service_listener *listener, enum stats_refusal why)
{
    struct session_stats *stats = &listener->service->session_stats;
    count_one(&stats->refused[why]);
    count_one(&stats->listeners[listener->row].refused);
}

/* STATS_REFUSALS: within all limits. */
static enum stats_refusal over_limit(const struct service_listener *listener,
                                     enum stats_refusal client)
{
    const struct service *service = listener->service;
    const struct session_count *count = service->conf.sessions;
    if (service->stopping || listener->conf == NULL) {
        return REFUSAL_STOPPING;
    }
    if (client != STATS_REFUSALS) {
        return client;
    }
    if (session_count_of(count, listener->slot) > listener->conf->connections_max) {
        return REFUSAL_LISTENER_FULL;
    }
    if (session_count_all(count) > service->image->connections_max) {
        return REFUSAL_SERVER_FULL;
    }
    if (!service_has_memory(service)) {
        return REFUSAL_MEMORY;
    }
    return shed_refuses(&service->shed) ? REFUSAL_OVERLOAD : STATS_REFUSALS;
}

void listener_hold(struct service_listener *listener)
{
    listener->conns++;
    listener->profile->references++;
}

enum stats_refusal listener_session_began(struct service_listener *listener,
                                          enum stats_refusal client)
{
    struct service *service = listener->service;
    struct session_count *count = service->conf.sessions;
    session_count_add(count, service->shard->conf.id, listener->slot, 1);
    enum stats_refusal why = over_limit(listener, client);
    if (why == STATS_REFUSALS) {
        count_one(&service->session_stats.accepted);
        count_one(&service->session_stats.listeners[listener->row].accepted);
    } else {
        session_count_add(count, service->shard->conf.id, listener->slot, -1);
        listener_count_refusal(listener, why);
    }
    if (service->sessions_pool.used - service->proxy_wait_count >=
        (size_t)service->image->connections_max + SERVICE_REFUSALS_MAX) {
        /* Nobody could be answered any more: let them wait in the kernel's queue. */
        each_open(service, listener_pause);
    }
    return why;
}

static void resume(struct listener *listener)
{
    if (listener->paused) {
        listener_resume(listener);
    }
}

static void free_if_gone(struct service_listener *listener)
{
    if (listener->conf == NULL && !listener->open && listener->conns == 0) {
        list_remove(&listener->node);
        profile_release(listener->profile);
        free(listener);
    }
}

void listener_session_ended(struct service_listener *listener)
{
    const struct service *service = listener->service;
    session_count_add(service->conf.sessions, service->shard->conf.id, listener->slot, -1);
}

void listener_release(struct service_listener *listener, struct srv_profile *profile)
{
    struct service *service = listener->service;
    profile_release(profile);
    listener->conns--;
    free_if_gone(listener);
    if (!service->stopping) {
        each_open(service, resume);
    }
}

/* --- opening and closing -----------------------------------------------------------------------
 */

static void on_closed(struct listener *listener)
{
    struct service_listener *own = mx_container_of(listener, struct service_listener, listener);
    struct service *service = own->service;
    own->open = false;
    free_if_gone(own);
    service_update_listener_closed(service);
}

static void close_one(struct listener *listener)
{
    listener->closed = on_closed;
    listener_close(listener);
}

static void open_one(struct service_listener *own)
{
    listener_open(&own->listener, own->service->shard, own->fd, on_accepted);
    own->open = true;
    own->fd = -1;
}

void listeners_start(struct service *service)
{
    struct list_node *node = list_first(&service->listeners);
    for (; node != NULL; node = list_next(&service->listeners, node)) {
        struct service_listener *own = mx_container_of(node, struct service_listener, node);
        if (own->fd >= 0) {
            open_one(own);
        }
    }
}

/* Closing may free the listener: the next one is looked up before. */
static void close_each(struct service *service, bool retired_only)
{
    struct list_node *node = list_first(&service->listeners);
    while (node != NULL) {
        struct service_listener *own = mx_container_of(node, struct service_listener, node);
        node = list_next(&service->listeners, node);
        if (own->open && !own->listener.closing && (own->conf == NULL || !retired_only)) {
            close_one(&own->listener);
        } else if (own->conf == NULL) {
            free_if_gone(own);
        }
    }
}

void listeners_stop(struct service *service)
{
    close_each(service, false);
}

static bool is_any_open(const struct service *service, bool retired_only)
{
    struct list_node *node = list_first(&service->listeners);
    for (; node != NULL; node = list_next(&service->listeners, node)) {
        struct service_listener *own = mx_container_of(node, struct service_listener, node);
        if (own->open && (own->conf == NULL || !retired_only)) {
            return true;
        }
    }
    return false;
}

bool listeners_closing(const struct service *service)
{
    return is_any_open(service, true);
}

bool listeners_closed(const struct service *service)
{
    return !is_any_open(service, false);
}

void listeners_free(struct service *service)
{
    struct list_node *node;
    listeners_cancel(service);
    while ((node = list_pop_front(&service->listeners)) != NULL) {
        struct service_listener *own = mx_container_of(node, struct service_listener, node);
        if (own->fd >= 0) {
            ring_close_fd(own->fd); /* never opened */
        }
        profile_release(own->profile);
        free(own);
    }
}

/* --- another image -----------------------------------------------------------------------------
 */

static struct service_listener *find(struct service *service, const struct listener_conf *conf,
                                     const struct netaddr *bind)
{
    struct list_node *node = list_first(&service->listeners);
    for (; node != NULL; node = list_next(&service->listeners, node)) {
        struct service_listener *own = mx_container_of(node, struct service_listener, node);
        if (own->conf != NULL && slice_equal(own->conf->name, conf->name) &&
            netaddr_equal(&own->bind, bind) && own->bind.port == bind->port) {
            return own;
        }
    }
    return NULL;
}

static struct service_listener *listener_new(struct service *service,
                                             const struct listener_conf *conf,
                                             const struct netaddr *bind, int fd)
{
    struct service_listener *own = calloc(1, sizeof *own);
    if (own != NULL) {
        own->service = service;
        own->bind = *bind;
        own->slot = conf->slot;
        own->row =
            stats_row(service->session_stats.listeners, sizeof(struct listener_row), conf->name);
        own->fd = fd;
    }
    return own;
}

static mx_err prepare_one(struct service *service, const struct image *image,
                          const struct listener_conf *conf, const struct netaddr *bind, int fd)
{
    struct listeners_next *next = &service->next_listeners;
    struct service_listener *own = find(service, conf, bind);
    if (own == NULL && fd < 0) {
        return MX_ERR_NOTFOUND;
    }
    if (own == NULL) {
        own = listener_new(service, conf, bind, fd);
    }
    struct srv_profile *profile = own == NULL ? NULL : profile_new(service, image, conf);
    if (profile == NULL) {
        if (own != NULL && !list_linked(&own->node)) {
            free(own);
        }
        return MX_ERR_NOMEM;
    }
    own->kept = true;
    next->listeners[next->count] = own;
    next->profiles[next->count++] = profile;
    return MX_OK;
}

mx_err listeners_prepare(struct service *service, const struct image *image, const int *fds)
{
    struct listeners_next *next = &service->next_listeners;
    uint32_t total = 0;
    for (uint32_t i = 0; i < image->listener_count; i++) {
        total += image->listeners[i].bind_count;
    }
    MX_ASSERT(next->listeners == NULL);
    *next = (struct listeners_next){.listeners = calloc(total + 1, sizeof *next->listeners),
                                    .profiles = calloc(total + 1, sizeof *next->profiles)};
    mx_err err = next->listeners == NULL || next->profiles == NULL ? MX_ERR_NOMEM : MX_OK;
    for (uint32_t i = 0; !err && i < image->listener_count; i++) {
        const struct listener_conf *conf = &image->listeners[i];
        for (uint32_t b = 0; !err && b < conf->bind_count; b++) {
            err = prepare_one(service, image, conf, &conf->binds[b], *fds++);
        }
    }
    if (err) {
        listeners_cancel(service);
    }
    return err;
}

static void next_forget(struct service *service)
{
    struct list_node *node = list_first(&service->listeners);
    for (; node != NULL; node = list_next(&service->listeners, node)) {
        mx_container_of(node, struct service_listener, node)->kept = false;
    }
    free(service->next_listeners.listeners);
    free(service->next_listeners.profiles);
    service->next_listeners = (struct listeners_next){0};
}

void listeners_switch(struct service *service, const struct image *image)
{
    const struct listeners_next *next = &service->next_listeners;
    uint32_t at = 0;
    for (uint32_t i = 0; i < image->listener_count; i++) {
        for (uint32_t b = 0; b < image->listeners[i].bind_count; b++, at++) {
            struct service_listener *own = next->listeners[at];
            own->conf = &image->listeners[i];
            profile_release(own->profile);
            own->profile = next->profiles[at];
            if (!list_linked(&own->node)) {
                list_push_back(&service->listeners, &own->node);
            }
        }
    }
    struct list_node *node = list_first(&service->listeners);
    for (; node != NULL; node = list_next(&service->listeners, node)) {
        struct service_listener *own = mx_container_of(node, struct service_listener, node);
        if (!own->kept) {
            own->conf = NULL;
        }
    }
    next_forget(service);
    close_each(service, true);
}

void listeners_cancel(struct service *service)
{
    struct listeners_next *next = &service->next_listeners;
    for (uint32_t i = 0; i < next->count; i++) {
        profile_release(next->profiles[i]);
        if (!list_linked(&next->listeners[i]->node)) {
            free(next->listeners[i]);
        }
    }
    next_forget(service);
}
