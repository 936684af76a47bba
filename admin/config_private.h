/* Shared by config_build.c and config_*.c. */
#pragma once

#include "admin/arena.h"
#include "admin/config_build.h"
#include "core/check.h"

/* What a config owns. */
struct config_memory {
    struct arena arena;
    struct expr_program *route, *schedule, *tls, *connection;
    struct expr_program *sessions[SESSION_SETTINGS];
    struct expr_program *stages[STAGE_PROGRAMS];
    struct expr_program *quotas[LIMITS_QUOTAS_MAX];
    struct expr_program *outbound_throttles[LIMITS_THROTTLES_MAX];
    struct expr_program *throttles[INBOUND_THROTTLES_MAX];
    struct netset *blocked, *allowed;
    struct lookups *lookups;
};

struct builder {
    struct store *store;
    struct config *config;
    struct arena *arena;
    struct config_memory *programs;
    const struct reg_type *type; /* being compiled, for messages */
    struct config_problem *problem;
};

/* Members of a normal object. */
static inline struct slice config_text(const json_t *object, const char *name)
{
    const json_t *value = json_object_get(object, name);
    return slice_of(json_string_value(value), json_string_length(value));
}
static inline bool config_flag(const json_t *object, const char *name)
{
    return json_is_true(json_object_get(object, name));
}
static inline uint64_t config_number(const json_t *object, const char *name)
{
    json_int_t value = json_integer_value(json_object_get(object, name));
    return value > 0 ? (uint64_t)value : 0;
}
static inline const struct reg_type *config_type(const char *name)
{
    const struct reg_type *type = reg_type_find(slice_of_text(name));
    MX_ASSERT(type);
    return type;
}

/* For store_each: how many there are, and the last of them. */
struct config_count {
    uint64_t id;
    size_t count;
};
static inline mx_err config_count_object(void *arg, uint64_t id, json_t *object)
{
    struct config_count *only = arg;
    (void)object;
    only->id = id;
    only->count++;
    return MX_OK;
}

/* Fills the problem with "Type, text" and returns err. */
mx_err builder_fail(struct builder *b, mx_err err, const char *format, ...) MX_PRINTF(3, 4);
mx_err builder_store_failed(struct builder *b, mx_err err);
mx_err builder_no_memory(struct builder *b);
/* A setting's object as stored or by default; sets b->type. Caller releases. */
MX_MUST_CHECK mx_err builder_singleton(struct builder *b, json_t **out_object, const char *name);
/* As store_each for a type, which becomes b->type; each fails by builder_fail, or with what the
 * store has failed with. */
MX_MUST_CHECK mx_err builder_each(struct builder *b, const char *type, store_object_fn each,
                                  void *arg);
/* Compiles a field of a normal object; errors name field and position. */
MX_MUST_CHECK mx_err builder_compile(struct builder *b, struct expr_program **out_program,
                                     const json_t *object, const char *field,
                                     enum expr_context context);
/* Queues and schedules, and the strategy's field that chooses among them (config_schedule.c). */
MX_MUST_CHECK mx_err build_schedules(struct builder *b);
MX_MUST_CHECK mx_err build_schedule_program(struct builder *b, const json_t *strategy);
/* Lists that expressions look keys up in (config_lookup.c): before whatever compiles one. */
MX_MUST_CHECK mx_err build_lookups(struct builder *b);
/* Rates of what comes in (config_throttle.c). */
MX_MUST_CHECK mx_err build_throttles(struct builder *b);
/* The resolver (config_resolver.c). */
MX_MUST_CHECK mx_err build_resolver(struct builder *b);
/* How connections to other mail systems are made (config_outbound.c). */
MX_MUST_CHECK mx_err build_outbound(struct builder *b);
/* Limits of the queue and of deliveries (config_limits.c). */
MX_MUST_CHECK mx_err build_limits(struct builder *b);
/* Domains and addresses. */
MX_MUST_CHECK mx_err build_records(struct builder *b);
/* The whole server, and a set of networks in any object (config_settings.c). */
MX_MUST_CHECK mx_err build_settings(struct builder *b);
MX_MUST_CHECK mx_err build_networks(struct builder *b, const struct netmask **out_networks,
                                    uint32_t *out_count, const json_t *object, const char *field);
/* Listeners, and who is blocked or allowed there (config_listeners.c). */
MX_MUST_CHECK mx_err build_listeners(struct builder *b);
MX_MUST_CHECK mx_err build_clients(struct builder *b);
