/* The store as an image: expressions, limits of sessions, routes; config_*.c make the rest. */
#include "admin/config_build.h"
#include "admin/json_memory.h"

#include "admin/config_private.h"
#include "admin/object_id.h"
#include "admin/objects.h"
#include "core/check.h"
#include "core/text.h"
#include "core/timefmt.h"
#include "io/address_lookup.h"
#include "route/lookup.h"
#include "smtp/session_settings.h"

#include <stdio.h>
#include <stdlib.h>

#define PROXY_HEADER_MS UINT64_C(5000)
#define TLS_HANDSHAKE_MS UINT64_C(60000)

mx_err builder_fail(struct builder *b, mx_err err, const char *format, ...)
{
    char text[sizeof(b->problem->text)];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    config_problem_set(b->problem, "%s%s%s", b->type ? b->type->shape.name : "",
                       b->type ? ", " : "", text);
    return err;
}

mx_err builder_store_failed(struct builder *b, mx_err err)
{
    b->type = NULL;
    return builder_fail(b, err, "%s",
                        err == MX_ERR_NOMEM ? err_text(err) : store_problem(b->store));
}

mx_err builder_no_memory(struct builder *b)
{
    b->type = NULL;
    return builder_fail(b, MX_ERR_NOMEM, "%s", err_text(MX_ERR_NOMEM));
}

mx_err builder_singleton(struct builder *b, json_t **out_object, const char *name)
{
    b->type = config_type(name);
    mx_err err = object_get(b->store, out_object, b->type, OBJECT_ID_SINGLETON);
    return err ? builder_store_failed(b, err) : MX_OK;
}

/* Expressions ------------------------------------------------------------------------------ */

mx_err builder_each(struct builder *b, const char *type, store_object_fn each, void *arg)
{
    b->type = config_type(type);
    b->problem->text[0] = 0;
    mx_err err = store_each(b->store, b->type, each, arg);
    return err && !b->problem->text[0] ? builder_store_failed(b, err) : err;
}

mx_err builder_compile(struct builder *b, struct expr_program **out_program, const json_t *object,
                       const char *field, enum expr_context context)
{
    struct expr_problem problem;
    char place[EXPRESSION_PLACE_MAX];
    mx_err err = expression_compile(out_program, json_object_get(object, field), context,
                                    b->programs->lookups, place, &problem);
    return err ? builder_fail(b, err, "field %s/%s: at position %u: %s", field, place,
                              (unsigned)problem.position, problem.message)
               : MX_OK;
}

static void keep_largest(void *arg, const struct expr_value *value)
{
    uint64_t *largest = arg;
    if (value->type == EXPR_INTEGER && value->integer > 0 && (uint64_t)value->integer > *largest) {
        *largest = (uint64_t)value->integer;
    }
}

/* The program of a setting of sessions; NULL when it is the same for all of them, *out_value then.
 */
static mx_err setting_program(struct builder *b, struct expr_value *out_value,
                              const struct expr_program **out_program, enum session_setting which,
                              const json_t *object)
{
    const struct session_setting_row *row = session_setting_row(which);
    struct expr_program *program;
    mx_err err = builder_compile(b, &program, object, row->name, row->context);
    *out_program = NULL;
    if (err) {
        return err;
    }
    if (expr_constant(program, out_value)) {
        expr_free(program);
        return MX_OK;
    }
    b->programs->sessions[which] = program;
    b->config->image.session_programs[which] = program;
    b->config->image.session_varies = true;
    *out_program = program;
    return MX_OK;
}

/* A limit of sessions: its value, or a program that yields it for each of them, and the most that
 * this can be. */
static mx_err setting(struct builder *b, struct session_limits *limits, enum session_setting which,
                      const json_t *object)
{
    const struct session_setting_row *row = session_setting_row(which);
    const struct expr_program *program;
    struct expr_value value;
    uint64_t number = 0;
    mx_err err = setting_program(b, &value, &program, which, object);
    if (err) {
        return err;
    }
    if (program != NULL) {
        (void)expr_known_results(program, keep_largest, &number);
    } else {
        keep_largest(&number, &value);
    }
    bool is_zero = program == NULL && value.type == EXPR_INTEGER && value.integer == 0;
    if (number == 0 && !(row->zero && (program != NULL || is_zero))) {
        return builder_fail(b, MX_ERR_INVALID, "field %s: must be above zero", row->name);
    }
    if (row->width == sizeof(uint32_t) && number > UINT32_MAX) {
        return builder_fail(b, MX_ERR_RANGE, "field %s: is too large", row->name);
    }
    uint32_t narrow = (uint32_t)number;
    memcpy((uint8_t *)limits + row->offset,
           row->width == sizeof(narrow) ? (const void *)&narrow : (const void *)&number,
           row->width);
    return MX_OK;
}

/* Whether something is asked for, or offered. */
static mx_err truth(struct builder *b, struct session_limits *limits, enum session_setting which,
                    const json_t *object)
{
    const struct session_setting_row *row = session_setting_row(which);
    const struct expr_program *program;
    struct expr_value value;
    mx_err err = setting_program(b, &value, &program, which, object);
    if (!err && program == NULL) {
        bool is = expr_truthy(&value) != row->negated;
        memcpy((uint8_t *)limits + row->offset, &is, sizeof(is));
    }
    return err;
}

/* Limits ----------------------------------------------------------------------------------- */

static mx_err build_session(struct builder *b, struct session_limits *limits)
{
    json_t *object;
    mx_err err = builder_singleton(b, &object, "MtaInboundSession");
    if (err) {
        return err;
    }
    err = setting(b, limits, SETTING_IDLE_MS, object);
    err = err ? err : setting(b, limits, SETTING_SESSION_MS, object);
    err = err ? err : setting(b, limits, SETTING_DATA_BLOCK_MS, object);
    err = err ? err : setting(b, limits, SETTING_DATA_RATE, object);
    err = err ? err : setting(b, limits, SETTING_DATA_GRACE_MS, object);
    err = err ? err : setting(b, limits, SETTING_ERRORS, object);
    err = err ? err : setting(b, limits, SETTING_COMMANDS, object);
    err = err ? err : setting(b, limits, SETTING_LINE_BYTES, object);
    limits->refuse_pipelining =
        !slice_equal(config_text(object, "unauthorizedPipelining"), SLICE_LITERAL("tolerate"));
    limits->error_delay_ms = (uint32_t)config_number(object, "errorDelay");
    limits->error_delay_after = (uint32_t)config_number(object, "errorDelayAfter");
    json_decref(object);
    limits->proxy_header_ms = PROXY_HEADER_MS;
    limits->tls_handshake_ms = TLS_HANDSHAKE_MS;
    return err;
}

static mx_err build_stages(struct builder *b, struct session_limits *limits)
{
    json_t *object;
    mx_err err = builder_singleton(b, &object, "MtaStageRcpt");
    if (err) {
        return err;
    }
    err = setting(b, limits, SETTING_RCPTS, object);
    err = err ? err : setting(b, limits, SETTING_RCPT_ERRORS, object);
    err = err ? err : setting(b, limits, SETTING_RCPT_DELAY_MS, object);
    json_decref(object);
    err = err ? err : builder_singleton(b, &object, "MtaStageData");
    if (err) {
        return err;
    }
    err = setting(b, limits, SETTING_SIZE_BYTES, object);
    err = err ? err : setting(b, limits, SETTING_MESSAGES, object);
    err = err ? err : setting(b, limits, SETTING_RECEIVED, object);
    limits->normalize_newlines =
        slice_equal(config_text(object, "bareNewlines"), SLICE_LITERAL("normalize"));
    limits->binarymime = config_flag(object, "binaryMime");
    json_decref(object);
    return err;
}

/* What sessions are called, whether EHLO is asked for, what is offered at it. */
static mx_err build_greeting(struct builder *b, struct session_limits *limits)
{
    const struct slice usual = SLICE_LITERAL("system('hostname')");
    json_t *object;
    mx_err err = builder_singleton(b, &object, "MtaStageConnect");
    if (err) {
        return err;
    }
    const json_t *name = json_object_get(object, "hostname");
    if (json_object_size(json_object_get(name, "match")) > 0 ||
        !slice_equal(config_text(name, "else"), usual)) {
        err = builder_compile(b, &b->programs->sessions[SETTING_HOSTNAME], object, "hostname",
                              EXPR_CONN);
        b->config->image.session_programs[SETTING_HOSTNAME] =
            b->programs->sessions[SETTING_HOSTNAME];
        b->config->image.session_varies = true;
    }
    json_decref(object);
    err = err ? err : builder_singleton(b, &object, "MtaStageEhlo");
    if (err) {
        return err;
    }
    err = truth(b, limits, SETTING_HELO_OPTIONAL, object);
    json_decref(object);
    err = err ? err : builder_singleton(b, &object, "MtaExtensions");
    if (err) {
        return err;
    }
    err = truth(b, limits, SETTING_NO_PIPELINING, object);
    err = err ? err : truth(b, limits, SETTING_NO_CHUNKING, object);
    err = err ? err : truth(b, limits, SETTING_NO_DSN, object);
    json_decref(object);
    return err;
}

/* What is as by default is no program, and costs sessions nothing. */
static mx_err build_stage(struct builder *b, enum stage_program which, const char *type,
                          const char *name)
{
    json_t *object;
    mx_err err = builder_singleton(b, &object, type);
    if (err) {
        return err;
    }
    const struct reg_field *field =
        reg_field_find(&b->type->shape.variants[0], slice_of_text(name));
    json_t *usual = json_loads(field->initial, 0, NULL);
    if (usual == NULL) {
        err = builder_no_memory(b);
    } else if (!json_equal(json_object_get(object, name), usual)) {
        err = builder_compile(b, &b->programs->stages[which], object, name, field->context);
        b->config->image.stages[which] = b->programs->stages[which];
        bool reports = which == STAGE_REPORT_NAME || which == STAGE_REPORT_ADDRESS;
        if (!err && reports && expr_asks(b->programs->stages[which])) {
            err = builder_fail(b, MX_ERR_INVALID,
                               "field %s: nothing can be asked here, as with dns_query", name);
        }
    }
    json_decref(usual);
    json_decref(object);
    return err;
}

static mx_err build_decisions(struct builder *b)
{
    static const struct {
        const char *type, *field;
    } stages[STAGE_PROGRAMS] = {[STAGE_GREETING] = {"MtaStageConnect", "smtpGreeting"},
                                [STAGE_FQDN] = {"MtaStageEhlo", "rejectNonFqdn"},
                                [STAGE_SENDER] = {"MtaStageMail", "isSenderAllowed"},
                                [STAGE_RELAYING] = {"MtaStageRcpt", "allowRelaying"},
                                [STAGE_REWRITE_SENDER] = {"MtaStageMail", "rewrite"},
                                [STAGE_REWRITE_RCPT] = {"MtaStageRcpt", "rewrite"},
                                [STAGE_REPORT_NAME] = {"DsnReportSettings", "fromName"},
                                [STAGE_REPORT_ADDRESS] = {"DsnReportSettings", "fromAddress"}};
    mx_err err = MX_OK;
    for (unsigned i = 0; !err && i < STAGE_PROGRAMS; i++) {
        err = build_stage(b, (enum stage_program)i, stages[i].type, stages[i].field);
    }
    return err;
}

static mx_err build_performance(struct builder *b, struct performance *out)
{
    json_t *object;
    mx_err err = builder_singleton(b, &object, "Performance");
    if (err) {
        return err;
    }
    *out = (struct performance){
#define PERFORMANCE(member, property, format, least, most, normal, help) \
    .member = config_number(object, property),
#include "route/performance.def"
#undef PERFORMANCE
        .content_bytes = config_number(object, "contentMemory"),
    };
    json_decref(object);
    return MX_OK;
}

/* Routes ----------------------------------------------------------------------------------- */

struct route_list {
    struct builder *b;
    struct route_conf *routes;
    uint32_t count;
};

static void add_mx_limits(struct route_conf *route, json_t *object)
{
    struct slice order = config_text(object, "ipLookupStrategy");
    route->mx_hosts_max = (uint8_t)json_integer_value(json_object_get(object, "maxMxHosts"));
    route->mx_addresses_max = (uint8_t)json_integer_value(json_object_get(object, "maxMultihomed"));
    route->mx_families = slice_equal(order, SLICE_LITERAL("v6ThenV4")) ? ADDRESS_V6_THEN_V4
                         : slice_equal(order, SLICE_LITERAL("v4Only")) ? ADDRESS_V4_ONLY
                         : slice_equal(order, SLICE_LITERAL("v6Only")) ? ADDRESS_V6_ONLY
                                                                       : ADDRESS_V4_THEN_V6;
}

static mx_err add_route(void *arg, uint64_t id, json_t *object)
{
    struct route_list *list = arg;
    struct route_conf *route = &list->routes[list->count];
    (void)id;
    struct slice variant = config_text(object, "@type");
    *route = (struct route_conf){
        .kind = slice_equal(variant, SLICE_LITERAL("Local")) ? ROUTE_LOCAL
                : slice_equal(variant, SLICE_LITERAL("Mx"))  ? ROUTE_MX
                                                             : ROUTE_RELAY,
        .index = list->count++,
    };
    mx_err err = arena_copy(&route->name, list->b->arena, config_text(object, "name"));
    if (route->kind == ROUTE_MX) {
        add_mx_limits(route, object);
    }
    if (err || route->kind != ROUTE_RELAY) {
        return err;
    }
    route->port = (uint16_t)json_integer_value(json_object_get(object, "port"));
    route->lmtp = slice_equal(config_text(object, "protocol"), SLICE_LITERAL("lmtp"));
    route->implicit_tls = config_flag(object, "implicitTls");
    route->allow_invalid_certs = config_flag(object, "allowInvalidCerts");
    return arena_copy(&route->address, list->b->arena, config_text(object, "address"));
}

static mx_err build_routes(struct builder *b)
{
    b->type = config_type("MtaRoute");
    struct config_count only = {0};
    mx_err err = store_each(b->store, b->type, config_count_object, &only);
    struct route_list list = {.b = b};
    if (!err) {
        list.routes = arena_take(b->arena, (only.count + 1) * sizeof(*list.routes));
        err = list.routes ? store_each(b->store, b->type, add_route, &list) : MX_ERR_NOMEM;
    }
    if (err) {
        return builder_store_failed(b, err);
    }
    b->config->image.routes = list.routes;
    b->config->image.route_count = list.count;
    return MX_OK;
}

struct route_search {
    const struct image *image;
    struct slice missing;
};

static void check_route_name(void *arg, struct slice name)
{
    struct route_search *search = arg;
    if (!search->missing.ptr && !image_route(search->image, name)) {
        search->missing = name;
    }
}

static mx_err build_strategy(struct builder *b)
{
    json_t *object;
    mx_err err = builder_singleton(b, &object, "MtaOutboundStrategy");
    if (err) {
        return err;
    }
    err = builder_compile(b, &b->programs->route, object, "route", EXPR_QRCPT);
    err = err ? err : build_schedule_program(b, object);
    json_decref(object);
    if (err) {
        return err;
    }
    struct route_search search = {.image = &b->config->image};
    if (!expr_literal_results(b->programs->route, check_route_name, &search)) {
        return builder_fail(b, MX_ERR_INVALID,
                            "field route: every result must be the name of an MtaRoute in quotes");
    }
    if (search.missing.ptr) {
        return builder_fail(b, MX_ERR_NOTFOUND,
                            "field route: names the route '%.*s', which does not exist",
                            SLICE_ARGS(search.missing));
    }
    b->config->image.route_program = b->programs->route;
    return MX_OK;
}

/* All -------------------------------------------------------------------------------------- */

mx_err config_build(struct config **out_config, struct store *store, enum config_parts parts,
                    const struct reg_type **out_type, struct config_problem *problem)
{
    struct config *config = calloc(1, sizeof(*config));
    struct config_memory *memory = calloc(1, sizeof(*memory));
    *out_type = NULL;
    if (!config || !memory) {
        free(config);
        free(memory);
        config_problem_set(problem, "%s", err_text(MX_ERR_NOMEM));
        return MX_ERR_NOMEM;
    }
    config->arena = memory;
    struct builder b = {.store = store,
                        .config = config,
                        .arena = &memory->arena,
                        .programs = memory,
                        .problem = problem};
    uint64_t failures = json_memory_failures();
    config->image.generation = store_generation(store);
    mx_err err = build_settings(&b);
    err = err ? err : build_lookups(&b);
    err = err ? err : build_session(&b, &config->image.limits);
    err = err ? err : build_stages(&b, &config->image.limits);
    err = err ? err : build_greeting(&b, &config->image.limits);
    err = err ? err : build_decisions(&b);
    err = err ? err : build_throttles(&b);
    err = err ? err : build_performance(&b, &config->image.performance);
    err = err ? err : build_routes(&b);
    err = err ? err : build_schedules(&b);
    err = err ? err : build_strategy(&b);
    err = err ? err : build_outbound(&b);
    err = err ? err : build_limits(&b);
    config->image.routing_asks =
        !err && (expr_asks(memory->route) || (memory->schedule && expr_asks(memory->schedule)));
    err = err ? err : build_resolver(&b);
    err = err ? err : build_listeners(&b);
    err = err ? err : build_clients(&b);
    if (!err && parts == CONFIG_WHOLE) {
        err = build_records(&b);
    }
    if (!err && json_memory_failures() != failures) {
        err = builder_no_memory(&b); /* a setting may have been read from half an object */
    }
    if (err) {
        *out_type = b.type;
        config_free(config);
        return err;
    }
    *out_config = config;
    return MX_OK;
}

void config_free(struct config *config)
{
    if (!config) {
        return;
    }
    struct config_memory *memory = config->arena;
    expr_free(memory->route);
    expr_free(memory->schedule);
    expr_free(memory->tls);
    expr_free(memory->connection);
    for (size_t i = 0; i < SESSION_SETTINGS; i++) {
        expr_free(memory->sessions[i]);
    }
    for (size_t i = 0; i < STAGE_PROGRAMS; i++) {
        expr_free(memory->stages[i]);
    }
    for (unsigned i = 0; i < LIMITS_QUOTAS_MAX; i++) {
        expr_free(memory->quotas[i]);
    }
    for (unsigned i = 0; i < LIMITS_THROTTLES_MAX; i++) {
        expr_free(memory->outbound_throttles[i]);
    }
    for (size_t i = 0; i < INBOUND_THROTTLES_MAX; i++) {
        expr_free(memory->throttles[i]);
    }
    netset_free(memory->blocked);
    netset_free(memory->allowed);
    lookups_free(memory->lookups);
    arena_free(&memory->arena);
    free(memory);
    free(config);
}
