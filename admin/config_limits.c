/* MtaQueueQuota and MtaOutboundThrottle as part of the image. */
#include "admin/config_private.h"
#include "core/text.h"

struct limit_list {
    struct builder *b;
    struct quota_conf *quotas;
    uint32_t quota_count;
    struct throttle_conf *throttles;
    uint32_t throttle_count;
};

static bool has_member(const json_t *object, const char *field, const char *member)
{
    return json_is_true(json_object_get(json_object_get(object, field), member));
}

static uint8_t parts_of(const json_t *object)
{
    static const struct {
        const char *name;
        uint8_t part;
    } parts[] = {{"sender", LIMIT_SENDER},   {"senderDomain", LIMIT_SENDER_DOMAIN},
                 {"rcpt", LIMIT_RCPT},       {"rcptDomain", LIMIT_RCPT_DOMAIN},
                 {"mx", LIMIT_MX},           {"remoteIp", LIMIT_REMOTE_IP},
                 {"localIp", LIMIT_LOCAL_IP}};
    uint8_t all = 0;
    for (size_t i = 0; i < mx_countof(parts); i++) {
        all |= has_member(object, "key", parts[i].name) ? parts[i].part : 0;
    }
    return all;
}

static uint64_t number_of(const json_t *object, const char *field)
{
    return (uint64_t)json_integer_value(json_object_get(object, field));
}

static mx_err name_of(struct builder *b, struct slice *out_name, const json_t *object)
{
    return arena_copy(out_name, b->arena, config_text(object, "description"));
}

/* *out_program: NULL for a match that is always true. *out_never: it is always false. */
static mx_err build_match(struct builder *b, struct expr_program **out_program, bool *out_never,
                          const json_t *object)
{
    struct expr_program *program = NULL;
    struct expr_value value;
    mx_err err = builder_compile(b, &program, object, "match", EXPR_QHOST);
    *out_program = program;
    *out_never = false;
    if (!err && expr_asks(program)) {
        return builder_fail(b, MX_ERR_INVALID,
                            "field match: nothing can be asked here, as with dns_query");
    }
    if (!err && expr_constant(program, &value)) {
        *out_never = !expr_truthy(&value);
        *out_program = NULL;
        expr_free(program);
    }
    return err;
}

/* One that has no effect is left out. */
static bool keep(struct expr_program **program, bool has_effect)
{
    if (!has_effect) {
        expr_free(*program);
        *program = NULL;
    }
    return has_effect;
}

static mx_err add_quota(void *arg, uint64_t id, json_t *object)
{
    struct limit_list *list = arg;
    struct builder *b = list->b;
    bool never;
    if (list->quota_count == LIMITS_QUOTAS_MAX) {
        return builder_fail(b, MX_ERR_LIMIT, "there are more than %d queue quotas",
                            LIMITS_QUOTAS_MAX);
    }
    struct expr_program **program = &b->programs->quotas[list->quota_count];
    struct quota_conf *quota = &list->quotas[list->quota_count];
    *quota = (struct quota_conf){.id = id,
                                 .parts = parts_of(object),
                                 .messages_max = number_of(object, "messages"),
                                 .bytes_max = number_of(object, "size")};
    if (quota->messages_max == 0 && quota->bytes_max == 0) {
        return builder_fail(b, MX_ERR_INVALID, "field messages: is required when there is no size");
    }
    mx_err err = build_match(b, program, &never, object);
    err = err ? err : name_of(b, &quota->name, object);
    quota->match = *program;
    list->quota_count += keep(program, !err && !never && config_flag(object, "enable"));
    return err;
}

static mx_err add_throttle(void *arg, uint64_t id, json_t *object)
{
    struct limit_list *list = arg;
    struct builder *b = list->b;
    bool never;
    if (list->throttle_count == LIMITS_THROTTLES_MAX) {
        return builder_fail(b, MX_ERR_LIMIT, "there are more than %d outbound throttles",
                            LIMITS_THROTTLES_MAX);
    }
    struct expr_program **program = &b->programs->outbound_throttles[list->throttle_count];
    struct throttle_conf *throttle = &list->throttles[list->throttle_count];
    const json_t *rate = json_object_get(object, "rate");
    *throttle = (struct throttle_conf){
        .id = id,
        .parts = parts_of(object),
        .count = (uint32_t)number_of(rate, "count"),
        .period_ms = number_of(rate, "period"),
        .rate = rate_of((uint32_t)number_of(rate, "count"), number_of(rate, "period"))};
    mx_err err = build_match(b, program, &never, object);
    err = err ? err : name_of(b, &throttle->name, object);
    throttle->match = *program;
    list->throttle_count += keep(program, !err && !never && config_flag(object, "enable"));
    return err;
}

mx_err build_limits(struct builder *b)
{
    struct limit_list list = {.b = b};
    list.quotas = arena_take(b->arena, LIMITS_QUOTAS_MAX * sizeof(*list.quotas));
    list.throttles = arena_take(b->arena, LIMITS_THROTTLES_MAX * sizeof(*list.throttles));
    if (!list.quotas || !list.throttles) {
        return builder_fail(b, MX_ERR_NOMEM, "%s", err_text(MX_ERR_NOMEM));
    }
    mx_err err = builder_each(b, "MtaQueueQuota", add_quota, &list);
    err = err ? err : builder_each(b, "MtaOutboundThrottle", add_throttle, &list);
    b->config->image.traffic.throttles = list.throttles;
    b->config->image.traffic.throttle_count = list.throttle_count;
    b->config->image.traffic.quotas = list.quotas;
    b->config->image.traffic.quota_count = list.quota_count;
    return err;
}
