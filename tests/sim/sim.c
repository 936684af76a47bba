#include "tests/sim/sim.h"

#include "commit.h"
#include "io/clock.h"
#include "io/random.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

struct sim sim;

uint64_t sim_random(void)
{
    /* splitmix64 */
    uint64_t z = sim.rng += UINT64_C(0x9e3779b97f4a7c15);
    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return z ^ (z >> 31);
}

uint64_t sim_below(uint64_t below)
{
    return sim_random() % below;
}

bool sim_chance(unsigned of)
{
    return sim_below(of) == 0;
}

uint64_t sim_scale(uint64_t lo, uint64_t hi)
{
    uint64_t span = hi - lo + 1;
    unsigned bits = 0;
    while (bits < 63 && (UINT64_C(1) << bits) < span) {
        bits++;
    }
    uint64_t limit = UINT64_C(1) << sim_below(bits + 1);
    return lo + sim_below(limit < span ? limit : span);
}

static void hash_in(uint64_t value)
{
    sim.hash = (sim.hash ^ value) * UINT64_C(0x9fb21c651e98df25);
    sim.hash ^= sim.hash >> 29;
}

static void stamp(void)
{
    printf("%8llu.%06llu #%-5llu ", (unsigned long long)(sim.now_ns / MX_NS_PER_S),
           (unsigned long long)(sim.now_ns % MX_NS_PER_S / 1000), (unsigned long long)sim.ops);
}

void sim_note(const char *what, uint64_t a, uint64_t b)
{
    for (const char *c = what; *c != '\0'; c++) {
        hash_in((uint8_t)*c);
    }
    hash_in(a);
    hash_in(b);
    hash_in(sim.now_ns);
    if (sim.trace) {
        stamp();
        printf("%s %llu %llu\n", what, (unsigned long long)a, (unsigned long long)b);
    }
}

void sim_say(const char *format, ...)
{
    if (sim.trace) {
        va_list args;
        va_start(args, format);
        stamp();
        vprintf(format, args);
        putchar('\n');
        va_end(args);
    }
}

void sim_fail(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    fflush(stdout);
    fprintf(stderr, "sim: FAILED: ");
    vfprintf(stderr, format, args);
    fprintf(stderr, "\nsim: seed %llu, commit %s, at %.6f s; repeat: sim %s --trace\n",
            (unsigned long long)sim.seed, SIM_COMMIT, (double)sim.now_ns / 1e9, sim.repeat);
    va_end(args);
    exit(1);
}

enum sim_fault sim_op(const char *what, const char *name)
{
    sim.ops++;
    sim.ops_all++;
    sim_note(what, sim.ops, 0);
    if (name != NULL) {
        sim_say("  %s %s", what, name);
    }
    if (sim.strike_at == 0 || sim.ops < sim.strike_at || sim.strike == FAULT_READ) {
        return FAULT_NONE;
    }
    if (!sim.struck) {
        sim.rng += sim.variant;
    }
    if (sim.strike == FAULT_IO) {
        sim.struck = true;
        sim.disk_trouble = true;
        if (sim.ops >= sim.strike_at + sim.strike_len) {
            return FAULT_NONE;
        }
        sim_trouble(sim.now_ns);
        return FAULT_IO;
    }
    if (sim.struck) {
        return FAULT_NONE;
    }
    sim.struck = true;
    if (sim.strike == FAULT_NOSPACE) {
        sim.disk_trouble = true;
        sim.full_until_ns = sim.now_ns + sim.strike_len * MX_NS_PER_MS;
        sim_trouble(sim.full_until_ns);
        return FAULT_NONE;
    }
    sim_say("the process dies");
    sim.dead = true;
    if (fiber_current() != NULL) {
        fiber_wait(UINT64_MAX, NULL); /* never comes back */
    }
    return sim.strike;
}

void sim_trouble(uint64_t until_ns)
{
    sim.trouble_ns = until_ns > sim.trouble_ns ? until_ns : sim.trouble_ns;
}

bool sim_read_fails(const char *name)
{
    sim.reads++;
    bool struck = sim.strike == FAULT_READ && sim.strike_at > 0 && sim.reads >= sim.strike_at &&
                  sim.reads < sim.strike_at + sim.strike_len;
    bool fails = struck || (sim.faults && sim.read_errors > 0 && sim_chance(sim.read_errors));
    if (fails) {
        sim_note("read-error", sim.reads, 0);
        sim_say("  reading %s", name);
    }
    return fails;
}

/* --- io/clock.h, io/random.h --- */

uint64_t clock_monotonic_ns(void)
{
    return sim.now_ns;
}

int64_t clock_wall_ms(void)
{
    return sim.wall_ms + (int64_t)(sim.now_ns / MX_NS_PER_MS);
}

void random_fill(void *out, size_t len)
{
    uint8_t *at = out;
    for (size_t i = 0; i < len; i++) {
        at[i] = (uint8_t)sim_random();
    }
}

uint64_t random_u64(void)
{
    return sim_random();
}

/* --- io/thread.h --- */
void thread_setup(unsigned core, int cpu);
void thread_setup(unsigned core, int cpu)
{
    sim_note("core", core, (uint64_t)(cpu + 1));
}
