#include "tests/sim/settings.h"
#include "tests/dir_records.h"
#include "tests/sim/rates.h"

#include "core/check.h"
#include "route/expr_tables.h"
#include "route/lookup.h"
#include "tests/sim/crowd.h"
#include "tests/sim/limits.h"
#include "tests/sim/networks.h"
#include "tests/sim/schedules.h"
#include "tests/sim/settings_inside.h"
#include "tests/sim/sim.h"
#include "tests/sim/strategies.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>

struct store settings_store;
static unsigned configs;

/* --- what there is -----------------------------------------------------------------------------
 */

#define ALWAYS (-1)
#define WITH_DOMAIN (-2)

const struct sim_account sim_accounts[SIM_ACCOUNTS] = {
    {10, 1, "user0", ALWAYS}, {11, 1, "user1", ALWAYS}, {12, 1, "user2", ALWAYS},
    {13, 1, "user3", ALWAYS}, {20, 1, "extra0", 0},     {21, 1, "extra1", 1},
    {22, 1, "extra2", 2},     {23, 1, "extra3", 3},     {30, 5, "someone", WITH_DOMAIN},
};

static const char *const team[] = {"user1@local.example", "m1@source.example", "m2@lmtp.example",
                                   "inner@local.example", NULL};
static const char *const inner[] = {"user2@local.example", "m3@source.example", NULL};

const struct sim_list sim_lists[SIM_LISTS] = {
    {40, "team", team}, {41, "inner", inner}, {42, "news", NULL}};

bool sim_account_exists(const struct settings *s, const struct sim_account *account)
{
    return account->bit == ALWAYS || (account->bit == WITH_DOMAIN && s->domain) ||
           (account->bit >= 0 && (s->extra >> account->bit & 1U) != 0);
}

bool sim_account_has_alias(const struct settings *s, const struct sim_account *account)
{
    return account->id == 10 + s->alias;
}

const char *sim_domain_name(const struct settings *s, uint64_t id)
{
    static const char *const names[] = {NULL, "local.example", "source.example", "lmtp.example",
                                        "back.example"};
    return id < mx_countof(names) ? names[id] : s->renamed ? "renamed.example" : "extra.example";
}

unsigned sim_list_members(const char *out[SIM_MEMBERS_MAX], const struct settings *s,
                          const struct sim_list *list)
{
    static const char *const users[SETTINGS_NEWS] = {"user0@local.example", "user1@local.example",
                                                     "user2@local.example", "user3@local.example"};
    unsigned count = 0;
    for (unsigned i = 0; list->members != NULL && list->members[i] != NULL; i++) {
        out[count++] = list->members[i];
    }
    for (unsigned i = 0; list->members == NULL && i < SETTINGS_NEWS; i++) {
        if ((s->news >> i & 1U) != 0) {
            out[count++] = users[i];
        }
    }
    return count;
}

const char *settings_probe(unsigned n)
{
    static const char *const probes[] = {
        "user0@local.example",    "user3+tag@local.example", "extra0@local.example",
        "extra1@local.example",   "extra2@local.example",    "extra3+tag@local.example",
        "alias@local.example",    "team@local.example",      "inner@local.example",
        "news@local.example",     "nobody@local.example",    "postmaster@local.example",
        "someone@extra.example",  "other@extra.example",     "someone@renamed.example",
        "other@renamed.example",  "someone@also.example",    "other@also.example",
        "someone@source.example", "someone@lmtp.example",    "someone@back.example",
        "someone@nowhere.example"};
    return n < mx_countof(probes) ? probes[n] : NULL;
}

/* Said once more, in another way than by tables and programs. */
static bool accepts_local(const struct settings *s, const char *user)
{
    static const char *const known[] = {"user0", "user1", "user2", "user3",     "alias",
                                        "team",  "inner", "news",  "postmaster"};
    for (size_t i = 0; i < mx_countof(known); i++) {
        if (strcmp(user, known[i]) == 0) {
            return true;
        }
    }
    unsigned extra;
    return sscanf(user, "extra%u", &extra) == 1 && (s->extra >> extra & 1U) != 0;
}

bool settings_accepts(const struct settings *s, const char *address)
{
    char user[64];
    const char *domain = strchr(address, '@') + 1;
    (void)snprintf(user, sizeof user, "%.*s", (int)strcspn(address, "+@"), address);
    if (strcmp(domain, "local.example") == 0) {
        return accepts_local(s, user);
    }
    if (strcmp(domain, "source.example") == 0 || strcmp(domain, "lmtp.example") == 0 ||
        strcmp(domain, "back.example") == 0) {
        return true;
    }
    bool own = s->domain && (strcmp(domain, sim_domain_name(s, 5)) == 0 ||
                             (s->domain_alias && strcmp(domain, "also.example") == 0));
    return own && (s->relay || strcmp(user, "someone") == 0);
}

/* --- versions ----------------------------------------------------------------------------------
 */

static void always_note(void)
{
    settings_store.extra_always &= settings_store.now.extra;
    settings_store.news_always &= settings_store.now.news;
    settings_store.domain_always &= settings_store.now.domain && !settings_store.now.renamed;
}

void settings_reset(bool second_listener)
{
    settings_store = (struct store){.now = {.generation = 1,
                                            .second_listener = second_listener,
                                            .extra = 3,
                                            .domain = true,
                                            .news = 7},
                                    .extra_always = UINT32_MAX,
                                    .news_always = UINT32_MAX,
                                    .domain_always = true};
    always_note();
}

static void mutate_one(struct settings *s)
{
    switch (sim_below(12)) {
    case 0:
        s->other_name = !s->other_name;
        break;
    case 1:
        s->second_listener = !s->second_listener;
        break;
    case 2:
        s->source_moved = !s->source_moved;
        break;
    case 3:
        s->lmtp_moved = !s->lmtp_moved;
        break;
    case 4:
        s->spare_route = !s->spare_route;
        break;
    case 5:
        s->certificate++;
        break;
    case 6:
        s->domain = !s->domain;
        break;
    case 7:
        s->renamed = !s->renamed;
        break;
    case 8:
        s->relay = !s->relay;
        s->domain_alias = sim_chance(2);
        break;
    case 9:
        s->alias = !s->alias;
        break;
    case 10:
        s->news ^= 1U << sim_below(SETTINGS_NEWS);
        s->news = s->news == 0 ? 1 : s->news;
        break;
    default:
        s->extra ^= 1U << sim_below(SETTINGS_EXTRA);
    }
}

void settings_mutate(struct settings *settings)
{
    unsigned count = 1 + (unsigned)sim_below(3);
    for (unsigned i = 0; i < count; i++) {
        mutate_one(settings);
    }
    settings->slow ^= schedules_set() && sim_chance(3);
    settings->generation++;
}

void settings_begin(const struct settings *next)
{
    MX_ASSERT(!settings_store.open);
    settings_store.before = settings_store.now;
    settings_store.now = *next;
    settings_store.open = true;
}

void settings_commit(void)
{
    settings_store.open = false;
    always_note();
}

void settings_rollback(void)
{
    if (settings_store.open) {
        settings_store.now = settings_store.before;
        settings_store.open = false;
    }
}

void settings_killed(void)
{
    settings_rollback();
    configs = 0;
}

/* --- what the cores read -----------------------------------------------------------------------
 */

enum { ADDRESS_BYTES = 4096 };

/* One piece of memory, so that whoever still looks at a freed one sees that. */
struct made {
    struct config config; /* first */
    struct route_conf routes[5];
    struct listener_conf listeners[2];
    struct netaddr binds[2];
    struct netmask proxies;
    struct certificate_conf certificate;
    struct lookups *lookups;
    struct dir_domain domains[8];
    _Alignas(16) uint8_t addresses[ADDRESS_BYTES]; /* a struct dir_block */
    struct {
        struct dir_list list;
        struct dir_member members[SIM_MEMBERS_MAX];
    } lists[SIM_LISTS];
    char text[4096];
    size_t text_len;
};

static struct slice keep(struct made *made, const char *text)
{
    size_t len = strlen(text);
    MX_ASSERT(made->text_len + len < sizeof made->text);
    char *at = made->text + made->text_len;
    memcpy(at, text, len + 1);
    made->text_len += len + 1;
    return slice_of(at, len);
}

static void add_route(struct made *made, const char *name, enum route_kind kind,
                      const char *address, uint16_t port, bool lmtp)
{
    uint32_t index = made->config.image.route_count++;
    made->routes[index] = (struct route_conf){.name = keep(made, name),
                                              .kind = kind,
                                              .address = keep(made, address),
                                              .port = port,
                                              .lmtp = lmtp,
                                              .index = index};
}

static mx_err program_make(struct made *made)
{
    static const struct expr_branch branches[] = {
        {SLICE_LITERAL("is_local_address(rcpt)"), SLICE_LITERAL("'local'")},
        {SLICE_LITERAL("rcpt_domain == 'source.example'"), SLICE_LITERAL("'source'")},
        {SLICE_LITERAL("rcpt_domain == 'lmtp.example'"), SLICE_LITERAL("'lmtp'")},
    };
    struct expr_source source = {
        .branches = branches, .branch_count = 3, .otherwise = SLICE_LITERAL("'back'")};
    struct expr_problem problem;
    struct expr_program *program = NULL;
    mx_err err = expr_compile(&program, &source, EXPR_QRCPT, &problem);
    if (err && err != MX_ERR_NOMEM) {
        sim_fail("route program: %s", problem.message);
    }
    made->config.image.route_program = program;
    return err;
}

static mx_err lookups_make(struct made *made)
{
    static const struct lookup_row rows[] = {
        {SLICE_LITERAL("sim"), SLICE_LITERAL("*@client.example"), .pattern = true},
        {SLICE_LITERAL("sim"), SLICE_LITERAL("*@back.example"), .pattern = true},
        {SLICE_LITERAL("sim"), SLICE_LITERAL("")},
    };
    size_t at;
    return lookups_new(&made->lookups, rows, mx_countof(rows), &at);
}

/* Everybody is allowed, once the DNS and the cores that have the keys have spoken: MAIL waits for
 * them, and gets 451 when they cannot say. What was kept or counted is found behind it, whatever
 * happens elsewhere meanwhile, so nobody gets 550 (client.c). */
static mx_err sender_make(struct made *made)
{
    struct expr_source source = {
        .otherwise = SLICE_LITERAL(
            "counter_incr('*', sender) <= counter_get('*', sender) && key_exists('sim', sender) && "
            "count(dns_query('source.sim', 'ipv4')) >= 0 && metric('queue.count') == 5 && "
            "key_set('*', sender, sender + '!') && key_get('*', sender) == sender + '!'")};
    struct expr_environment environment = {.asks = expr_context_row(EXPR_MAIL)->asks,
                                           .lookups = made->lookups};
    struct expr_problem problem;
    struct expr_program *program = NULL;
    mx_err err = expr_compile_in(&program, &source, EXPR_MAIL, &environment, &problem);
    if (err && err != MX_ERR_NOMEM) {
        sim_fail("sender program: %s", problem.message);
    }
    made->config.image.stages[STAGE_SENDER] = program;
    return err;
}

static void routes_make(struct made *made, const struct settings *s)
{
    if (s->spare_route) {
        add_route(made, "spare", ROUTE_RELAY, "10.0.0.9", 25, false);
    }
    add_route(made, "local", ROUTE_LOCAL, "", 0, false);
    add_route(made, "source", ROUTE_RELAY, s->source_moved ? "10.0.0.5" : "source.sim", 25, false);
    add_route(made, "lmtp", ROUTE_RELAY, s->lmtp_moved ? "10.0.0.6" : "10.0.0.3",
              s->lmtp_moved ? 25 : 24, !s->lmtp_moved);
    add_route(made, "back", ROUTE_RELAY, "10.0.0.4", 25, false);
}

enum { GREET_DELAY_MS = 500 };

static void add_listener(struct made *made, const char *name, uint16_t port, bool proxy)
{
    uint32_t n = made->config.image.listener_count++;
    made->binds[n] = (struct netaddr){.family = 4, .bytes = {10, 0, 0, 1}, .port = port};
    made->listeners[n] = (struct listener_conf){.name = keep(made, name),
                                                .slot = n,
                                                .binds = &made->binds[n],
                                                .bind_count = 1,
                                                .tls = true,
                                                .connections_max = SIM_CONNECTIONS_MAX,
                                                .backlog = 64,
                                                .greet_delay_ms = proxy ? GREET_DELAY_MS : 0,
                                                .proxy_override = true,
                                                .proxy_networks = &made->proxies,
                                                .proxy_network_count = proxy ? 1 : 0};
}

static uint8_t verification; /* enum dir_verify */

void settings_verify(uint8_t verify)
{
    verification = verify;
}

uint8_t settings_verification(void)
{
    return verification;
}

enum { TRACE_BYTES = 64 * 1024 }; /* made at every start; full soon */

static uint32_t limit; /* 0: none */

void settings_limit(uint32_t connections)
{
    limit = connections;
}

static struct performance tuned; /* zeros: defaults */

void settings_tune(const struct performance *performance)
{
    tuned = *performance;
    tuned.trace_bytes = TRACE_BYTES;
}

static void image_make(struct made *made, const struct settings *s)
{
    struct image *image = &made->config.image;
    made->proxies = (struct netmask){.addr = {.family = 4, .bytes = {192, 0, 2, 0}}, .bits = 24};
    *image = (struct image){.generation = s->generation,
                            .hostname = keep(made, s->other_name ? "mx2.example" : "mx.example"),
                            .connections_max = SIM_CONNECTIONS_MAX,
                            .client_connections_max = limit > 0 ? limit : SIM_CONNECTIONS_MAX,
                            .listeners = made->listeners,
                            .routes = made->routes};
    image->performance = tuned;
    limits_image(image);
    networks_image(image);
    image->limits = (struct session_limits){.idle_ms = 300000,
                                            .data_block_ms = 600000,
                                            .data_rate = 500,
                                            .data_grace_ms = 180000,
                                            .session_ms = 3600000,
                                            .proxy_header_ms = 5000,
                                            .tls_handshake_ms = 60000,
                                            .size_bytes_max = 100 << 20,
                                            .line_bytes_max = 4096,
                                            .rcpts_max = 1000,
                                            .received_max = 50,
                                            .errors_max = 20,
                                            .messages_max = 1000,
                                            .commands_max = 10000,
                                            .refuse_pipelining = true};
    rates_image(image);
    char text[64];
    (void)snprintf(text, sizeof text, "certificate %u", s->certificate);
    made->certificate.cert_pem = keep(made, text);
    made->certificate.key_pem = keep(made, "key");
    image->certificate = &made->certificate;
    add_listener(made, "smtp", 25, false);
    if (s->second_listener) {
        add_listener(made, "second", 2525, true);
    }
    routes_make(made, s);
}

static void add_domain(struct made *made, uint64_t id, const char *name, bool relay)
{
    made->domains[made->config.domain_count++] = (struct dir_domain){.id = id,
                                                                     .name = keep(made, name),
                                                                     .enabled = true,
                                                                     .allow_relaying = relay,
                                                                     .verify = verification,
                                                                     .tag_mode = 1};
}

static void add_address(struct made *made, uint64_t domain_id, const char *local,
                        enum dir_kind kind, uint64_t object, const char *mailbox,
                        const struct dir_list *list)
{
    struct dir_address about = {.domain_id = domain_id,
                                .local = slice_of_text(local),
                                .kind = kind,
                                .enabled = true,
                                .object_id = object,
                                .mailbox = slice_of_text(mailbox),
                                .list = list};
    (void)dir_records_add((void *)made->addresses,
                          sizeof made->addresses - sizeof(struct dir_block), &about);
    made->config.address_count++;
}

static void accounts_make(struct made *made, const struct settings *s)
{
    char mailbox[96];
    for (unsigned i = 0; i < SIM_ACCOUNTS; i++) {
        const struct sim_account *account = &sim_accounts[i];
        if (!sim_account_exists(s, account)) {
            continue;
        }
        (void)snprintf(mailbox, sizeof mailbox, "%s@%s", account->name,
                       sim_domain_name(s, account->domain));
        add_address(made, account->domain, account->name, DIR_ACCOUNT, account->id, mailbox, NULL);
        if (sim_account_has_alias(s, account)) {
            add_address(made, 1, "alias", DIR_ALIAS, account->id, mailbox, NULL);
        }
    }
}

static void lists_make(struct made *made, const struct settings *s)
{
    char mailbox[96];
    const char *members[SIM_MEMBERS_MAX];
    for (unsigned i = 0; i < SIM_LISTS; i++) {
        (void)snprintf(mailbox, sizeof mailbox, "%s@local.example", sim_lists[i].name);
        unsigned count = sim_list_members(members, s, &sim_lists[i]);
        for (unsigned k = 0; k < count; k++) {
            made->lists[i].members[k].address = keep(made, members[k]);
        }
        list_order(made->lists[i].members, count);
        made->lists[i].list = (struct dir_list){made->lists[i].members, count};
        add_address(made, 1, sim_lists[i].name, DIR_LIST, sim_lists[i].id, mailbox,
                    &made->lists[i].list);
    }
}

static void records_make(struct made *made, const struct settings *s)
{
    for (uint64_t id = 1; id <= 4; id++) {
        add_domain(made, id, sim_domain_name(s, id), id > 1);
    }
    if (s->domain) {
        add_domain(made, 5, sim_domain_name(s, 5), s->relay);
    }
    if (s->domain && s->domain_alias) {
        add_domain(made, 5, "also.example", s->relay);
    }
    made->config.domains = made->domains;
    made->config.addresses = (void *)made->addresses;
    accounts_make(made, s);
    lists_make(made, s);
}

static void programs_free(const struct image *image)
{
    expr_free((struct expr_program *)(uintptr_t)image->route_program);
    expr_free((struct expr_program *)(uintptr_t)image->stages[STAGE_SENDER]);
    expr_free((struct expr_program *)(uintptr_t)image->schedule_program);
    strategies_free(image);
}

struct config *settings_config(const struct settings *settings, bool whole)
{
    struct made *made = calloc(1, sizeof *made);
    if (made == NULL) {
        return NULL;
    }
    image_make(made, settings);
    mx_err err = program_make(made);
    err = err ? err : lookups_make(made);
    err = err ? err : sender_make(made);
    err = err ? err : strategies_image(&made->config.image);
    err = err ? err : schedules_image(&made->config.image, settings->slow);
    if (!err) {
        made->config.image.blocked = crowd_blocked(settings, &err);
    }
    if (err) {
        programs_free(&made->config.image);
        lookups_free(made->lookups);
        free(made);
        return NULL;
    }
    if (whole) {
        records_make(made, settings);
    }
    configs++;
    return &made->config;
}

unsigned settings_configs(void)
{
    return configs;
}

void config_free(struct config *config)
{
    if (config != NULL) {
        configs--;
        programs_free(&config->image);
        netset_free((struct netset *)(uintptr_t)config->image.blocked);
        lookups_free(((struct made *)config)->lookups);
        free(config); /* see memory.c: what was in it can be seen no more */
    }
}

void settings_setup(void)
{
    json_set_alloc_funcs(malloc, free); /* as the program's other memory */
    json_object_seed(1);
}
