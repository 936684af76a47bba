/* Where connections are accepted, and whose. */
#include "admin/config_private.h"
#include "core/timefmt.h"
#include "io/random.h"

#include <stdlib.h>

enum { BACKLOG_DEFAULT = 1024 };

/* Listeners -------------------------------------------------------------------------------- */

struct listener_list {
    struct builder *b;
    const struct listener_list *other; /* the list of the other protocol */
    struct listener_conf *listeners;
    uint32_t count;
};

static mx_err check_bind_among(const struct listener_list *list,
                               const struct listener_conf *listener, const struct netaddr *bind)
{
    for (uint32_t i = 0; i < list->count; i++) {
        const struct listener_conf *other = &list->listeners[i];
        for (uint32_t k = 0; k < other->bind_count; k++) {
            if (netaddr_equal(&other->binds[k], bind) && other->binds[k].port == bind->port) {
                char text[NETADDR_TEXT_MAX + 16];
                struct writer w = writer_init(text, sizeof(text));
                put_netaddr_port(&w, bind);
                return builder_fail(list->b, MX_ERR_INUSE,
                                    "field bind of '%.*s': the listener '%.*s' has %.*s already",
                                    SLICE_ARGS(listener->name), SLICE_ARGS(other->name),
                                    SLICE_ARGS(writer_slice(&w)));
            }
        }
    }
    return MX_OK;
}

static mx_err check_bind(const struct listener_list *list, const struct listener_conf *listener,
                         const struct netaddr *bind)
{
    mx_err err = check_bind_among(list, listener, bind);
    return err ? err : check_bind_among(list->other, listener, bind);
}

static mx_err build_binds(struct listener_list *list, struct listener_conf *listener,
                          const json_t *object)
{
    json_t *set = json_object_get(object, "bind");
    struct netaddr *binds =
        arena_take(list->b->arena, (json_object_size(set) + 1) * sizeof(*binds));
    if (!binds) {
        return builder_no_memory(list->b);
    }
    uint32_t count = 0;
    const char *text;
    json_t *yes;
    json_object_foreach(set, text, yes)
    {
        mx_err err = netaddr_parse_port(&binds[count], slice_of_text(text));
        if (err) {
            return builder_fail(list->b, err, "field bind: '%s' is not a socket address", text);
        }
        err = check_bind(list, listener, &binds[count]);
        if (err) {
            return err;
        }
        count++;
    }
    listener->binds = binds;
    listener->bind_count = count;
    return MX_OK;
}

static uint32_t number_or(const json_t *object, const char *name, uint32_t otherwise)
{
    const json_t *value = json_object_get(object, name);
    return json_is_integer(value) ? (uint32_t)json_integer_value(value) : otherwise;
}

static mx_err add_listener(void *arg, uint64_t id, json_t *object)
{
    struct listener_list *lists = arg;
    bool is_http = slice_equal(config_text(object, "protocol"), SLICE_LITERAL("http"));
    struct listener_list *list = &lists[is_http];
    struct listener_conf *listener = &list->listeners[list->count];
    (void)id;
    if (list->count == IMAGE_LISTENERS_MAX) {
        return builder_fail(list->b, MX_ERR_LIMIT, "there are more than %d listeners",
                            IMAGE_LISTENERS_MAX);
    }
    listener->slot = list->count;
    if (arena_copy(&listener->name, list->b->arena, config_text(object, "name"))) {
        return builder_no_memory(list->b);
    }
    listener->tls_implicit = config_flag(object, "tlsImplicit");
    listener->tls = listener->tls_implicit || config_flag(object, "useTls");
    listener->connections_max =
        number_or(object, "maxConnections", list->b->config->image.connections_max);
    listener->backlog = number_or(object, "socketBacklog", BACKLOG_DEFAULT);
    listener->greet_delay_ms = number_or(object, "greetDelay", 0);
    mx_err err = build_binds(list, listener, object);
    err = err ? err
              : build_networks(list->b, &listener->proxy_networks, &listener->proxy_network_count,
                               object, "overrideProxyTrustedNetworks");
    listener->proxy_override = listener->proxy_network_count > 0;
    const char *only_smtp = listener->proxy_override       ? "overrideProxyTrustedNetworks"
                            : listener->greet_delay_ms > 0 ? "greetDelay"
                                                           : NULL;
    if (!err && is_http && only_smtp != NULL) {
        err = builder_fail(list->b, MX_ERR_UNSUPPORTED,
                           "field %s of '%.*s': not supported by ringmx for HTTP", only_smtp,
                           SLICE_ARGS(listener->name));
    }
    list->count++;
    return err;
}

mx_err build_listeners(struct builder *b)
{
    b->type = config_type("NetworkListener");
    struct config_count only = {0};
    mx_err err = store_each(b->store, b->type, config_count_object, &only);
    if (err) {
        return builder_store_failed(b, err);
    }
    struct listener_list lists[2] = {{.b = b, .other = &lists[1]}, {.b = b, .other = &lists[0]}};
    for (size_t i = 0; i < mx_countof(lists); i++) {
        lists[i].listeners = arena_take(b->arena, (only.count + 1) * sizeof(*lists[i].listeners));
        if (!lists[i].listeners) {
            return builder_no_memory(b);
        }
    }
    b->problem->text[0] = 0;
    err = store_each(b->store, b->type, add_listener, lists);
    if (err) {
        return b->problem->text[0] ? err : builder_store_failed(b, err);
    }
    b->config->image.listeners = lists[0].listeners;
    b->config->image.listener_count = lists[0].count;
    b->config->image.http_listeners = lists[1].listeners;
    b->config->image.http_listener_count = lists[1].count;
    return MX_OK;
}

/* Blocked and allowed clients -------------------------------------------------------------- */

struct network_list {
    struct builder *b;
    struct netset_entry *entries;
    size_t count, cap;
};

static mx_err add_network(void *arg, uint64_t id, json_t *object)
{
    struct network_list *list = arg;
    (void)id;
    if (list->count == list->cap) {
        size_t cap = list->cap ? list->cap * 2 : 64;
        struct netset_entry *entries = realloc(list->entries, cap * sizeof(*entries));
        if (!entries) {
            return MX_ERR_NOMEM;
        }
        list->entries = entries;
        list->cap = cap;
    }
    struct netset_entry *entry = &list->entries[list->count++];
    *entry = (struct netset_entry){.expires_ms = 0};
    struct slice expires = config_text(object, "expiresAt");
    mx_err err = netmask_parse(&entry->mask, config_text(object, "address"));
    if (!err && expires.len) {
        err = rfc3339_parse(&entry->expires_ms, expires);
    }
    return err;
}

static mx_err build_netset(struct builder *b, struct netset **out_set, const char *type)
{
    struct network_list list = {.b = b};
    b->type = config_type(type);
    mx_err err = store_each(b->store, b->type, add_network, &list);
    if (!err) {
        err = netset_new(out_set, list.entries, list.count, random_u64());
    }
    free(list.entries);
    return err ? builder_store_failed(b, err) : MX_OK;
}

mx_err build_clients(struct builder *b)
{
    mx_err err = build_netset(b, &b->programs->blocked, "BlockedIp");
    err = err ? err : build_netset(b, &b->programs->allowed, "AllowedIp");
    b->config->image.blocked = b->programs->blocked;
    b->config->image.allowed = b->programs->allowed;
    return err;
}
