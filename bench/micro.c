#include "bench/micro.h"

#include "bench/args.h"
#include "bench/machine.h"
#include "core/check.h"
#include "core/hash.h"
#include "io/tls.h"

#include <fnmatch.h>
#include <gnu/libc-version.h>
#include <stdlib.h>
#include <time.h>

enum { ROUNDS = 25, NAMES_MAX = 64 };

static const struct micro_group *const groups[] = {
    &micro_mail, &micro_accounts, &micro_core,   &micro_journal,
    &micro_tls,  &micro_wire,     &micro_limits,
};

struct options {
    const char *names[NAMES_MAX];
    unsigned name_count;
    uint64_t time_ms;     /* for each */
    uint64_t waste_steps; /* after each operation: a slowdown on purpose */
    bool json, once, all;
    json_t *results;
};

static int help(int code)
{
    fprintf(
        code == 0 ? stdout : stderr,
        "usage: ringmx-bench micro [NAME ...] [options]\n"
        "  NAME          which ones; a pattern as 'tls-*'\n"
        "  --list        says what there is\n"
        "  --all         also those that take memory or time to prepare\n"
        "  --time MS     for each (default 200)\n"
        "  --json        one JSON line instead of text\n"
        "  --once        a run to warm up and a measured one; says how many operations it had\n"
        "  --waste N     N steps of a loop after every operation: a slowdown that has to be seen\n"
        "  --facts       compiler, libraries and processor, as JSON\n"
        "CPU time of single operations: the median of %d rounds, and the fastest. For the\n"
        "instructions of an operation see bench/counts.\n",
        ROUNDS);
    return code;
}

void *micro_take(size_t bytes)
{
    void *memory = calloc(1, bytes);
    if (memory == NULL) {
        fprintf(stderr, "ringmx-bench: out of memory\n");
        exit(1);
    }
    return memory;
}

/* --- what a count depends on -------------------------------------------------------------------
 */

#if defined __x86_64__
static void put_processor(json_t *facts)
{
    static const char *const names[] = {"sse4.2", "pclmul", "aes",    "avx",
                                        "avx2",   "bmi2",   "avx512f"};
    /* The builtin takes literals alone. */
    const bool there[] = {__builtin_cpu_supports("sse4.2"), __builtin_cpu_supports("pclmul"),
                          __builtin_cpu_supports("aes"),    __builtin_cpu_supports("avx"),
                          __builtin_cpu_supports("avx2"),   __builtin_cpu_supports("bmi2"),
                          __builtin_cpu_supports("avx512f")};
    json_t *list = json_array();
    for (size_t i = 0; i < mx_countof(names); i++) {
        if (there[i]) {
            (void)json_array_append_new(list, json_string(names[i]));
        }
    }
    (void)json_object_set_new(facts, "processor", list);
}
#else
static void put_processor(json_t *facts)
{
    (void)json_object_set_new(facts, "processor", json_null());
}
#endif

static int print_facts(void)
{
    json_t *facts = json_object();
#if defined __OPTIMIZE__
    const char *optimised = "optimised";
#else
    const char *optimised = "not optimised";
#endif
#if defined __clang__
    const char *compiler = "clang " __VERSION__;
#else
    const char *compiler = "gcc " __VERSION__;
#endif
    (void)json_object_set_new(facts, "compiler", json_sprintf("%s, %s", compiler, optimised));
    (void)json_object_set_new(facts, "libc", json_string(gnu_get_libc_version()));
    (void)json_object_set_new(facts, "tls", json_string(tls_library_version()));
    (void)json_object_set_new(facts, "xxhash", json_string(hash_library_version()));
    (void)json_object_set_new(facts, "jansson", json_string(jansson_version_str()));
    put_processor(facts);
    (void)json_dumpf(facts, stdout, JSON_SORT_KEYS);
    printf("\n");
    json_decref(facts);
    return 0;
}

/* --- measuring ---------------------------------------------------------------------------------
 */

/* What valgrind counts: nothing but what is called from here. */
void micro_measured(const struct micro *m, void *state, uint64_t waste_steps);
__attribute__((noinline)) void micro_measured(const struct micro *m, void *state,
                                              uint64_t waste_steps)
{
    m->run(state);
    for (uint64_t i = waste_steps * m->operations; i > 0; i--) {
        __asm__ volatile(""); /* neither left out nor done at once */
    }
}

static double cpu_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
    return (double)now.tv_sec * 1e9 + (double)now.tv_nsec;
}

static int compare(const void *a, const void *b)
{
    const double *x = a, *y = b;
    return (*x > *y) - (*x < *y);
}

static void make_ready(const struct micro *m, void *state)
{
    if (m->ready != NULL) {
        m->ready(state);
    }
}

/* Time of the runs of one round, for one operation; at least so long. */
static double round_ns(const struct micro *m, void *state, const struct options *options,
                       double least_ns)
{
    double took = 0;
    uint64_t operations = 0;
    while (took < least_ns) {
        make_ready(m, state);
        double start = cpu_ns();
        micro_measured(m, state, options->waste_steps);
        took += cpu_ns() - start;
        operations += m->operations;
    }
    return took / (double)operations;
}

static void report(const struct micro *m, double *rounds, struct options *options)
{
    qsort(rounds, ROUNDS, sizeof rounds[0], compare);
    double median = rounds[ROUNDS / 2], fastest = rounds[0];
    if (!options->json) {
        printf("%-22s %9.1f ns  (fastest %9.1f)  %s\n", m->name, median, fastest, m->what);
        return;
    }
    (void)json_object_set_new(options->results, m->name,
                              json_pack("{s:f, s:f}", "ns", median, "fastestNs", fastest));
}

/* What shares a state is measured in turn, round by round, so that it can be compared although the
 * machine has other work. */
static void measure(const struct micro *const *these, unsigned count, void *state,
                    struct options *options)
{
    static double rounds[NAMES_MAX][ROUNDS];
    double least_ns = (double)options->time_ms * 1e6 / ROUNDS;
    for (unsigned round = 0; round <= ROUNDS; round++) { /* the first warms up */
        for (unsigned i = 0; i < count; i++) {
            rounds[i][round == 0 ? 0 : round - 1] = round_ns(these[i], state, options, least_ns);
        }
    }
    for (unsigned i = 0; i < count; i++) {
        report(these[i], rounds[i], options);
    }
}

/* The first run, which takes memory and binds names, is not counted. */
static void run_once(const struct micro *m, void *state, const struct options *options)
{
    make_ready(m, state);
    m->run(state);
    make_ready(m, state);
    micro_measured(m, state, options->waste_steps);
    printf("%s %u\n", m->name, m->operations);
}

/* --- the command -------------------------------------------------------------------------------
 */

static bool wanted(const struct options *options, const struct micro *m)
{
    for (unsigned i = 0; i < options->name_count; i++) {
        if (fnmatch(options->names[i], m->name, 0) == 0) {
            return true;
        }
    }
    return options->name_count == 0 && (options->all || !m->heavy);
}

/* Those of a group from `first` on that share its state; *out_next is where the rest begins. */
static unsigned choose(const struct micro **these, const struct micro_group *group, size_t first,
                       size_t *out_next, const struct options *options)
{
    const struct micro *m = &group->items[first];
    unsigned count = 0;
    size_t i = first;
    for (; i < group->count && group->items[i].make == m->make && group->items[i].size == m->size;
         i++) {
        if (wanted(options, &group->items[i])) {
            MX_ASSERT(count < NAMES_MAX);
            these[count++] = &group->items[i];
        }
    }
    *out_next = i;
    return count;
}

/* One group; the number of those that were wanted. */
static unsigned run_group(const struct micro_group *group, struct options *options)
{
    const struct micro *these[NAMES_MAX];
    unsigned all = 0;
    for (size_t at = 0; at < group->count;) {
        unsigned count = choose(these, group, at, &at, options);
        if (count == 0) {
            continue;
        }
        void *state = these[0]->make(these[0]->size);
        for (unsigned i = 0; i < count && options->once; i++) {
            run_once(these[i], state, options);
        }
        if (!options->once) {
            measure(these, count, state, options);
        }
        these[0]->end(state);
        all += count;
        (void)fflush(stdout);
    }
    return all;
}

static int list(void)
{
    for (size_t g = 0; g < mx_countof(groups); g++) {
        for (size_t i = 0; i < groups[g]->count; i++) {
            const struct micro *m = &groups[g]->items[i];
            printf("%-22s %s%s\n", m->name, m->what, m->heavy ? " (only when named)" : "");
        }
    }
    return 0;
}

static int run_all(struct options *options)
{
    unsigned count = 0;
    options->results = json_object();
    for (size_t g = 0; g < mx_countof(groups); g++) {
        count += run_group(groups[g], options);
    }
    if (options->json && !options->once) {
        json_t *all =
            json_pack("{s:o, s:O}", "machine", machine_facts(), "micro", options->results);
        (void)json_dumpf(all, stdout, JSON_COMPACT | JSON_REAL_PRECISION(6));
        printf("\n");
        json_decref(all);
    }
    json_decref(options->results);
    if (count == 0) {
        fprintf(stderr, "ringmx-bench: there is no such microbenchmark; see --list\n");
    }
    return count == 0 ? 2 : 0;
}

int micro_command(int argc, char **argv)
{
    struct options options = {.time_ms = 200};
    struct args args;
    args_init(&args, argc, argv);
    while (args_next(&args)) {
        if (args_is(&args, "--time")) {
            options.time_ms = args_number(&args, 1, 600000);
        } else if (args_is(&args, "--waste")) {
            options.waste_steps = args_number(&args, 0, 1000000);
        } else if (args_is(&args, "--json")) {
            options.json = true;
        } else if (args_is(&args, "--once")) {
            options.once = true;
        } else if (args_is(&args, "--all")) {
            options.all = true;
        } else if (args_is(&args, "--list")) {
            return list();
        } else if (args_is(&args, "--facts")) {
            return print_facts();
        } else if (args_is(&args, "--help")) {
            return help(0);
        } else if (args.name[0] != '-' && options.name_count < NAMES_MAX) {
            options.names[options.name_count++] = args.name;
        } else {
            args_unknown(&args);
        }
    }
    return args.failed ? help(2) : run_all(&options);
}
