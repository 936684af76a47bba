/* The table of addresses, the resolver, the routing rule, in a configuration of split delivery:
 * 100 domains, each with an alias; every tenth account has an alias. */
#include "bench/micro.h"
#include "core/check.h"
#include "smtp/deliver.h"

#include <stdio.h>
#include <stdlib.h>

enum {
    DOMAINS = 100,
    NAME_BYTES = 32,
    RECORD_MAX = 96,
    ASKED_MAX = 1000000, /* recipients that are prepared, of each kind */
    LOOKUPS = 1000,      /* of one run */
    ALIAS_EVERY = 10,
};

struct asked {
    uint8_t len, at; /* of the text; of the local part */
    char text[46];
};

enum kind { KNOWN, UNKNOWN, ALIASED, TAGGED, KINDS };

struct setting {
    struct directory *directory;
    struct dir_domain *domains; /* and behind them their aliases */
    char *domain_text;
    uint8_t *records; /* struct dir_record */
    size_t record_bytes;
    uint32_t accounts, asked_count, at;
    struct asked *asked[KINDS]; /* in random order */
    struct asked added;
    struct expr_program *program;
    struct expr_vm *vm;
    struct image image;
    uint64_t random;
};

static const struct route_conf routes[] = {
    {.name = {(const uint8_t *)"local", 5}, .kind = ROUTE_LOCAL, .index = 0},
    {.name = {(const uint8_t *)"source", 6}, .kind = ROUTE_RELAY, .index = 1},
    {.name = {(const uint8_t *)"mx", 2}, .kind = ROUTE_MX, .index = 2},
};

/* --- the setting -------------------------------------------------------------------------------
 */

static uint64_t next(uint64_t *random)
{
    *random = *random * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return *random >> 33;
}

/* "user0000001@mail01.example.org"; without a printf, since there are millions. */
static void put_address(struct asked *out, const char *local, uint32_t number, const char *tag,
                        const char *domain)
{
    struct writer w = writer_init(out->text, sizeof out->text);
    put_text(&w, local);
    put_decimal_padded(&w, number, 8);
    put_text(&w, tag);
    out->at = (uint8_t)w.len;
    put_char(&w, '@');
    put_text(&w, domain);
    put_decimal_padded(&w, number % DOMAINS, 2);
    put_text(&w, ".example.org");
    MX_ASSERT(!w.overflow);
    out->len = (uint8_t)w.len;
}

static struct slice local_of(const struct asked *asked)
{
    return slice_of(asked->text, asked->at);
}

static struct slice domain_of(const struct asked *asked)
{
    return slice_from(slice_of(asked->text, asked->len), asked->at + 1u);
}

static void make_domains(struct setting *s)
{
    s->domains = micro_take(2 * DOMAINS * sizeof *s->domains);
    s->domain_text = micro_take((size_t)2 * DOMAINS * NAME_BYTES);
    for (unsigned i = 0; i < 2 * DOMAINS; i++) {
        char *text = s->domain_text + (size_t)i * NAME_BYTES;
        (void)snprintf(text, NAME_BYTES, "%s%02u.example.org", i < DOMAINS ? "mail" : "post",
                       i % DOMAINS);
        s->domains[i] = (struct dir_domain){.id = i % DOMAINS + 1,
                                            .name = slice_of_text(text),
                                            .enabled = true,
                                            .allow_relaying = true,
                                            .tag_mode = 1};
        MX_ASSERT(directory_put_domain(s->directory, &s->domains[i]) == MX_OK);
    }
}

/* Records lie behind each other, as admin/config_records makes them. */
static void add_record(struct setting *s, uint32_t number, enum dir_kind kind)
{
    struct asked own, alias;
    put_address(&own, "user", number, "", "mail");
    put_address(&alias, "nick", number, "", "mail");
    struct dir_address about = {.domain_id = number % DOMAINS + 1,
                                .kind = kind,
                                .enabled = true,
                                .object_id = number + 1u,
                                .mailbox = slice_of(own.text, own.len)};
    about.local = local_of(kind == DIR_ALIAS ? &alias : &own);
    MX_ASSERT(dir_record_bytes(&about) <= RECORD_MAX);
    struct dir_record *record = dir_record_put(s->records + s->record_bytes, &about);
    s->record_bytes += dir_record_size(record);
    MX_ASSERT(directory_put_address(s->directory, record) == MX_OK);
}

static void make_accounts(struct setting *s)
{
    size_t records = s->accounts + s->accounts / ALIAS_EVERY;
    s->records = micro_take((records + 1) * RECORD_MAX);
    MX_ASSERT(directory_reserve(s->directory, 0, records + 1) == MX_OK);
    for (uint32_t i = 0; i < s->accounts; i++) {
        add_record(s, i, DIR_ACCOUNT);
        if (i % ALIAS_EVERY == 0) {
            add_record(s, i, DIR_ALIAS);
        }
    }
    while (!directory_settle(s->directory, 1024)) {
    }
}

static void make_asked(struct setting *s)
{
    s->asked_count = s->accounts < ASKED_MAX ? s->accounts : ASKED_MAX;
    for (unsigned kind = 0; kind < KINDS; kind++) {
        s->asked[kind] = micro_take(s->asked_count * sizeof *s->asked[kind]);
    }
    for (uint32_t i = 0; i < s->asked_count; i++) {
        uint32_t n = (uint32_t)(next(&s->random) % s->accounts);
        put_address(&s->asked[KNOWN][i], "user", n, "", "mail");
        put_address(&s->asked[UNKNOWN][i], "user", n + s->accounts, "", "mail");
        put_address(&s->asked[ALIASED][i], "nick", n - n % ALIAS_EVERY, "", "post");
        put_address(&s->asked[TAGGED][i], "user", n, "+lists", "mail");
    }
}

static void *make(uint64_t size)
{
    static const struct expr_branch branches[] = {
        {{(const uint8_t *)"is_local_address(rcpt)", 22}, {(const uint8_t *)"'local'", 7}},
        {{(const uint8_t *)"is_local_domain(rcpt_domain)", 28}, {(const uint8_t *)"'source'", 8}},
    };
    struct setting *s = micro_take(sizeof *s);
    struct expr_source source = {branches, mx_countof(branches), SLICE_LITERAL("'mx'")};
    struct expr_problem problem;
    *s = (struct setting){.accounts = (uint32_t)size, .random = 7};
    MX_ASSERT(directory_new(&s->directory, 12345) == MX_OK);
    MX_ASSERT(expr_compile(&s->program, &source, EXPR_QRCPT, &problem) == MX_OK);
    s->vm = micro_take(sizeof *s->vm);
    s->image = (struct image){
        .routes = routes, .route_count = mx_countof(routes), .route_program = s->program};
    make_domains(s);
    make_accounts(s);
    make_asked(s);
    put_address(&s->added, "added", 1, "", "mail");
    return s;
}

static void end(void *state)
{
    struct setting *s = state;
    directory_free(s->directory);
    expr_free(s->program);
    free(s->domains);
    free(s->domain_text);
    free(s->records);
    for (unsigned kind = 0; kind < KINDS; kind++) {
        free(s->asked[kind]);
    }
    free(s->vm);
    free(s);
}

/* The next recipient. */
static const struct asked *ask(struct setting *s, enum kind kind)
{
    s->at = s->at + 1 >= s->asked_count ? 0 : s->at + 1;
    return &s->asked[kind][s->at];
}

/* --- the table ---------------------------------------------------------------------------------
 */

static unsigned find(struct setting *s, enum kind kind)
{
    unsigned found = 0;
    for (unsigned i = 0; i < LOOKUPS; i++) {
        const struct asked *asked = ask(s, kind);
        const struct dir_domain *domain = &s->domains[(asked->text[asked->at - 1] - '0') +
                                                      10 * (asked->text[asked->at - 2] - '0')];
        found += directory_find_address(s->directory, domain->id, local_of(asked)) != NULL;
    }
    return found;
}

static void run_find(void *state)
{
    MX_ASSERT(find(state, KNOWN) == LOOKUPS);
}

static void run_absent(void *state)
{
    MX_ASSERT(find(state, UNKNOWN) == 0);
}

static void run_change(void *state)
{
    struct setting *s = state;
    struct dir_address about = {.domain_id = 2,
                                .kind = DIR_ACCOUNT,
                                .enabled = true,
                                .mailbox = slice_of(s->added.text, s->added.len),
                                .local = local_of(&s->added)};
    for (unsigned i = 0; i < LOOKUPS; i++) {
        struct dir_record *record = dir_record_put(s->records + s->record_bytes, &about);
        MX_ASSERT(directory_put_address(s->directory, record) == MX_OK);
        directory_remove_address(s->directory, about.domain_id, about.local);
    }
    MX_ASSERT(directory_find_address(s->directory, about.domain_id, about.local) == NULL);
}

/* --- the resolver ------------------------------------------------------------------------------
 */

static void resolve(struct setting *s, enum kind kind, enum resolve_kind wanted)
{
    struct resolution resolution;
    for (unsigned i = 0; i < LOOKUPS; i++) {
        const struct asked *asked = ask(s, kind);
        directory_resolve(s->directory, local_of(asked), domain_of(asked), SLICE_EMPTY,
                          &resolution);
        MX_ASSERT(resolution.kind == wanted);
    }
}

static void run_resolve_account(void *state)
{
    resolve(state, KNOWN, RESOLVE_LOCAL);
}

static void run_resolve_alias(void *state)
{
    resolve(state, ALIASED, RESOLVE_LOCAL);
}

static void run_resolve_tag(void *state)
{
    resolve(state, TAGGED, RESOLVE_LOCAL);
}

static void run_resolve_relay(void *state)
{
    resolve(state, UNKNOWN, RESOLVE_RELAY);
}

/* --- the rule ----------------------------------------------------------------------------------
 */

/* A host that knows no more than the recipient. */
struct recipient {
    const struct directory *directory;
    struct slice rcpt, domain;
};

static void variable(void *arg, uint16_t index, struct expr_value *out)
{
    const struct recipient *r = arg;
    *out = (struct expr_value){.type = EXPR_STRING,
                               .string = index == EXPR_VAR_RCPT ? r->rcpt : r->domain};
}

static bool local_domain(void *arg, struct slice domain)
{
    return directory_is_local_domain(((const struct recipient *)arg)->directory, domain);
}

static bool local_address(void *arg, struct slice address)
{
    return directory_is_local_address(((const struct recipient *)arg)->directory, address);
}

/* Recipients with and without an account alternate. */
static void run_rule(void *state)
{
    struct setting *s = state;
    for (unsigned i = 0; i < LOOKUPS; i++) {
        const struct asked *asked = ask(s, i % 2 == 0 ? KNOWN : UNKNOWN);
        struct recipient r = {s->directory, slice_of(asked->text, asked->len), domain_of(asked)};
        struct expr_host host = {.arg = &r,
                                 .variable = variable,
                                 .is_local_domain = local_domain,
                                 .is_local_address = local_address};
        struct expr_value value;
        MX_ASSERT(expr_run(s->vm, s->program, &host, NULL, &value) == EXPR_DONE);
        MX_ASSERT(image_route(&s->image, value.string)->index == i % 2);
    }
}

static void run_resolver(void *state)
{
    struct setting *s = state;
    for (unsigned i = 0; i < LOOKUPS; i++) {
        const struct asked *asked = ask(s, i % 2 == 0 ? KNOWN : UNKNOWN);
        struct resolution resolution;
        directory_resolve(s->directory, local_of(asked), domain_of(asked), SLICE_EMPTY,
                          &resolution);
        MX_ASSERT(resolution.kind == (i % 2 == 0 ? RESOLVE_LOCAL : RESOLVE_RELAY));
    }
}

static void run_routing(void *state)
{
    struct setting *s = state;
    struct routing_context ctx = {
        .image = &s->image, .directory = s->directory, .vm = s->vm, .now_ms = 1};
    struct envelope env = {.sender = SLICE_LITERAL("sender@remote.example")};
    for (unsigned i = 0; i < LOOKUPS; i++) {
        const struct asked *asked = ask(s, i % 2 == 0 ? KNOWN : UNKNOWN);
        struct routing routing;
        routing_find(&routing, &ctx, slice_of(asked->text, asked->len), &env);
        MX_ASSERT(routing.route->index == i % 2);
    }
}

/* One load after the other, each from a line that the last one named. */
static void run_memory(void *state)
{
    struct setting *s = state;
    uint64_t sum = 0;
    for (unsigned i = 0; i < LOOKUPS; i++) {
        sum += s->records[(next(&s->random) + (sum & 1)) % s->record_bytes];
    }
    MX_ASSERT(sum > 0);
}

#define ITEM(name, what, size, heavy, run)                     \
    {                                                          \
        name, what, LOOKUPS, size, heavy, make, NULL, run, end \
    }
#define SIZES(suffix, size, heavy)                                                                 \
    ITEM("find-" suffix, "an address found in the table", size, heavy, run_find),                  \
        ITEM("absent-" suffix, "one that is not there", size, heavy, run_absent),                  \
        ITEM("change-" suffix, "an account made and removed", size, heavy, run_change),            \
        ITEM("resolve-account-" suffix, "resolver: an account", size, heavy, run_resolve_account), \
        ITEM("resolve-alias-" suffix, "an alias in a domain's alias", size, heavy,                 \
             run_resolve_alias),                                                                   \
        ITEM("resolve-tag-" suffix, "an account with a tag", size, heavy, run_resolve_tag),        \
        ITEM("resolve-relay-" suffix, "nobody here, the domain relays", size, heavy,               \
             run_resolve_relay),                                                                   \
        ITEM("rule-" suffix, "split-delivery rule: nothing has looked at the address yet", size,   \
             heavy, run_rule),                                                                     \
        ITEM("resolver-" suffix, "the same addresses by the resolver alone", size, heavy,          \
             run_resolver),                                                                        \
        ITEM("routing-" suffix, "resolver, then rule: as at RCPT and at every attempt", size,      \
             heavy, run_routing),                                                                  \
        ITEM("memory-" suffix, "the wait for one line of the records", size, heavy, run_memory)

static const struct micro items[] = {SIZES("1k", 1000, false), SIZES("1m", 1000000, true),
                                     SIZES("10m", 10000000, true)};
const struct micro_group micro_accounts = {items, mx_countof(items)};
