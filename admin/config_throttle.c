/* MtaInboundThrottle as part of the image. */
#include "admin/config_private.h"

static uint16_t parts_of(const json_t *key)
{
    uint16_t parts = 0;
    for (unsigned i = 0; i < INBOUND_PARTS; i++) {
        if (json_object_get(key, inbound_part_name(i))) {
            parts |= (uint16_t)(1u << i);
        }
    }
    return parts;
}

struct throttle_list {
    struct builder *b;
    struct inbound_throttle *items;
    uint32_t count;
};

static uint64_t number_of(const json_t *object, const char *name)
{
    json_int_t value = json_integer_value(json_object_get(object, name));
    return value > 0 ? (uint64_t)value : 1; /* no memory: refused in the end */
}

/* *out_never: it can never match. */
static mx_err add_match(struct throttle_list *list, struct inbound_throttle *own,
                        const json_t *object, bool *out_never)
{
    struct expr_program **place = &list->b->programs->throttles[list->count];
    struct expr_value value;
    mx_err err = builder_compile(list->b, place, object, "match", EXPR_RCPT);
    *out_never = false;
    if (!err && expr_constant(*place, &value)) {
        *out_never = !expr_truthy(&value);
        expr_free(*place);
        *place = NULL;
    }
    own->match = err ? NULL : *place;
    return err;
}

static mx_err add_throttle(void *arg, uint64_t id, json_t *object)
{
    struct throttle_list *list = arg;
    if (!config_flag(object, "enable")) {
        return MX_OK;
    }
    if (list->count == INBOUND_THROTTLES_MAX) {
        return builder_fail(list->b, MX_ERR_LIMIT, "there are more than %d in force",
                            INBOUND_THROTTLES_MAX);
    }
    struct inbound_throttle *own = &list->items[list->count];
    const json_t *rate = json_object_get(object, "rate");
    bool never;
    *own = (struct inbound_throttle){.id = id,
                                     .parts = parts_of(json_object_get(object, "key")),
                                     .count = (uint32_t)number_of(rate, "count"),
                                     .period_ms = number_of(rate, "period")};
    own->rate = rate_of(own->count, own->period_ms);
    mx_err err = add_match(list, own, object, &never);
    if (err || never) {
        return err;
    }
    own->stage = inbound_stage_of(own->parts, own->match);
    list->count++;
    return arena_copy(&own->name, list->b->arena, config_text(object, "description"));
}

mx_err build_throttles(struct builder *b)
{
    struct throttle_list list = {.b = b};
    list.items = arena_take(b->arena, INBOUND_THROTTLES_MAX * sizeof(*list.items));
    if (!list.items) {
        return builder_fail(b, MX_ERR_NOMEM, "%s", err_text(MX_ERR_NOMEM));
    }
    mx_err err = builder_each(b, "MtaInboundThrottle", add_throttle, &list);
    struct inbound_throttles *out = &b->config->image.throttles;
    out->items = list.items;
    out->count = list.count;
    for (uint32_t i = 0; i < list.count; i++) {
        out->stages |= 1u << list.items[i].stage;
    }
    return err;
}
