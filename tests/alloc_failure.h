/* Memory that runs out at a chosen allocation: the linker sends every call of the allocator in our
 * own code here (--wrap), BoringSSL asks through its own hooks. Included by one file per program.
 *
 * A scenario arms the failure, acts, and disarms it. every_allocation() runs it for n = 1, 2, ...
 * until nothing failed any more, twice: only the n-th allocation fails, and all from the n-th on
 * until disarmed. Leaks are found by the address sanitizer at the end of the program.
 *
 * In the environment, ALLOC_ONLY=NAME:n or NAME:n+ runs one case, ALLOC_STRIDE=1 every allocation
 * of every scenario; ALLOC_VERBOSE=1 tells each. */
#pragma once

#include <malloc.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static atomic_ulong alloc_count;
static atomic_bool alloc_armed, alloc_failed;
static unsigned long alloc_n; /* counted from 1 */
static bool alloc_all;        /* all from the n-th on */
static bool alloc_tls;        /* BoringSSL's own allocations too: thousands when it reads a store */

static bool alloc_fails(void)
{
    if (!atomic_load(&alloc_armed)) {
        return false;
    }
    unsigned long i = atomic_fetch_add(&alloc_count, 1) + 1;
    bool fails = alloc_all ? i >= alloc_n : i == alloc_n;
    if (fails) {
        atomic_store(&alloc_failed, true);
    }
    return fails;
}

static void alloc_arm(void)
{
    atomic_store(&alloc_count, 0);
    atomic_store(&alloc_armed, true);
}

static void alloc_disarm(void)
{
    atomic_store(&alloc_armed, false);
}

void *__real_malloc(size_t bytes);
void *__real_calloc(size_t count, size_t bytes);
void *__real_realloc(void *old, size_t bytes);
void *__real_aligned_alloc(size_t align, size_t bytes);
char *__real_strdup(const char *text);
void *__wrap_malloc(size_t bytes);
void *__wrap_calloc(size_t count, size_t bytes);
void *__wrap_realloc(void *old, size_t bytes);
void *__wrap_aligned_alloc(size_t align, size_t bytes);
char *__wrap_strdup(const char *text);
void *OPENSSL_memory_alloc(size_t bytes);
void OPENSSL_memory_free(void *bytes);
size_t OPENSSL_memory_get_size(void *bytes);

void *__wrap_malloc(size_t bytes)
{
    return alloc_fails() ? NULL : __real_malloc(bytes);
}

void *__wrap_calloc(size_t count, size_t bytes)
{
    return alloc_fails() ? NULL : __real_calloc(count, bytes);
}

void *__wrap_realloc(void *old, size_t bytes)
{
    return alloc_fails() ? NULL : __real_realloc(old, bytes);
}

void *__wrap_aligned_alloc(size_t align, size_t bytes)
{
    return alloc_fails() ? NULL : __real_aligned_alloc(align, bytes);
}

char *__wrap_strdup(const char *text)
{
    return alloc_fails() ? NULL : __real_strdup(text);
}

/* BoringSSL's own. */
void *OPENSSL_memory_alloc(size_t bytes)
{
    return alloc_tls && alloc_fails() ? NULL : __real_malloc(bytes);
}

void OPENSSL_memory_free(void *bytes)
{
    free(bytes);
}

size_t OPENSSL_memory_get_size(void *bytes)
{
    return malloc_usable_size(bytes);
}

enum { ALLOC_POINTS_MAX = 20000 };

/* Runs the scenario for every n, or every stride-th where a library makes thousands; prints how
 * many allocations it has. */
static void every_allocation(const char *name, void (*run)(void), unsigned stride)
{
    const char *only = getenv("ALLOC_ONLY");
    const char *given = getenv("ALLOC_STRIDE");
    stride = given != NULL && atoi(given) > 0 ? (unsigned)atoi(given) : stride;
    for (int all = 0; all < 2; all++) {
        unsigned long n = 0;
        do {
            char id[128];
            n += n == 0 || only != NULL ? 1 : stride;
            alloc_n = n;
            alloc_all = all;
            atomic_store(&alloc_failed, false);
            snprintf(id, sizeof id, "%s:%lu%s", name, n, all ? "+" : "");
            if (only == NULL || strcmp(only, id) == 0) {
                (void)setenv("ALLOC_CASE", id, 1);
                if (getenv("ALLOC_VERBOSE") != NULL) {
                    fprintf(stderr, "%s\n", id); /* the last one is that of a crash */
                }
                run();
                alloc_disarm();
            } else {
                atomic_store(&alloc_failed, n < ALLOC_POINTS_MAX);
            }
            if (n > ALLOC_POINTS_MAX) {
                printf("%s: more allocations than a scenario may have\n", name);
                exit(1);
            }
        } while (atomic_load(&alloc_failed));
        if (only == NULL && n < 2) {
            printf("%s: no allocation was made to fail\n", name);
            exit(1);
        }
        if (only == NULL) {
            printf("%s: %lu allocations, every %u.%s\n", name, n - 1, stride,
                   all ? ", all from there on" : "");
        }
    }
}

#define ALLOC_CHECK(cond)                                                                     \
    do {                                                                                      \
        if (!(cond)) {                                                                        \
            fflush(stdout);                                                                   \
            fprintf(stderr, "%s:%d: %s (repeat: ALLOC_ONLY=%s)\n", __FILE__, __LINE__, #cond, \
                    getenv("ALLOC_CASE") != NULL ? getenv("ALLOC_CASE") : "none");            \
            exit(1);                                                                          \
        }                                                                                     \
    } while (0)
