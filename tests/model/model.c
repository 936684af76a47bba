#include "model.h"

#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <ucontext.h>

enum {
    LOCATIONS_MAX = 64,
    STORES_MAX = 64,  /* per location and execution */
    PLAIN_MAX = 4096, /* units watched for races */
    UNIT_BYTES = 4,
    STACK_BYTES = 64 * 1024,
    DEPTH_MAX = 4096,
    TRACE_MAX = 256,
};

enum { RELAXED = 0, CONSUME, ACQUIRE, RELEASE, ACQ_REL, SEQ_CST };

#define DIE(text)                             \
    do {                                      \
        fprintf(stderr, "model: %s\n", text); \
        exit(2);                              \
    } while (0)

/* --- memory ------------------------------------------------------------------------------------
 */

struct view {
    uint8_t oldest[LOCATIONS_MAX]; /* index of a store */
    uint16_t clock[MODEL_THREADS_MAX];
};

struct store {
    uint64_t value;
    struct view released;
};

struct location {
    const void *address;
    unsigned count;
    unsigned last_seq_cst; /* index + 1, 0 = none */
    struct store stores[STORES_MAX];
};

struct plain {
    uintptr_t address; /* of UNIT_BYTES */
    int writer;        /* -1: none */
    uint16_t written;
    uint16_t read[MODEL_THREADS_MAX];
};

enum kind { OP_NONE, OP_LOAD, OP_STORE, OP_UPDATE, OP_WAIT, OP_AWAIT };

struct thread {
    ucontext_t context;
    uint8_t *stack;
    bool ended;
    enum kind kind; /* of the operation that it is about to do */
    const void *address;
    struct view view;
};

enum node_kind { NODE_THREAD, NODE_READ };

struct node {
    enum node_kind kind;
    unsigned chosen, count;        /* READ: of count candidates */
    unsigned enabled, done, sleep; /* THREAD: masks */
};

static struct {
    const struct model_scenario *scenario;
    const struct model_weakening *weakening;
    struct model_result *result;
    ucontext_t main;
    struct thread threads[MODEL_THREADS_MAX];
    int running; /* -1: not modelled */
    struct location locations[LOCATIONS_MAX];
    unsigned location_count;
    struct plain plains[PLAIN_MAX];
    unsigned plain_count;
    struct node nodes[DEPTH_MAX];
    unsigned depth, node_count;
    char trace[TRACE_MAX][64];
    unsigned trace_count;
    bool failed;
} m;

static void fail(const char *what)
{
    if (m.failed) {
        return;
    }
    m.failed = true;
    m.result->error = what;
    size_t len = 0;
    for (unsigned i = 0; i < m.trace_count && len < sizeof m.result->trace; i++) {
        int n = snprintf(m.result->trace + len, sizeof m.result->trace - len, "  %s\n", m.trace[i]);
        len += n > 0 ? (size_t)n : 0;
    }
}

__attribute__((format(printf, 1, 2))) static void trace(const char *format, ...)
{
    if (m.trace_count < TRACE_MAX) {
        va_list args;
        va_start(args, format);
        (void)vsnprintf(m.trace[m.trace_count++], sizeof m.trace[0], format, args);
        va_end(args);
    }
}

static void join(struct view *into, const struct view *from)
{
    for (unsigned i = 0; i < LOCATIONS_MAX; i++) {
        into->oldest[i] = from->oldest[i] > into->oldest[i] ? from->oldest[i] : into->oldest[i];
    }
    for (unsigned i = 0; i < MODEL_THREADS_MAX; i++) {
        into->clock[i] = from->clock[i] > into->clock[i] ? from->clock[i] : into->clock[i];
    }
}

static uint64_t memory_read(const void *address, unsigned bytes)
{
    uint64_t value = 0;
    memcpy(&value, address, bytes);
    return value;
}

/* The first access of an execution finds the initial value in memory. */
static struct location *location_of(const void *address, unsigned bytes)
{
    for (unsigned i = 0; i < m.location_count; i++) {
        if (m.locations[i].address == address) {
            return &m.locations[i];
        }
    }
    if (m.location_count == LOCATIONS_MAX) {
        DIE("too many atomic locations");
    }
    struct location *location = &m.locations[m.location_count++];
    location->address = address;
    location->count = 1;
    location->last_seq_cst = 0;
    location->stores[0] = (struct store){.value = memory_read(address, bytes)};
    return location;
}

static int weakened(const void *address, enum model_op op, int order)
{
    const struct model_weakening *w = m.weakening;
    return w != NULL && w->location == address && w->op == op && w->order < order ? w->order
                                                                                  : order;
}

/* --- choices -----------------------------------------------------------------------------------
 */

static struct node *next_node(enum node_kind kind, bool *is_new)
{
    if (m.depth == DEPTH_MAX) {
        DIE("an execution is too long: does a thread spin?");
    }
    struct node *node = &m.nodes[m.depth++];
    *is_new = m.depth > m.node_count;
    if (*is_new) {
        *node = (struct node){.kind = kind};
        m.node_count = m.depth;
    } else if (node->kind != kind) {
        DIE("the scenario is not deterministic");
    }
    return node;
}

static unsigned choose_read(unsigned count)
{
    bool is_new;
    if (count == 1) {
        return 0;
    }
    struct node *node = next_node(NODE_READ, &is_new);
    node->count = count;
    return node->chosen;
}

/* To the scheduler, which comes back when this operation's turn is there. */
static struct thread *stop_before(enum kind kind, const void *address)
{
    struct thread *self = &m.threads[m.running];
    int index = m.running;
    self->kind = kind;
    self->address = address;
    if (swapcontext(&self->context, &m.main) != 0) {
        DIE("swapcontext");
    }
    self->view.clock[index]++;
    return self;
}

/* --- operations --------------------------------------------------------------------------------
 */

static uint64_t do_load(const void *address, unsigned bytes, int order)
{
    if (m.running < 0) {
        return memory_read(address, bytes);
    }
    struct thread *self = stop_before(OP_LOAD, address);
    struct location *location = location_of(address, bytes);
    unsigned at = (unsigned)(location - m.locations);
    unsigned oldest = self->view.oldest[at];
    order = weakened(address, MODEL_LOAD, order);
    if (order == SEQ_CST && location->last_seq_cst > oldest + 1) {
        oldest = location->last_seq_cst - 1;
    }
    unsigned pick = location->count - 1 - choose_read(location->count - oldest); /* newest first */
    const struct store *store = &location->stores[pick];
    self->view.oldest[at] = (uint8_t)pick;
    if (order == ACQUIRE || order == CONSUME || order == ACQ_REL || order == SEQ_CST) {
        join(&self->view, &store->released);
    }
    trace("thread %d loads #%u = %llu (store %u of %u)", m.running, at,
          (unsigned long long)store->value, pick, location->count - 1);
    return store->value;
}

static void store_append(struct thread *self, struct location *location, uint64_t value, int order,
                         const struct view *also)
{
    unsigned at = (unsigned)(location - m.locations);
    if (location->count == STORES_MAX) {
        DIE("too many stores to one location");
    }
    struct store *store = &location->stores[location->count];
    *store = (struct store){.value = value};
    self->view.oldest[at] = (uint8_t)location->count;
    if (also != NULL) {
        store->released = *also; /* a read-modify-write continues the release sequence */
    }
    if (order == RELEASE || order == ACQ_REL || order == SEQ_CST) {
        join(&store->released, &self->view);
    }
    location->count++;
    if (order == SEQ_CST) {
        location->last_seq_cst = location->count;
    }
    trace("thread %d stores #%u = %llu", m.running, at, (unsigned long long)value);
}

static void do_store(void *address, unsigned bytes, uint64_t value, int order)
{
    if (m.running >= 0) {
        struct thread *self = stop_before(OP_STORE, address);
        struct location *location = location_of(address, bytes);
        store_append(self, location, value, weakened(address, MODEL_STORE, order), NULL);
    }
    memcpy(address, &value, bytes);
}

static uint64_t do_update(void *address, unsigned bytes, uint64_t add, uint64_t keep, int order)
{
    uint64_t old = memory_read(address, bytes);
    if (m.running >= 0) {
        struct thread *self = stop_before(OP_UPDATE, address);
        struct location *location = location_of(address, bytes);
        struct view before = location->stores[location->count - 1].released;
        old = location->stores[location->count - 1].value; /* the newest always */
        if (order != RELAXED && order != RELEASE) {
            join(&self->view, &before);
        }
        store_append(self, location, (old & keep) + add, order, &before);
    }
    uint64_t value = (old & keep) + add;
    memcpy(address, &value, bytes);
    return old;
}

static struct plain *plain_of(uintptr_t address)
{
    for (unsigned i = 0; i < m.plain_count; i++) {
        if (m.plains[i].address == address) {
            return &m.plains[i];
        }
    }
    if (m.plain_count == PLAIN_MAX) {
        DIE("too much plain memory");
    }
    struct plain *plain = &m.plains[m.plain_count++];
    *plain = (struct plain){.address = address, .writer = -1};
    return plain;
}

static bool on_own_stack(uintptr_t address)
{
    uintptr_t stack = (uintptr_t)m.threads[m.running].stack;
    return address >= stack && address < stack + STACK_BYTES;
}

static void unit_access(uintptr_t address, bool write)
{
    if (m.running < 0 || on_own_stack(address)) {
        return;
    }
    const uint16_t *clock = m.threads[m.running].view.clock;
    struct plain *plain = plain_of(address);
    if (plain->writer >= 0 && plain->writer != m.running && plain->written > clock[plain->writer]) {
        fail("data race: an access beside a write");
    }
    for (int i = 0; write && i < MODEL_THREADS_MAX; i++) {
        if (i != m.running && plain->read[i] > clock[i]) {
            fail("data race: a write beside a read");
        }
    }
    /* What this thread does before its next operation belongs to the time after its last one. */
    uint16_t now = (uint16_t)(clock[m.running] + 1);
    if (write) {
        plain->writer = m.running;
        plain->written = now;
    } else {
        plain->read[m.running] = now;
    }
}

static void plain_access(const void *pointer, unsigned long bytes, bool write)
{
    uintptr_t end = (uintptr_t)pointer + bytes;
    for (uintptr_t at = (uintptr_t)pointer & ~(uintptr_t)(UNIT_BYTES - 1); at < end;
         at += UNIT_BYTES) {
        unit_access(at, write);
    }
}

void model_check(bool holds, const char *what)
{
    if (!holds) {
        fail(what);
    }
}

void model_wait(struct model_event *event)
{
    (void)stop_before(OP_WAIT, &event->set);
    struct thread *self = &m.threads[m.running];
    struct location *location = location_of(&event->set, sizeof event->set);
    join(&self->view, &location->stores[location->count - 1].released);
    trace("thread %d is woken", m.running);
    store_append(self, location, 0, ACQ_REL, NULL);
}

void model_set(struct model_event *event)
{
    (void)do_update(&event->set, sizeof event->set, 1, 0, ACQ_REL);
}

void model_await_change(const void *pointer)
{
    struct thread *self = stop_before(OP_AWAIT, pointer);
    for (unsigned i = 0; i < m.location_count; i++) {
        if (m.locations[i].address == pointer) {
            self->view.oldest[i]++; /* it does not see the old value for ever */
        }
    }
}

/* --- scheduling --------------------------------------------------------------------------------
 */

static bool is_enabled(const struct thread *thread)
{
    if (thread->ended) {
        return false;
    }
    if (thread->kind != OP_WAIT && thread->kind != OP_AWAIT) {
        return true;
    }
    for (unsigned i = 0; i < m.location_count; i++) {
        const struct location *location = &m.locations[i];
        if (location->address == thread->address) {
            return thread->kind == OP_WAIT ? location->stores[location->count - 1].value != 0
                                           : location->count - 1 > thread->view.oldest[i];
        }
    }
    return false;
}

static bool dependent(const struct thread *a, const struct thread *b)
{
    bool reads =
        (a->kind == OP_LOAD || a->kind == OP_AWAIT) && (b->kind == OP_LOAD || b->kind == OP_AWAIT);
    return a->address == b->address && !reads;
}

static void thread_main(unsigned index)
{
    m.scenario->thread(index);
    m.threads[index].ended = true;
}

static void thread_resume(unsigned index)
{
    m.running = (int)index;
    if (swapcontext(&m.main, &m.threads[index].context) != 0) {
        DIE("swapcontext");
    }
    m.running = -1;
}

static void thread_start(unsigned index)
{
    struct thread *thread = &m.threads[index];
    uint8_t *stack = thread->stack != NULL ? thread->stack : malloc(STACK_BYTES);
    if (stack == NULL) {
        DIE("out of memory");
    }
    memset(&thread->view, 0, sizeof thread->view);
    thread->stack = stack;
    thread->ended = false;
    thread->kind = OP_NONE;
    if (getcontext(&thread->context) != 0) {
        DIE("getcontext");
    }
    thread->context.uc_stack.ss_sp = stack;
    thread->context.uc_stack.ss_size = STACK_BYTES;
    thread->context.uc_link = &m.main;
    makecontext(&thread->context, (void (*)(void))thread_main, 1, index);
    thread_resume(index); /* to its first operation */
}

static int pick(unsigned mask)
{
    for (int i = 0; i < MODEL_THREADS_MAX; i++) {
        if (mask >> i & 1) {
            return i;
        }
    }
    return -1;
}

/* One execution along the path of nodes; false when it was left early. */
static bool execute(void)
{
    unsigned sleep = 0;
    m.location_count = 0;
    m.plain_count = 0;
    m.trace_count = 0;
    m.depth = 0;
    m.scenario->setup();
    for (unsigned i = 0; i < m.scenario->threads; i++) {
        thread_start(i);
    }
    while (!m.failed) {
        unsigned enabled = 0, left = 0;
        for (unsigned i = 0; i < m.scenario->threads; i++) {
            enabled |= is_enabled(&m.threads[i]) ? 1u << i : 0;
            left |= m.threads[i].ended ? 0 : 1u << i;
        }
        if (enabled == 0) {
            if (left != 0) {
                fail("a thread sleeps and nobody will wake it");
            }
            return true;
        }
        bool is_new;
        struct node *node = next_node(NODE_THREAD, &is_new);
        if (is_new) {
            node->enabled = enabled;
            node->sleep = sleep;
            int first = pick(enabled & ~sleep);
            if (first < 0) {
                return false;
            }
            node->chosen = (unsigned)first;
        }
        const struct thread next = {.kind = m.threads[node->chosen].kind,
                                    .address = m.threads[node->chosen].address};
        unsigned asleep = node->sleep | node->done;
        sleep = 0;
        for (unsigned i = 0; i < m.scenario->threads; i++) {
            bool stays = (asleep >> i & 1) != 0 && !dependent(&m.threads[i], &next);
            sleep |= stays ? 1u << i : 0;
        }
        thread_resume(node->chosen);
    }
    return true;
}

/* To the next path; false when all have been run. */
static bool backtrack(void)
{
    while (m.node_count > 0) {
        struct node *node = &m.nodes[m.node_count - 1];
        if (node->kind == NODE_READ) {
            if (node->chosen + 1 < node->count) {
                node->chosen++;
                return true;
            }
        } else {
            node->done |= 1u << node->chosen;
            int next = pick(node->enabled & ~node->done & ~node->sleep);
            if (next >= 0) {
                node->chosen = (unsigned)next;
                return true;
            }
        }
        m.node_count--;
    }
    return false;
}

void model_run(struct model_result *out, const struct model_scenario *scenario,
               const struct model_weakening *weakening)
{
    *out = (struct model_result){.error = NULL};
    m.scenario = scenario;
    m.weakening = weakening;
    m.result = out;
    m.node_count = 0;
    m.failed = false;
    m.running = -1;
    do {
        bool whole = execute();
        if (whole && !m.failed) {
            scenario->check();
        }
        out->executions += whole;
        out->pruned += !whole;
    } while (!m.failed && backtrack());
    for (unsigned i = 0; i < MODEL_THREADS_MAX; i++) {
        free(m.threads[i].stack);
        m.threads[i].stack = NULL;
    }
}

/* --- what the instrumentation calls ------------------------------------------------------------
 */

#define ATOMICS(bits)                                                                              \
    uint##bits##_t __tsan_atomic##bits##_load(const volatile uint##bits##_t *p, int order);        \
    uint##bits##_t __tsan_atomic##bits##_load(const volatile uint##bits##_t *p, int order)         \
    {                                                                                              \
        return (uint##bits##_t)do_load((const void *)(uintptr_t)p, bits / 8, order);               \
    }                                                                                              \
    void __tsan_atomic##bits##_store(volatile uint##bits##_t *p, uint##bits##_t v, int order);     \
    void __tsan_atomic##bits##_store(volatile uint##bits##_t *p, uint##bits##_t v, int order)      \
    {                                                                                              \
        do_store((void *)(uintptr_t)p, bits / 8, v, order);                                        \
    }                                                                                              \
    uint##bits##_t __tsan_atomic##bits##_fetch_add(volatile uint##bits##_t *p, uint##bits##_t v,   \
                                                   int order);                                     \
    uint##bits##_t __tsan_atomic##bits##_fetch_add(volatile uint##bits##_t *p, uint##bits##_t v,   \
                                                   int order)                                      \
    {                                                                                              \
        return (uint##bits##_t)do_update((void *)(uintptr_t)p, bits / 8, v, UINT64_MAX, order);    \
    }                                                                                              \
    uint##bits##_t __tsan_atomic##bits##_fetch_sub(volatile uint##bits##_t *p, uint##bits##_t v,   \
                                                   int order);                                     \
    uint##bits##_t __tsan_atomic##bits##_fetch_sub(volatile uint##bits##_t *p, uint##bits##_t v,   \
                                                   int order)                                      \
    {                                                                                              \
        return (uint##bits##_t)do_update((void *)(uintptr_t)p, bits / 8, -(uint64_t)v, UINT64_MAX, \
                                         order);                                                   \
    }                                                                                              \
    uint##bits##_t __tsan_atomic##bits##_exchange(volatile uint##bits##_t *p, uint##bits##_t v,    \
                                                  int order);                                      \
    uint##bits##_t __tsan_atomic##bits##_exchange(volatile uint##bits##_t *p, uint##bits##_t v,    \
                                                  int order)                                       \
    {                                                                                              \
        return (uint##bits##_t)do_update((void *)(uintptr_t)p, bits / 8, v, 0, order);             \
    }
ATOMICS(8)
ATOMICS(16)
ATOMICS(32)
ATOMICS(64)

#define PLAIN(name, bytes, write)            \
    void __tsan_##name(const void *address); \
    void __tsan_##name(const void *address)  \
    {                                        \
        plain_access(address, bytes, write); \
    }
PLAIN(read1, 1, false)
PLAIN(read2, 2, false)
PLAIN(read4, 4, false)
PLAIN(read8, 8, false)
PLAIN(read16, 16, false)
PLAIN(write1, 1, true)
PLAIN(write2, 2, true)
PLAIN(write4, 4, true)
PLAIN(write8, 8, true)
PLAIN(write16, 16, true)

void __tsan_read_range(const void *address, unsigned long bytes);
void __tsan_read_range(const void *address, unsigned long bytes)
{
    plain_access(address, bytes, false);
}
void __tsan_write_range(const void *address, unsigned long bytes);
void __tsan_write_range(const void *address, unsigned long bytes)
{
    plain_access(address, bytes, true);
}

void __tsan_init(void);
void __tsan_init(void)
{
}
void __tsan_func_entry(void *caller);
void __tsan_func_entry(void *caller)
{
    (void)caller;
}
void __tsan_func_exit(void);
void __tsan_func_exit(void)
{
}
