/* The simulated machine: one thread, one virtual clock, one seed that decides everything. The seam
 * of ringmx (io/ring.h, clock.h, random.h, tls.h, sys.h, work.h) is implemented on top of it by
 * ring.c and kernel.c, disk_sys.c, work.c, tls.c and sim.c, which take the place of the production
 * files at link time.
 *
 * A core, a worker and the management thread are fibers. A fiber gives the others a turn where the
 * real thread would enter the kernel: in ring_wait and in every blocking file call. A kill is a
 * fiber that never runs again. */
#pragma once

#include "core/err.h"
#include "core/slice.h"

enum { SIM_CORES_MAX = 4 };

/* The fault that a run may meet at one operation. */
enum sim_fault {
    FAULT_NONE,
    FAULT_KILL,    /* the process dies; what it wrote stays in the page cache */
    FAULT_POWER,   /* the machine dies: only a subset of what was not synced survives */
    FAULT_IO,      /* the operation fails with an I/O error */
    FAULT_NOSPACE, /* the disk is full from here on, for a while */
    FAULT_READ,    /* reading fails: counted in reads */
};

struct sim {
    uint64_t seed;
    uint64_t rng;
    uint64_t now_ns;
    int64_t wall_ms; /* at now_ns = 0 */
    uint64_t steps;
    uint64_t hash; /* of the trace */
    bool trace;
    bool faults;  /* chance may be unkind */
    uint64_t ops; /* operations that change the disk, and sends, in this life */
    uint64_t ops_all;
    uint64_t reads;         /* of files, in this life */
    unsigned read_errors;   /* one read in so many fails; 0: none */
    unsigned memory_errors; /* one allocation of a core in so many is the first that is refused,
                               of some; 0: none */
    uint64_t strike_at;     /* the operation that meets `strike`, counted in this life; 0 = none */
    enum sim_fault strike;
    unsigned variant;    /* changes chance from the strike on */
    uint64_t strike_len; /* FAULT_IO: operations that fail; FAULT_NOSPACE: ms */
    uint64_t full_until_ns;
    bool struck;
    bool disk_trouble;     /* a fault met the disk in this run */
    uint64_t trouble_ns;   /* until then marks may not have become durable */
    bool dead;             /* the process was killed */
    bool ending;           /* it was told to end */
    uint64_t hops_from_ns; /* next hops answer from then on, but for the one that takes DSNs */
    const char *repeat;    /* the options that repeat this run */
};
extern struct sim sim;

/* --- chance and time (sim.c) --- */
uint64_t sim_random(void);
/* 0 .. below-1; below > 0. */
uint64_t sim_below(uint64_t below);
/* True once in `of` times. */
bool sim_chance(unsigned of);
/* From lo to hi, small values as likely as large ones. */
uint64_t sim_scale(uint64_t lo, uint64_t hi);
/* Notes an event: always in the hash, as text with --trace. */
void sim_note(const char *what, uint64_t a, uint64_t b) __attribute__((nonnull));
void sim_say(const char *format, ...) MX_PRINTF(1, 2); /* only with --trace */
/* The oracle's verdict: prints seed, commit and how to repeat, then ends the program. */
MX_NORETURN void sim_fail(const char *format, ...) MX_PRINTF(1, 2);
/* One operation that a fault may hit. FAULT_NONE or the fault that the caller has to act out; a
 * kill inside a fiber does not return. */
enum sim_fault sim_op(const char *what, const char *name);
/* The disk fails, or a core stands still, until then. */
void sim_trouble(uint64_t until_ns);
/* One read of a file: true when it fails. */
bool sim_read_fails(const char *name) __attribute__((nonnull));

/* --- fibers (fiber.c) --- */
struct fiber;
struct fiber *fiber_new(void (*run)(void *arg), void *arg, const char *name);
/* Gives the others a turn until `until_ns`, or earlier when *flag is set (NULL: no flag). */
void fiber_wait(uint64_t until_ns, const bool *flag);
struct fiber *fiber_current(void);
/* True of one with this name. */
bool fiber_is(const char *name);
/* What the current fiber allocates from now on is this owner's; 0: nobody's in particular. */
void fiber_own(uint32_t owner);
/* Counts those that can run now, notes the earliest later moment, and drops those that ended. */
unsigned fibers_ready(uint64_t *next_ns);
/* Runs the n-th of them, in the order of making, until it waits or ends. */
void fibers_step(unsigned n);
/* Forgets all, wherever they are. */
void fibers_forget(void);

/* --- memory (memory.c): the program's allocations, so that a killed process can be cleared --- */
void *sim_alloc(size_t bytes); /* zeroed; the simulator's own */
void *sim_realloc(void *ptr, size_t bytes);
void sim_free(void *ptr);
size_t memory_used(void); /* by the program, bytes */
size_t memory_peak(void);
void memory_peak_reset(void);
void memory_own(uint32_t owner); /* see fiber_own */
size_t memory_owned(uint32_t owner);
void memory_say_owned(uint32_t owner); /* with --trace */
/* After so many allocations so many are refused. */
void memory_fail(unsigned after, unsigned count);
/* While on, chance refuses none: for what the simulator asks with the program's own functions. */
void memory_spare(bool on);
extern uint64_t memory_shortages; /* of all runs */
void memory_keep(void);           /* what there is belongs to the simulator from now on */
void memory_clear(void);          /* frees all that the program holds */

/* --- the worlds of kernel operations --- */
/* Counts what can complete now and notes the earliest later moment. */
unsigned kernel_ready(uint64_t *next_ns);
/* Completes the n-th of them. */
void kernel_step(unsigned n);
/* Forgets all rings; writes in flight reach the disk in part when the machine lost power. */
void kernel_kill(bool power);
unsigned work_step_ready(void);

struct ring;
bool ring_has_news(const struct ring *ring);
