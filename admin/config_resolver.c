/* DnsResolver of the store as part of the image. */
#include "admin/config_private.h"
#include "core/text.h"

static mx_err add_servers(struct builder *b, struct resolver_conf *resolver, const json_t *set)
{
    struct netaddr *servers = arena_take(b->arena, (json_object_size(set) + 1) * sizeof(*servers));
    const char *text;
    json_t *yes;
    if (!servers) {
        return builder_fail(b, MX_ERR_NOMEM, "%s", err_text(MX_ERR_NOMEM));
    }
    resolver->servers = servers;
    json_object_foreach((json_t *)(uintptr_t)set, text, yes)
    {
        struct netaddr *server = &servers[resolver->server_count++];
        if (netaddr_parse_port(server, slice_of_text(text)) || server->port == 0) {
            return builder_fail(b, MX_ERR_SYNTAX, "field servers: '%s' is no address and port",
                                text);
        }
    }
    return MX_OK;
}

mx_err build_resolver(struct builder *b)
{
    struct resolver_conf *resolver = &b->config->image.resolver;
    json_t *object;
    mx_err err = builder_singleton(b, &object, "DnsResolver");
    if (err) {
        return err;
    }
    const char *variant = json_string_value(json_object_get(object, "@type"));
    if (slice_equal(slice_of_text(variant), SLICE_LITERAL("Custom"))) {
        resolver->timeout_ms = (uint32_t)json_integer_value(json_object_get(object, "timeout"));
        resolver->attempts = (uint32_t)json_integer_value(json_object_get(object, "attempts"));
        err = add_servers(b, resolver, json_object_get(object, "servers"));
    }
    json_decref(object);
    return err;
}
