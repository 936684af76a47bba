/* Shared by config_build.c and config_records.c. */
#pragma once

#include "admin/arena.h"
#include "admin/config_build.h"

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

/* Fills the problem with "Type, text" and returns err. */
mx_err builder_fail(struct builder *b, mx_err err, const char *format, ...) MX_PRINTF(3, 4);
mx_err builder_store_failed(struct builder *b, mx_err err);
/* A setting's object as stored or by default; sets b->type. Caller releases. */
MX_MUST_CHECK mx_err builder_singleton(struct builder *b, json_t **out_object, const char *name);
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
