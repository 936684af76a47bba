/* The program's allocations are linked to here (ld --wrap), so that the memory of a killed process
 * can be given back, leaks are seen, and the peak is known. */
#include "core/check.h"
#include "core/list.h"
#include "tests/sim/life.h"
#include "tests/sim/sim.h"

#include <errno.h>
#include <stdlib.h>

void *__real_malloc(size_t bytes);
void *__real_calloc(size_t count, size_t bytes);
void *__real_realloc(void *ptr, size_t bytes);
void *__real_aligned_alloc(size_t align, size_t bytes);
void __real_free(void *ptr);
void *__wrap_malloc(size_t bytes);
void *__wrap_calloc(size_t count, size_t bytes);
void *__wrap_realloc(void *ptr, size_t bytes);
void *__wrap_aligned_alloc(size_t align, size_t bytes);
void __wrap_free(void *ptr);

enum { MAGIC = 0x51a110c8, SAID_BYTES_MAX = 64, SHORT_MAX = 100 };

/* In front of every block. */
struct head {
    struct list_node node;
    size_t bytes;
    uint32_t skip; /* from the start of the real allocation to the block */
    uint32_t magic;
    uint32_t owner; /* see fiber_own */
    uint32_t unused[3];
};

_Static_assert(sizeof(struct head) % 16 == 0, "blocks stay aligned");

static struct list all = {{&all.head, &all.head}};
static size_t used, peak;
static uint32_t owner, fail_after, fail_count;
static uint32_t short_count; /* of refusals that chance has begun */
static bool spared;
uint64_t memory_shortages;

/* Chance takes it away from cores and their workers for a while. */
static bool runs_short(void)
{
    if (sim.memory_errors == 0 || !sim.faults || spared || !life_running() ||
        !(fiber_is("core") || fiber_is("worker"))) {
        return false;
    }
    if (short_count == 0 && sim_chance(sim.memory_errors)) {
        short_count = (uint32_t)sim_scale(1, SHORT_MAX);
        memory_shortages++;
        sim_note("no-memory", short_count, 0);
    }
    short_count -= short_count > 0;
    return short_count > 0;
}

/* Memory runs out for this request. */
static bool fails(void)
{
    if (runs_short()) {
        errno = ENOMEM;
        return true;
    }
    if (fail_count == 0) {
        return false;
    }
    if (fail_after > 0) {
        fail_after--;
        return false;
    }
    fail_count--;
    errno = ENOMEM;
    return true;
}

static void *note(char *start, size_t skip, size_t bytes)
{
    struct head *head = (struct head *)(void *)(start + skip) - 1;
    head->node = (struct list_node){NULL, NULL};
    list_push_back(&all, &head->node);
    head->bytes = bytes;
    head->skip = (uint32_t)skip;
    head->magic = MAGIC;
    head->owner = owner;
    used += bytes;
    peak = used > peak ? used : peak;
    return head + 1;
}

/* Large blocks are kept for the next life, which asks for the same sizes: getting them from the
 * kernel anew would be a third of a run's time. Not where a sanitizer is to see every use. */
#if defined(__SANITIZE_ADDRESS__)
enum { KEPT_BYTES_MIN = 1 << 30, POISON_BYTES_MAX = 0 };
#else
enum { KEPT_BYTES_MIN = 64 * 1024, POISON_BYTES_MAX = 16 * 1024 };
#endif
enum { KEPT_MAX = 256, POISON = 0xdd };

static struct head *kept[KEPT_MAX];
static unsigned kept_count;

static void *take_kept(size_t skip, size_t bytes)
{
    for (unsigned i = 0; bytes >= KEPT_BYTES_MIN && i < kept_count; i++) {
        struct head *head = kept[i];
        if (head->bytes == bytes && head->skip == skip) {
            kept[i] = kept[--kept_count];
            return note((char *)(head + 1) - skip, skip, bytes);
        }
    }
    return NULL;
}

static bool keep(struct head *head)
{
    if (head->bytes < KEPT_BYTES_MIN || kept_count == KEPT_MAX) {
        return false;
    }
    kept[kept_count++] = head;
    return true;
}

void *__wrap_malloc(size_t bytes)
{
    if (fails()) {
        return NULL;
    }
    void *old = take_kept(sizeof(struct head), bytes);
    char *start = old != NULL ? NULL : __real_malloc(bytes + sizeof(struct head));
    return start == NULL ? old : note(start, sizeof(struct head), bytes);
}

void *__wrap_calloc(size_t count, size_t bytes)
{
    if (fails()) {
        return NULL;
    }
    void *old = take_kept(sizeof(struct head), count * bytes);
    if (old != NULL) {
        memset(old, 0, count * bytes);
        return old;
    }
    char *start = __real_calloc(1, count * bytes + sizeof(struct head));
    return start == NULL ? NULL : note(start, sizeof(struct head), count * bytes);
}

void *__wrap_aligned_alloc(size_t align, size_t bytes)
{
    if (fails()) {
        return NULL;
    }
    size_t skip = (size_t)mx_round_up(sizeof(struct head), align);
    void *old = take_kept(skip, bytes);
    if (old != NULL) {
        return old;
    }
    char *start = __real_aligned_alloc(align, (size_t)mx_round_up(bytes + skip, align));
    return start == NULL ? NULL : note(start, skip, bytes);
}

void __wrap_free(void *ptr)
{
    if (ptr == NULL) {
        return;
    }
    struct head *head = (struct head *)ptr - 1;
    MX_ASSERT(head->magic == MAGIC);
    head->magic = 0;
    list_remove(&head->node);
    used -= head->bytes;
    if (!keep(head)) {
        /* Who still looks at it shall not find what was there. */
        memset(ptr, POISON, mx_min_size(head->bytes, POISON_BYTES_MAX));
        __real_free((char *)ptr - head->skip);
    }
}

void *__wrap_realloc(void *ptr, size_t bytes)
{
    void *fresh = __wrap_malloc(bytes);
    if (fresh != NULL && ptr != NULL) {
        const struct head *head = (struct head *)ptr - 1;
        memcpy(fresh, ptr, head->bytes < bytes ? head->bytes : bytes);
        __wrap_free(ptr);
    }
    return fresh;
}

void *sim_alloc(size_t bytes)
{
    void *ptr = __real_calloc(1, bytes);
    MX_ASSERT(ptr != NULL);
    return ptr;
}

void *sim_realloc(void *ptr, size_t bytes)
{
    void *fresh = __real_realloc(ptr, bytes);
    MX_ASSERT(fresh != NULL);
    return fresh;
}

void sim_free(void *ptr)
{
    __real_free(ptr);
}

size_t memory_used(void)
{
    return used;
}

size_t memory_peak(void)
{
    return peak;
}

void memory_peak_reset(void)
{
    peak = used;
}

void memory_own(uint32_t number)
{
    owner = number;
}

size_t memory_owned(uint32_t number)
{
    size_t bytes = 0;
    struct list_node *node = list_first(&all);
    for (; node != NULL; node = list_next(&all, node)) {
        const struct head *head = mx_container_of(node, struct head, node);
        bytes += head->owner == number ? head->bytes : 0;
    }
    return bytes;
}

void memory_say_owned(uint32_t number)
{
    struct list_node *node = list_first(&all);
    for (; node != NULL; node = list_next(&all, node)) {
        const struct head *head = mx_container_of(node, struct head, node);
        if (head->owner == number) {
            char text[SAID_BYTES_MAX + 1] = {0};
            const char *block = (const char *)(head + 1);
            for (size_t i = 0; i < SAID_BYTES_MAX && i < head->bytes; i++) {
                text[i] = block[i] >= ' ' && block[i] <= '~' ? block[i] : '.';
            }
            sim_say("left: %zu bytes, %s", head->bytes, text);
        }
    }
}

void memory_fail(unsigned after, unsigned count)
{
    fail_after = after;
    fail_count = count;
}

void memory_spare(bool on)
{
    spared = on;
}

void memory_clear(void)
{
    spared = false;
    short_count = 0;
    fail_count = 0;
    struct list_node *node;
    while ((node = list_first(&all)) != NULL) {
        __wrap_free(mx_container_of(node, struct head, node) + 1);
    }
}

void memory_keep(void)
{
    struct list_node *node;
    while ((node = list_pop_front(&all)) != NULL) {
        struct head *head = mx_container_of(node, struct head, node);
        head->bytes = 0;
    }
    used = peak = 0;
}
