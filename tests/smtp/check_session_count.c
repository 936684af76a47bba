/* Clients counted by several threads at once: none goes far over the limit, and nothing stays. */
#include "tests/check.h"

#include "smtp/session_count.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

enum { THREADS = 4, CLIENTS = 3, LIMIT = 5, ROUNDS = 100000, HELD = 4 };

static struct session_count *count;
static _Atomic unsigned held[CLIENTS];
static _Atomic unsigned refusals;
static pthread_barrier_t together;

static struct netaddr client(unsigned number)
{
    return (struct netaddr){.family = 4, .bytes = {192, 0, 2, (uint8_t)number}};
}

/* Takes up to HELD places of a client, then gives them back. */
static void *work(void *arg)
{
    (void)arg;
    (void)pthread_barrier_wait(&together);
    for (unsigned round = 0; round < ROUNDS; round++) {
        unsigned number = round % CLIENTS;
        struct netaddr addr = client(number);
        uint32_t places[HELD];
        unsigned got = 0;
        for (unsigned i = 0; i < HELD; i++) {
            if (session_count_enter(count, &addr, LIMIT, &places[got])) {
                CHECK(places[got] != SESSION_COUNT_NOT);
                CHECK(atomic_fetch_add(&held[number], 1) < LIMIT + THREADS - 1);
                got++;
            } else {
                atomic_fetch_add(&refusals, 1);
            }
        }
        while (got > 0) {
            atomic_fetch_sub(&held[number], 1);
            session_count_leave(count, places[--got]);
        }
    }
    return NULL;
}

int main(void)
{
    pthread_t threads[THREADS];
    CHECK(session_count_new(&count, THREADS, 1, 3) == MX_OK);
    CHECK(pthread_barrier_init(&together, NULL, THREADS) == 0);
    for (unsigned i = 0; i < THREADS; i++) {
        CHECK(pthread_create(&threads[i], NULL, work, NULL) == 0);
    }
    for (unsigned i = 0; i < THREADS; i++) {
        CHECK(pthread_join(threads[i], NULL) == 0);
    }
    printf("%u refusals\n", atomic_load(&refusals));
    for (unsigned number = 0; number < CLIENTS; number++) {
        struct netaddr addr = client(number);
        uint32_t place;
        for (unsigned i = 0; i < LIMIT; i++) {
            CHECK(session_count_enter(count, &addr, LIMIT, &place));
        }
        CHECK(!session_count_enter(count, &addr, LIMIT, &place));
    }
    CHECK(pthread_barrier_destroy(&together) == 0);
    session_count_free(count);
    return 0;
}
