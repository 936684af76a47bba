#include "admin/json_memory.h"

#include <jansson.h>
#include <malloc.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

/* jansson's hooks carry no context, so this cannot hang off anything. */
static _Thread_local uint64_t failures;

/* Jansson's parser goes on when the text of a string could not grow, and looks for a closing quote
 * that may be the byte that was lost: a name of 14 letters is enough. It finds one behind the end
 * of every block; what it makes of it is thrown away, as the failure is counted. */
static void *counted_malloc(size_t bytes)
{
    char *memory = malloc(bytes + 1);
    if (memory) {
        memory[bytes] = '"';
    } else {
        failures++;
    }
    return memory;
}

/* Any value may be a password on its way to its hash, or a piece of the text that it came in. */
static void wiping_free(void *memory)
{
    if (memory) {
        explicit_bzero(memory, malloc_usable_size(memory));
        free(memory);
    }
}

static void install(void)
{
    json_set_alloc_funcs(counted_malloc, wiping_free);
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
