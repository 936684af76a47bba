/* The strategies of connections to other mail systems, as part of the image. */
#include "admin/config_private.h"
#include "core/text.h"

static uint32_t ms_member(const json_t *object, const char *name)
{
    return (uint32_t)json_integer_value(json_object_get(object, name));
}

struct strategy_list {
    struct builder *b;
    struct tls_strategy *tls;
    struct connection_strategy *connections;
    uint32_t count;
};

static mx_err add_tls(void *arg, uint64_t id, json_t *object)
{
    struct strategy_list *list = arg;
    struct tls_strategy *strategy = &list->tls[list->count++];
    struct slice start = config_text(object, "startTls");
    (void)id;
    *strategy = (struct tls_strategy){
        .start_tls = slice_equal(start, SLICE_LITERAL("require"))   ? START_TLS_REQUIRE
                     : slice_equal(start, SLICE_LITERAL("disable")) ? START_TLS_DISABLE
                                                                    : START_TLS_OPTIONAL,
        .allow_invalid_certs = config_flag(object, "allowInvalidCerts"),
        .handshake_ms = ms_member(object, "tlsTimeout")};
    strategy->effect = tls_strategy_effect(strategy);
    return arena_copy(&strategy->name, list->b->arena, config_text(object, "name"));
}

static mx_err add_sources(struct builder *b, struct connection_strategy *strategy,
                          const json_t *sources)
{
    const char *key;
    json_t *item;
    uint32_t count = 0;
    struct source_address *list =
        arena_take(b->arena, (json_object_size(sources) + 1) * sizeof(*list));
    if (!list) {
        return MX_ERR_NOMEM;
    }
    json_object_foreach((json_t *)(uintptr_t)sources, key, item)
    {
        struct source_address *source = &list[count++];
        mx_err err = netaddr_parse(&source->addr, config_text(item, "sourceIp"));
        err =
            err ? err : arena_copy(&source->ehlo_name, b->arena, config_text(item, "ehloHostname"));
        if (err) {
            return err;
        }
    }
    strategy->sources = list;
    strategy->source_count = count;
    return MX_OK;
}

static mx_err add_connection(void *arg, uint64_t id, json_t *object)
{
    struct strategy_list *list = arg;
    struct connection_strategy *strategy = &list->connections[list->count++];
    (void)id;
    *strategy =
        (struct connection_strategy){.times = {.connect = ms_member(object, "connectTimeout"),
                                               .greeting = ms_member(object, "greetingTimeout"),
                                               .ehlo = ms_member(object, "ehloTimeout"),
                                               .mail = ms_member(object, "mailFromTimeout"),
                                               .rcpt = ms_member(object, "rcptToTimeout"),
                                               .data = ms_member(object, "dataTimeout")}};
    mx_err err = arena_copy(&strategy->name, list->b->arena, config_text(object, "name"));
    err =
        err ? err
            : arena_copy(&strategy->ehlo_name, list->b->arena, config_text(object, "ehloHostname"));
    err = err ? err : add_sources(list->b, strategy, json_object_get(object, "sourceIps"));
    strategy->effect = connection_strategy_effect(strategy);
    return err;
}

/* Takes the memory for all objects of a type, `size` bytes each, and one more. */
static mx_err take_list(struct builder *b, void **out_list, const char *type, size_t size)
{
    struct config_count only = {0};
    b->type = config_type(type);
    mx_err err = store_each(b->store, b->type, config_count_object, &only);
    *out_list = err ? NULL : arena_take(b->arena, (only.count + 1) * size);
    return err || *out_list ? err : MX_ERR_NOMEM;
}

static mx_err build_lists(struct builder *b, struct outbound_conf *conf)
{
    struct strategy_list list = {.b = b};
    mx_err err = take_list(b, (void **)&list.tls, "MtaTlsStrategy", sizeof(*list.tls));
    err = err ? err : store_each(b->store, b->type, add_tls, &list);
    conf->tls = list.tls;
    conf->tls_count = list.count;
    list.count = 0;
    err = err ? err
              : take_list(b, (void **)&list.connections, "MtaConnectionStrategy",
                          sizeof(*list.connections));
    err = err ? err : store_each(b->store, b->type, add_connection, &list);
    conf->connections = list.connections;
    conf->connection_count = list.count;
    return err ? builder_store_failed(b, err) : MX_OK;
}

/* Programs ---------------------------------------------------------------------------------- */

struct result_search {
    const struct outbound_conf *conf;
    const struct tls_strategy *tls; /* of the first result */
    const struct connection_strategy *connection;
    bool varies;
    struct slice missing;
};

static void look_at_tls(void *arg, struct slice name)
{
    struct result_search *search = arg;
    const struct tls_strategy *found = outbound_tls(search->conf, name);
    if (!found) {
        search->missing = search->missing.ptr ? search->missing : name;
        return;
    }
    search->tls = search->tls ? search->tls : found;
    search->varies = search->varies || found->effect != search->tls->effect;
}

static void look_at_connection(void *arg, struct slice name)
{
    struct result_search *search = arg;
    const struct connection_strategy *found = outbound_connection(search->conf, name);
    if (!found) {
        search->missing = search->missing.ptr ? search->missing : name;
        return;
    }
    search->connection = search->connection ? search->connection : found;
    search->varies = search->varies || found->effect != search->connection->effect;
}

static mx_err build_program(struct builder *b, struct expr_program **out_program,
                            struct result_search *search, const json_t *object, const char *field,
                            const char *type, void (*look)(void *arg, struct slice name))
{
    mx_err err = builder_compile(b, out_program, object, field, EXPR_QHOST);
    if (err) {
        return err;
    }
    if (!expr_literal_results(*out_program, look, search)) {
        return builder_fail(b, MX_ERR_INVALID,
                            "field %s: every result must be the name of an %s in quotes", field,
                            type);
    }
    if (search->missing.ptr) {
        return builder_fail(b, MX_ERR_NOTFOUND,
                            "field %s: names the %s '%.*s', which does not exist", field, type,
                            SLICE_ARGS(search->missing));
    }
    return MX_OK;
}

mx_err build_outbound(struct builder *b)
{
    struct outbound_conf *conf = &b->config->image.outbound;
    struct result_search tls = {.conf = conf}, connection = {.conf = conf};
    json_t *object;
    mx_err err = build_lists(b, conf);
    err = err ? err : builder_singleton(b, &object, "MtaOutboundStrategy");
    if (err) {
        return err;
    }
    err = build_program(b, &b->programs->tls, &tls, object, "tls", "MtaTlsStrategy", look_at_tls);
    err = err ? err
              : build_program(b, &b->programs->connection, &connection, object, "connection",
                              "MtaConnectionStrategy", look_at_connection);
    json_decref(object);
    conf->tls_program = b->programs->tls;
    conf->tls_fixed = tls.varies ? NULL : tls.tls;
    conf->connection_program = b->programs->connection;
    conf->connection_fixed = connection.varies ? NULL : connection.connection;
    return err;
}
