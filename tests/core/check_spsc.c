/* Two threads through one ring: everything arrives, once, in order. Plain, to run under the thread
 * sanitizer. */
#include "core/spsc.h"

#include <pthread.h>
#include <sched.h>
#include <stdio.h>

enum { ITEMS = 300000, CELLS = 64 };

static uint32_t values[ITEMS];

static void *produce(void *arg)
{
    struct spsc *ring = arg;
    for (uint32_t i = 0; i < ITEMS; i++) {
        values[i] = i * 7 + 1; /* must be visible to the consumer */
        while (!spsc_push(ring, &values[i])) {
            sched_yield();
        }
    }
    return NULL;
}

int main(void)
{
    static struct spsc ring;
    pthread_t thread;
    if (spsc_init(&ring, CELLS) != MX_OK || pthread_create(&thread, NULL, produce, &ring) != 0) {
        printf("cannot start\n");
        return 1;
    }
    for (uint32_t i = 0; i < ITEMS;) {
        uint32_t *item = spsc_pop(&ring);
        if (item == NULL) {
            sched_yield();
            continue;
        }
        if (item != &values[i] || *item != i * 7 + 1) {
            printf("item %u is wrong\n", i);
            return 1;
        }
        i++;
    }
    pthread_join(thread, NULL);
    if (!spsc_empty(&ring) || spsc_pop(&ring) != NULL) {
        printf("something is left\n");
        return 1;
    }
    for (unsigned i = 0; i < CELLS; i++) {
        if (!spsc_push(&ring, values)) {
            printf("full too early\n");
            return 1;
        }
    }
    if (spsc_push(&ring, values)) {
        printf("more than its cells\n");
        return 1;
    }
    spsc_fini(&ring);
    return 0;
}
