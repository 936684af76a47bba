/* Counters that several threads take from at once: what is taken is what the rate allows, and one
 * more for each time that two threads made a counter at the same instant. */
#include "core/rate_table.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

#define CHECK(condition)                                                    \
    do {                                                                    \
        if (!(condition)) {                                                 \
            fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #condition); \
            exit(1);                                                        \
        }                                                                   \
    } while (0)

enum { THREADS = 4, KEYS = 8, COUNT = 1000, ROUNDS = 40, CROWD = 40 };

static struct rate_table *table;
static _Atomic unsigned taken[KEYS];
static pthread_barrier_t together;

static uint64_t key_of(uint64_t number)
{
    return rate_table_key(table, slice_of(&number, sizeof number));
}

/* All want twice of what there is, of a clock that stands still; some of it is given back. Then the
 * same keys once more, after everything is full again, among a crowd that takes places over. */
static void *work(void *arg)
{
    unsigned thread = *(const unsigned *)arg;
    struct rate rate = rate_of(COUNT, 1000);
    bool forgotten;
    for (unsigned round = 0; round < ROUNDS; round++) {
        uint64_t now_ns = (1 + (uint64_t)round) * 3 * MX_NS_PER_S;
        (void)pthread_barrier_wait(&together);
        for (unsigned i = 0; i < 4 * COUNT; i++) {
            unsigned number = i % KEYS;
            if (rate_table_take(table, key_of(number), &rate, now_ns, &forgotten) == 0) {
                atomic_fetch_add(&taken[number], 1);
                if (i % 16 == 0) {
                    atomic_fetch_sub(&taken[number], 1);
                    rate_table_give(table, key_of(number), &rate);
                }
            }
            if (i % 4 == 0) {
                uint64_t other = KEYS + thread * CROWD + i % CROWD;
                (void)!rate_table_take(table, key_of(other), &rate, now_ns - MX_NS_PER_S,
                                       &forgotten);
            }
        }
        (void)pthread_barrier_wait(&together);
    }
    return NULL;
}

int main(void)
{
    pthread_t threads[THREADS];
    unsigned numbers[THREADS];
    CHECK(rate_table_new(&table, 16, 3) == MX_OK);
    CHECK(pthread_barrier_init(&together, NULL, THREADS) == 0);
    for (unsigned i = 0; i < THREADS; i++) {
        numbers[i] = i;
        CHECK(pthread_create(&threads[i], NULL, work, &numbers[i]) == 0);
    }
    for (unsigned i = 0; i < THREADS; i++) {
        CHECK(pthread_join(threads[i], NULL) == 0);
    }
    for (unsigned number = 0; number < KEYS; number++) {
        unsigned all = atomic_load(&taken[number]);
        printf("key %u: %u of %u\n", number, all, ROUNDS * COUNT);
        CHECK(number == 0 || all >= ROUNDS * COUNT); /* of the first, some is given back late */
        CHECK(all <= ROUNDS * (COUNT + THREADS - 1));
    }
    CHECK(pthread_barrier_destroy(&together) == 0);
    rate_table_free(table);
    return 0;
}
