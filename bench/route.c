#include "bench/route.h"

#include "bench/args.h"
#include "core/check.h"
#include "smtp/deliver.h"

#include <linux/perf_event.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

enum { DOMAINS = 100, ADDRESS_BYTES = 48, SLICES = 10 };

/* A configuration of split delivery: every second address of the domains has an account here. */
struct setting {
    struct directory *directory;
    struct dir_domain *domains;
    uint8_t *records; /* struct dir_record */
    size_t record_bytes;
    char *domain_text; /* of fixed lengths */
    char *recipients;  /* in random order, as many with an account as without */
    uint32_t accounts, recipient_count;
    struct expr_program *program;
    struct expr_vm *vm;
    struct image image;
};

struct cost {
    double ns, best_ns;  /* of an evaluation: of all, and of the fastest tenth */
    double instructions; /* 0: not counted */
};

static const struct route_conf routes[] = {
    {.name = {(const uint8_t *)"local", 5}, .kind = ROUTE_LOCAL, .index = 0},
    {.name = {(const uint8_t *)"source", 6}, .kind = ROUTE_RELAY, .index = 1},
    {.name = {(const uint8_t *)"mx", 2}, .kind = ROUTE_MX, .index = 2},
};

static int help(int code)
{
    fprintf(
        code == 0 ? stdout : stderr,
        "usage: ringmx-bench route [options]\n"
        "  --accounts N    in 100 domains (default 1000000)\n"
        "  --evaluations N (default 10000000)\n"
        "  --json          one JSON line instead of text\n"
        "The rule of split delivery: is_local_address(rcpt) 'local', is_local_domain(rcpt_domain)\n"
        "'source', else 'mx'; recipients at random from all accounts and as many addresses\n"
        "without one, CPU time of one thread. \"rule alone\": nothing has looked at the address\n"
        "before. \"resolver\", and \"routing\" (resolver, then rule): as at RCPT and at every\n"
        "attempt; what the rule adds there is the difference, \"rule\". \"memory\": the wait for\n"
        "one line that is in no cache, as of a pointer chase over the records.\n");
    return code;
}

/* --- the setting -------------------------------------------------------------------------------
 */

static void *take(size_t bytes)
{
    void *memory = calloc(1, bytes);
    if (memory == NULL) {
        fprintf(stderr, "ringmx-bench: out of memory\n");
        exit(1);
    }
    return memory;
}

static uint64_t next(uint64_t *random)
{
    *random = *random * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return *random >> 33;
}

static void put_address(char *out, uint32_t number)
{
    (void)snprintf(out, ADDRESS_BYTES, "user%07u@mail%02u.example.org", number % 10000000u,
                   number % DOMAINS);
}

static void make_domains(struct setting *s)
{
    enum { NAME = 32 };
    s->domains = take(DOMAINS * sizeof *s->domains);
    s->domain_text = take((size_t)DOMAINS * NAME);
    for (unsigned i = 0; i < DOMAINS; i++) {
        char *text = s->domain_text + (size_t)i * NAME;
        (void)snprintf(text, NAME, "mail%02u.example.org", i);
        s->domains[i] = (struct dir_domain){.id = i + 1,
                                            .name = slice_of_text(text),
                                            .enabled = true,
                                            .allow_relaying = true,
                                            .tag_mode = 1};
        MX_ASSERT(directory_put_domain(s->directory, &s->domains[i]) == MX_OK);
    }
}

/* Records lie behind each other, as admin/config_records makes them. */
static void make_accounts(struct setting *s)
{
    enum { RECORD_MAX = 96 };
    s->records = take((size_t)s->accounts * RECORD_MAX);
    MX_ASSERT(directory_reserve(s->directory, 0, s->accounts) == MX_OK);
    for (uint32_t i = 0; i < s->accounts; i++) {
        char text[ADDRESS_BYTES];
        put_address(text, i);
        struct dir_address about = {.domain_id = i % DOMAINS + 1,
                                    .kind = DIR_ACCOUNT,
                                    .enabled = true,
                                    .object_id = i + 1,
                                    .mailbox = slice_of_text(text)};
        about.local = slice_first(about.mailbox, slice_find(about.mailbox, '@'));
        MX_ASSERT(dir_record_bytes(&about) <= RECORD_MAX);
        struct dir_record *record = dir_record_put(s->records + s->record_bytes, &about);
        s->record_bytes += dir_record_size(record);
        MX_ASSERT(directory_put_address(s->directory, record) == MX_OK);
    }
    while (!directory_settle(s->directory, 1024)) {
    }
}

static void make_recipients(struct setting *s)
{
    uint64_t random = 7;
    s->recipient_count = s->accounts;
    s->recipients = take((size_t)s->recipient_count * ADDRESS_BYTES);
    for (uint32_t i = 0; i < s->recipient_count; i++) {
        uint32_t number = (uint32_t)(next(&random) % s->accounts) + (i % 2) * s->accounts;
        put_address(s->recipients + (size_t)i * ADDRESS_BYTES, number);
    }
}

static void make_setting(struct setting *s)
{
    static const struct expr_branch branches[] = {
        {{(const uint8_t *)"is_local_address(rcpt)", 22}, {(const uint8_t *)"'local'", 7}},
        {{(const uint8_t *)"is_local_domain(rcpt_domain)", 28}, {(const uint8_t *)"'source'", 8}},
    };
    struct expr_source source = {branches, 2, SLICE_LITERAL("'mx'")};
    struct expr_problem problem;
    MX_ASSERT(directory_new(&s->directory, 12345) == MX_OK);
    MX_ASSERT(expr_compile(&s->program, &source, EXPR_QRCPT, &problem) == MX_OK);
    s->vm = take(sizeof *s->vm);
    s->image = (struct image){
        .routes = routes, .route_count = mx_countof(routes), .route_program = s->program};
    make_domains(s);
    make_accounts(s);
    make_recipients(s);
}

static void free_setting(struct setting *s)
{
    directory_free(s->directory);
    expr_free(s->program);
    free(s->domains);
    free(s->records);
    free(s->domain_text);
    free(s->recipients);
    free(s->vm);
}

/* --- counting ----------------------------------------------------------------------------------
 */

static double cpu_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
    return (double)now.tv_sec * 1e9 + (double)now.tv_nsec;
}

/* -1: the kernel does not let us count. */
static int open_counter(void)
{
    struct perf_event_attr attr = {.type = PERF_TYPE_HARDWARE,
                                   .size = sizeof attr,
                                   .config = PERF_COUNT_HW_INSTRUCTIONS,
                                   .exclude_kernel = 1,
                                   .exclude_hv = 1};
    return (int)syscall(SYS_perf_event_open, &attr, 0, -1, -1, 0);
}

static uint64_t read_counter(int counter)
{
    uint64_t value = 0;
    return counter >= 0 && read(counter, &value, sizeof value) == sizeof value ? value : 0;
}

/* --- evaluating --------------------------------------------------------------------------------
 */

typedef uint32_t (*evaluate_fn)(struct setting *s, struct slice rcpt);

/* The program with a host that knows no more than the recipient. */
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

static uint32_t evaluate_rule(struct setting *s, struct slice rcpt)
{
    struct recipient r = {s->directory, rcpt, slice_from(rcpt, slice_find(rcpt, '@') + 1)};
    struct expr_host host = {.arg = &r,
                             .variable = variable,
                             .is_local_domain = local_domain,
                             .is_local_address = local_address};
    struct expr_value value;
    MX_ASSERT(expr_run(s->vm, s->program, &host, NULL, &value) == EXPR_DONE);
    return image_route(&s->image, value.string)->index;
}

static uint32_t evaluate_resolver(struct setting *s, struct slice rcpt)
{
    struct resolution resolution;
    size_t at = slice_find(rcpt, '@');
    directory_resolve(s->directory, slice_first(rcpt, at), slice_from(rcpt, at + 1), SLICE_EMPTY,
                      &resolution);
    return resolution.kind == RESOLVE_LOCAL ? 0 : 1;
}

static uint32_t evaluate_routing(struct setting *s, struct slice rcpt)
{
    struct routing_context ctx = {
        .image = &s->image, .directory = s->directory, .vm = s->vm, .now_ms = 1};
    struct envelope env = {.sender = SLICE_LITERAL("sender@remote.example")};
    struct routing routing;
    routing_find(&routing, &ctx, rcpt, &env);
    return routing.route->index;
}

static void measure(struct cost *out, struct setting *s, evaluate_fn evaluate, uint64_t count)
{
    int counter = open_counter();
    uint64_t chosen[3] = {0}, before = read_counter(counter), part = count / SLICES;
    double all = 0, best = 0;
    uint32_t at = 0;
    for (unsigned slice = 0; slice < SLICES; slice++) {
        double start = cpu_ns();
        for (uint64_t i = 0; i < part; i++) {
            char *text = s->recipients + (size_t)at * ADDRESS_BYTES;
            chosen[evaluate(s, slice_of(text, strlen(text)))]++;
            at = at + 1 == s->recipient_count ? 0 : at + 1;
        }
        double took = cpu_ns() - start;
        all += took;
        best = slice == 0 || took < best ? took : best;
    }
    uint64_t done = part * SLICES;
    *out = (struct cost){all / (double)done, best / (double)part,
                         (double)(read_counter(counter) - before) / (double)done};
    if (counter >= 0) {
        (void)close(counter);
    }
    /* Recipients with and without an account alternate. */
    MX_ASSERT(chosen[0] + chosen[1] == done && chosen[2] == 0);
    MX_ASSERT(chosen[0] <= done / 2 + 1 && chosen[1] <= done / 2 + 1);
}

/* One load after the other, each from a line that the last one named. */
static double memory_ns(struct setting *s)
{
    enum { LOADS = 2000000 };
    uint64_t random = 11, sum = 0;
    double start = cpu_ns();
    for (unsigned i = 0; i < LOADS; i++) {
        uint64_t at = (next(&random) + (sum & 1)) % s->record_bytes; /* needs the last value */
        sum += s->records[at];
    }
    double took = cpu_ns() - start;
    return sum == 0 ? 0 : took / LOADS;
}

static void print(const char *name, const struct cost *cost, bool json, bool last)
{
    if (json) {
        printf("\"%s\":{\"ns\":%.1f,\"best_ns\":%.1f,\"instructions\":%.0f}%s", name, cost->ns,
               cost->best_ns, cost->instructions, last ? "}\n" : ",");
    } else {
        printf("%-10s %6.1f ns  (fastest tenth %.1f ns)", name, cost->ns, cost->best_ns);
        printf(cost->instructions > 0 ? "  %.0f instructions\n" : "  instructions not counted\n",
               cost->instructions);
    }
}

int route_command(int argc, char **argv)
{
    struct setting setting = {.accounts = 1000000};
    uint64_t evaluations = 10000000;
    bool json = false;
    struct args args;
    args_init(&args, argc, argv);
    while (args_next(&args)) {
        if (args_is(&args, "--accounts")) {
            setting.accounts = (uint32_t)args_number(&args, DOMAINS, 4000000);
        } else if (args_is(&args, "--evaluations")) {
            evaluations = args_number(&args, SLICES, UINT64_C(1) << 40);
        } else if (args_is(&args, "--json")) {
            json = true;
        } else if (args_is(&args, "--help")) {
            return help(0);
        } else {
            args_unknown(&args);
        }
    }
    if (args.failed) {
        return help(2);
    }
    struct cost rule, resolver, routing;
    make_setting(&setting);
    measure(&rule, &setting, evaluate_rule, evaluations);
    measure(&resolver, &setting, evaluate_resolver, evaluations);
    measure(&routing, &setting, evaluate_routing, evaluations);
    struct cost added = {routing.ns - resolver.ns, routing.best_ns - resolver.best_ns,
                         routing.instructions - resolver.instructions};
    struct cost memory = {.ns = memory_ns(&setting)};
    memory.best_ns = memory.ns;
    if (json) {
        printf("{\"accounts\":%u,", setting.accounts);
    }
    print(json ? "ruleAlone" : "rule alone", &rule, json, false);
    print("resolver", &resolver, json, false);
    print("routing", &routing, json, false);
    print("rule", &added, json, false);
    print("memory", &memory, json, true);
    free_setting(&setting);
    return 0;
}
