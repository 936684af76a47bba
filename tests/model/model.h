/* A model checker for code that threads share: runs a scenario of a few threads in every order of
 * their atomic operations, and lets every load return every value that the C memory model allows
 * it.
 *
 * The code under test is the product's own. It is compiled with the compiler's thread-sanitizer
 * instrumentation, and model.c takes the place of the sanitizer's library: every atomic operation
 * and every plain access calls it.
 *
 * Memory.  Every atomic location has a history of stores. A thread has a view: for each location
 * the oldest store that it may still read. A release store carries the view of its thread, an
 * acquire load joins it. A seq_cst load does not read anything older than the newest seq_cst store
 * to its location; the order in which the operations are run is the total order of the seq_cst
 * ones. So store buffering, stale reads and missing acquire or release show. Not covered: loads
 * that read from the future (load buffering), which no compiler and CPU at hand produces from
 * relaxed loads without dependencies here, and stores to one location by several threads in another
 * order than they ran.
 *
 * Plain accesses that are not ordered by happens-before are a data race, and an error.
 *
 * Search.  Depth first over (which thread runs next) and (which store a load reads), repeated from
 * the start for every path; sleep sets leave out orders that differ only in independent operations.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

enum { MODEL_THREADS_MAX = 4 };

struct model_scenario {
    const char *name;
    unsigned threads;
    void (*setup)(void);            /* before every execution, not modelled */
    void (*thread)(unsigned index); /* runs modelled */
    void (*check)(void);            /* after every execution that ended, not modelled */
};

enum model_op { MODEL_LOAD, MODEL_STORE };

/* A seeded bug: operations of this kind on this location have a weaker order (memory_order_*). */
struct model_weakening {
    const void *location;
    enum model_op op;
    int order;
};

struct model_result {
    uint64_t executions; /* complete and different ones */
    uint64_t pruned;     /* left when only orders already seen were ahead */
    const char *error;   /* the first one found, or NULL */
    char trace[4096];    /* that led to it */
};

/* weakening may be NULL. Stops at the first error. */
void model_run(struct model_result *out, const struct model_scenario *scenario,
               const struct model_weakening *weakening);

/* --- for the threads of a scenario --- */

/* An error unless holds. */
void model_check(bool holds, const char *what);
/* Waits until an event is set, and clears it: what the kernel does for a sleeping thread. */
struct model_event {
    uint32_t set;
};
void model_wait(struct model_event *event);
void model_set(struct model_event *event);
/* Instead of spinning: waits until there is a store to the location that this thread has not seen.
 */
void model_await_change(const void *location);
