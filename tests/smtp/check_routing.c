/* The route of an address is what the rule says of what the resolver found, whether or not the rule
 * asks the directory again. */
#include "tests/check.h"

#include "smtp/deliver.h"
#include "tests/dir_records.h"

#include <stdlib.h>

static const struct route_conf routes[] = {
    {.name = {(const uint8_t *)"local", 5}, .kind = ROUTE_LOCAL, .index = 0},
    {.name = {(const uint8_t *)"source", 6}, .kind = ROUTE_RELAY, .index = 1},
    {.name = {(const uint8_t *)"mx", 2}, .kind = ROUTE_MX, .index = 2},
};

DIR_RECORDS(records, 4096);

#define S(text) SLICE_LITERAL(text)

static const struct dir_domain domains[] = {
    {.id = 1,
     .name = {(const uint8_t *)"a.example", 9},
     .enabled = true,
     .allow_relaying = true,
     .tag_mode = 1},
    {.id = 1, .name = {(const uint8_t *)"alias.example", 13}, .enabled = true, .tag_mode = 1},
    {.id = 2, .name = {(const uint8_t *)"off.example", 11}, .enabled = false},
    {.id = 2, .name = {(const uint8_t *)"on.example", 10}, .enabled = true},
    {.id = 3,
     .name = {(const uint8_t *)"all.example", 11},
     .enabled = true,
     .catch_all = {(const uint8_t *)"bob@a.example", 13}},
    {.id = 4, .name = {(const uint8_t *)"strict.example", 14}, .enabled = true},
    {.id = 5,
     .name = {(const uint8_t *)"loop.example", 12},
     .enabled = true,
     .catch_all = {(const uint8_t *)"to-loop@a.example", 17}},
};

static const struct dir_address addresses[] = {
    {.domain_id = 1,
     .local = S("bob"),
     .kind = DIR_ACCOUNT,
     .enabled = true,
     .mailbox = S("bob@a.example")},
    {.domain_id = 1,
     .local = S("nick"),
     .kind = DIR_ALIAS,
     .enabled = true,
     .mailbox = S("bob@a.example")},
    {.domain_id = 1,
     .local = S("gone"),
     .kind = DIR_ACCOUNT,
     .enabled = false,
     .mailbox = S("gone@a.example")},
    {.domain_id = 1,
     .local = S("to-gone"),
     .kind = DIR_ALIAS,
     .enabled = true,
     .mailbox = S("gone@a.example")},
    {.domain_id = 1,
     .local = S("to-nobody"),
     .kind = DIR_ALIAS,
     .enabled = true,
     .mailbox = S("nobody@a.example")},
    {.domain_id = 1,
     .local = S("to-far"),
     .kind = DIR_ALIAS,
     .enabled = true,
     .mailbox = S("x@far.example")},
    {.domain_id = 1,
     .local = S("to-postmaster"),
     .kind = DIR_ALIAS,
     .enabled = true,
     .mailbox = S("postmaster@strict.example")},
    {.domain_id = 1,
     .local = S("\"odd"),
     .kind = DIR_ACCOUNT,
     .enabled = true,
     .mailbox = S("\"odd@a.example")},
    {.domain_id = 2,
     .local = S("eve"),
     .kind = DIR_ACCOUNT,
     .enabled = true,
     .mailbox = S("eve@off.example")},
    {.domain_id = 1,
     .local = S("to-loop"),
     .kind = DIR_ALIAS,
     .enabled = true,
     .mailbox = S("x@loop.example")},
};

static struct directory *make_directory(void)
{
    struct directory *dir;
    CHECK(directory_new(&dir, 42) == MX_OK);
    for (size_t i = 0; i < mx_countof(domains); i++) {
        CHECK(directory_put_domain(dir, &domains[i]) == MX_OK);
    }
    for (size_t i = 0; i < mx_countof(addresses); i++) {
        const struct dir_record *record = dir_records_add(records, records_max, &addresses[i]);
        CHECK(directory_put_address(dir, record) == MX_OK);
    }
    return dir;
}

/* Without short cuts: index of the route. */
static unsigned plainly(const struct directory *dir, struct slice rcpt, struct slice postmaster)
{
    size_t at = rcpt.len;
    struct resolution resolution;
    while (at > 0 && rcpt.ptr[at - 1] != '@') {
        at--;
    }
    struct slice local = at == 0 ? rcpt : slice_first(rcpt, at - 1);
    struct slice domain = at == 0 ? SLICE_EMPTY : slice_from(rcpt, at);
    directory_resolve(dir, local, domain, postmaster, &resolution);
    struct slice asked = resolution.kind == RESOLVE_LOCAL ? resolution.mailbox
                         : domain.len == 0                ? postmaster
                                                          : rcpt;
    if (domain.len == 0) {
        size_t sign = slice_find(asked, '@');
        domain = sign == asked.len ? SLICE_EMPTY : slice_from(asked, sign + 1);
    }
    return directory_is_local_address(dir, asked)   ? 0
           : directory_is_local_domain(dir, domain) ? 1
                                                    : 2;
}

static void as_the_directory_says(void)
{
    static const struct expr_branch branches[] = {
        {S("is_local_address(rcpt)"), S("'local'")},
        {S("is_local_domain(rcpt_domain)"), S("'source'")},
    };
    static const struct {
        const char *rcpt;
        unsigned route;
    } cases[] = {
        {"bob@a.example", 0},
        {"Bob@A.example", 0},
        {"bob+tag@a.example", 0},
        {"\"bob\"@a.example", 0},
        {"nick@a.example", 0},
        {"bob@alias.example", 0},
        {"nick+x@alias.example", 0},
        {"nobody@a.example", 1},
        {"\"nobody\"@a.example", 1},
        {"\"odd@a.example", 0}, /* no quotes to take off */
        {"gone@a.example", 1},
        {"to-gone@a.example", 1}, /* an alias of what is not there decides nothing */
        {"to-nobody@a.example", 1},
        {"to-far@a.example", 1},
        {"to-postmaster@a.example", 1},
        {"eve@on.example", 1}, /* her own domain is disabled */
        {"eve@off.example", 2},
        {"anybody@all.example", 0},
        {"postmaster@a.example", 1},
        {"postmaster@all.example", 0},
        {"postmaster@strict.example", 1}, /* leads to itself, by an alias */
        {"Postmaster@strict.example", 1},
        {"x@loop.example", 1}, /* a catch-all that leads back, by an alias */
        {"x@far.example", 2},
        {"postmaster", 1},
        {"bob", 0}, /* as the configured postmaster */
        {"bob@", 0},
        {"@a.example", 1},
        {"a@b@a.example", 1},
    };
    struct directory *dir = make_directory();
    struct expr_source source = {branches, 2, S("'mx'")};
    struct expr_problem problem;
    struct expr_program *program;
    struct expr_vm *vm = calloc(1, sizeof *vm);
    CHECK(expr_compile(&program, &source, EXPR_QRCPT, &problem) == MX_OK);
    struct image image = {.routes = routes,
                          .route_count = mx_countof(routes),
                          .route_program = program,
                          .postmaster = S("to-postmaster@a.example")};
    struct routing_context ctx = {.image = &image, .directory = dir, .vm = vm, .now_ms = 1};
    struct envelope env = {.sender = S("s@remote.example")};
    for (size_t i = 0; i < mx_countof(cases); i++) {
        struct routing routing;
        struct slice rcpt = slice_of_text(cases[i].rcpt);
        printf("%s\n", cases[i].rcpt);
        routing_find(&routing, &ctx, rcpt, &env);
        CHECK(routing.route != NULL);
        unsigned plain = plainly(dir, rcpt, image.postmaster);
        CHECK(routing.route->index == plain);
        CHECK(plain == cases[i].route);
    }
    expr_free(program);
    directory_free(dir);
    free(vm);
}

int main(void)
{
    as_the_directory_says();
    return 0;
}
