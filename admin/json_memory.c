#include "admin/json_memory.h"

#include <jansson.h>
#include <pthread.h>
#include <stdlib.h>

/* jansson's hooks carry no context, so this cannot hang off anything. */
static _Thread_local uint64_t failures;

static void *counted_malloc(size_t bytes)
{
    void *memory = malloc(bytes);
    if (!memory) {
        failures++;
    }
    return memory;
}

static void install(void)
{
    json_set_alloc_funcs(counted_malloc, free);
}

void json_memory_install(void)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    (void)pthread_once(&once, install);
}

void json_memory_failed(void)
{
    failures++;
}

uint64_t json_memory_failures(void)
{
    return failures;
}
