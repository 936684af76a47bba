#include "core/check.h"
#include "tests/sim/sim.h"

#include <stdio.h>
#include <sys/mman.h>
#ifndef __x86_64__
#include <ucontext.h>
#endif

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#define FIBER_ASAN 1
enum { STACK_BYTES = 2 * 1024 * 1024 };
#else
enum { STACK_BYTES = 512 * 1024 };
#endif

enum { FIBERS_MAX = 64, GUARD_BYTES = 4096 };

/* --- switching stacks --------------------------------------------------------------------------
 */

static void enter(void);

#ifdef __x86_64__
/* swapcontext makes two system calls, which would be a good part of a run's time: here the saved
 * state is the stack pointer, with the registers that a call preserves below it. */
struct context {
    void *stack;
};

void fiber_swap(struct context *from, const struct context *to);
__asm__(".text\n"
        ".globl fiber_swap\n"
        ".type fiber_swap, @function\n"
        "fiber_swap:\n"
        "    endbr64\n"
        "    push %rbp\n"
        "    push %rbx\n"
        "    push %r12\n"
        "    push %r13\n"
        "    push %r14\n"
        "    push %r15\n"
        "    mov %rsp, (%rdi)\n"
        "    mov (%rsi), %rsp\n"
        "    pop %r15\n"
        "    pop %r14\n"
        "    pop %r13\n"
        "    pop %r12\n"
        "    pop %rbx\n"
        "    pop %rbp\n"
        "    ret\n"
        ".size fiber_swap, . - fiber_swap\n");

static void context_make(struct context *context, char *stack, size_t bytes)
{
    enum { REGISTERS = 6 };
    void **top = (void **)(void *)(stack + bytes);
    *--top = NULL; /* enter's return address: never used */
    *--top = (void *)(uintptr_t)enter;
    for (unsigned i = 0; i < REGISTERS; i++) {
        *--top = NULL;
    }
    context->stack = top;
}
#else
struct context {
    ucontext_t state;
};

static void fiber_swap(struct context *from, const struct context *to)
{
    swapcontext(&from->state, &to->state);
}

static void context_make(struct context *context, char *stack, size_t bytes)
{
    MX_ASSERT(getcontext(&context->state) == 0);
    context->state.uc_stack.ss_sp = stack;
    context->state.uc_stack.ss_size = bytes;
    context->state.uc_link = NULL;
    makecontext(&context->state, enter, 0);
}
#endif

/* --- fibers ------------------------------------------------------------------------------------
 */

struct fiber {
    struct context context;
    char *stack; /* kept for the next user of this slot */
    void (*run)(void *arg);
    void *arg;
    char name[16];
    bool used, ended;
    uint64_t until_ns;
    const bool *flag;
    uint32_t owner; /* of what it allocates */
};

static struct fiber slots[FIBERS_MAX];
static struct fiber *order[FIBERS_MAX];
static unsigned count;
static struct fiber *current;
static struct context scheduler;
#ifdef FIBER_ASAN
static void *scheduler_fake;
static const void *scheduler_stack;
static size_t scheduler_stack_bytes;
#endif

static void switch_back(struct fiber *self, bool last)
{
#ifdef FIBER_ASAN
    void *fake = NULL;
    __sanitizer_start_switch_fiber(last ? NULL : &fake, scheduler_stack, scheduler_stack_bytes);
#endif
    (void)last;
    fiber_swap(&self->context, &scheduler);
#ifdef FIBER_ASAN
    __sanitizer_finish_switch_fiber(fake, &scheduler_stack, &scheduler_stack_bytes);
#endif
}

static void enter(void)
{
    struct fiber *self = current;
#ifdef FIBER_ASAN
    __sanitizer_finish_switch_fiber(NULL, &scheduler_stack, &scheduler_stack_bytes);
#endif
    self->run(self->arg);
    self->ended = true;
    switch_back(self, true);
}

struct fiber *fiber_new(void (*run)(void *arg), void *arg, const char *name)
{
    struct fiber *fiber = NULL;
    for (unsigned i = 0; i < FIBERS_MAX && fiber == NULL; i++) {
        fiber = slots[i].used ? NULL : &slots[i];
    }
    MX_ASSERT(fiber != NULL);
    if (fiber->stack == NULL) {
        fiber->stack = mmap(NULL, STACK_BYTES, PROT_READ | PROT_WRITE,
                            MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        MX_ASSERT(fiber->stack != MAP_FAILED);
        MX_ASSERT(mprotect(fiber->stack, GUARD_BYTES, PROT_NONE) == 0);
    }
#ifdef FIBER_ASAN
    __asan_unpoison_memory_region(fiber->stack + GUARD_BYTES, STACK_BYTES - GUARD_BYTES);
#endif
    fiber->run = run;
    fiber->arg = arg;
    fiber->used = true;
    fiber->ended = false;
    fiber->until_ns = 0;
    fiber->flag = NULL;
    fiber->owner = 0;
    (void)snprintf(fiber->name, sizeof fiber->name, "%s", name);
    context_make(&fiber->context, fiber->stack, STACK_BYTES);
    order[count++] = fiber;
    return fiber;
}

static void resume(struct fiber *fiber)
{
    MX_ASSERT(current == NULL && !fiber->ended);
    current = fiber;
    memory_own(fiber->owner);
#ifdef FIBER_ASAN
    __sanitizer_start_switch_fiber(&scheduler_fake, fiber->stack, STACK_BYTES);
#endif
    fiber_swap(&scheduler, &fiber->context);
#ifdef FIBER_ASAN
    __sanitizer_finish_switch_fiber(scheduler_fake, NULL, NULL);
#endif
    current = NULL;
    memory_own(0);
}

void fiber_wait(uint64_t until_ns, const bool *flag)
{
    struct fiber *self = current;
    MX_ASSERT(self != NULL);
    self->until_ns = until_ns;
    self->flag = flag;
    switch_back(self, false);
}

/* Forgets the one in this place of the order. */
static void drop(unsigned at)
{
    order[at]->used = false;
    count--;
    for (unsigned i = at; i < count; i++) {
        order[i] = order[i + 1];
    }
}

static bool is_ready(const struct fiber *fiber)
{
    return fiber->until_ns <= sim.now_ns || (fiber->flag != NULL && *fiber->flag);
}

unsigned fibers_ready(uint64_t *next_ns)
{
    unsigned ready = 0;
    for (unsigned i = 0; i < count; i++) {
        const struct fiber *fiber = order[i];
        if (fiber->ended) {
            drop(i--);
        } else if (is_ready(fiber)) {
            ready++;
        } else if (fiber->until_ns < *next_ns) {
            *next_ns = fiber->until_ns;
        }
    }
    return ready;
}

void fibers_step(unsigned n)
{
    for (unsigned i = 0; i < count; i++) {
        if (is_ready(order[i]) && n-- == 0) {
            resume(order[i]);
            return;
        }
    }
}

void fibers_forget(void)
{
    while (count > 0) {
        drop(count - 1);
    }
}

bool fiber_is(const char *name)
{
    const struct fiber *fiber = fiber_current();
    return fiber != NULL && strcmp(fiber->name, name) == 0;
}

void fiber_own(uint32_t owner)
{
    current->owner = owner;
    memory_own(owner);
}

struct fiber *fiber_current(void)
{
    return current;
}
