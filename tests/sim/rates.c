#include "tests/sim/rates.h"

#include "core/check.h"
#include "tests/sim/life.h"
#include "tests/sim/sim.h"

#include <string.h>

enum {
    SESSIONS_COUNT = 4,
    DOMAINS_COUNT = 6,
    KEYS_MAX = 64,
    KEY_BYTES = 64,
    ERROR_DELAY_MS = 3000
};

/* A long one, so that little comes back while clients are there and the bound is a narrow one; but
 * clients that find no session try until they have one. */
#define DOMAINS_MS (UINT64_C(30) * 86400 * 1000)
#define SESSIONS_MS UINT64_C(20000)

static struct {
    bool some;
    uint64_t began_ns, lives, sessions;
    struct {
        char name[KEY_BYTES];
        uint64_t accepted;
    } domains[KEYS_MAX];
    unsigned domain_count;
} rates;

unsigned long long rates_refused, rates_errors;

static struct inbound_throttle throttles[] = {
    {.id = 1, .stage = INBOUND_CONNECT, .count = SESSIONS_COUNT, .period_ms = SESSIONS_MS},
    {.id = 2,
     .parts = INBOUND_RCPT_DOMAIN,
     .stage = INBOUND_RCPT,
     .count = DOMAINS_COUNT,
     .period_ms = DOMAINS_MS},
};

void rates_reset(bool some)
{
    memset(&rates, 0, sizeof rates);
    rates.some = some;
    rates.began_ns = sim.now_ns;
    throttles[0].name = SLICE_LITERAL("sessions");
    throttles[1].name = SLICE_LITERAL("domains");
    for (unsigned i = 0; i < mx_countof(throttles); i++) {
        throttles[i].rate = rate_of(throttles[i].count, throttles[i].period_ms);
    }
}

void rates_image(struct image *image)
{
    if (rates.some) {
        image->throttles =
            (struct inbound_throttles){.items = throttles,
                                       .count = mx_countof(throttles),
                                       .stages = 1U << INBOUND_CONNECT | 1U << INBOUND_RCPT};
        image->limits.error_delay_ms = ERROR_DELAY_MS;
    }
}

void rates_life(void)
{
    rates.lives++;
}

static void check(const char *what, uint64_t accepted, const struct inbound_throttle *throttle)
{
    uint64_t back = (sim.now_ns - rates.began_ns) / throttle->rate.each_ns;
    uint64_t most = rates.lives * throttle->count + back;
    if (accepted > most) {
        sim_fail("%s: %llu in %llu lives, where %llu are the most", what,
                 (unsigned long long)accepted, (unsigned long long)rates.lives,
                 (unsigned long long)most);
    }
}

void rates_session(void)
{
    if (rates.some) {
        check("sessions", ++rates.sessions, &throttles[0]);
    }
}

void rates_domain(const char *name)
{
    unsigned i = 0;
    if (!rates.some) {
        return;
    }
    while (i < rates.domain_count && strcmp(rates.domains[i].name, name) != 0) {
        i++;
    }
    if (i == rates.domain_count) {
        MX_ASSERT(i < KEYS_MAX && strlen(name) < KEY_BYTES);
        memcpy(rates.domains[i].name, name, strlen(name) + 1);
        rates.domain_count++;
    }
    check(name, ++rates.domains[i].accepted, &throttles[1]);
}

void rates_over(void)
{
    rates_refused += rates.some;
}

void rates_error(uint64_t took_ns)
{
    rates_errors += rates.some;
    bool excused = sim.ending || sim.memory_errors > 0 || life_parks_were_short();
    if (rates.some && !excused && took_ns < ERROR_DELAY_MS * MX_NS_PER_MS) {
        sim_fail("a command was refused after %.3f s, where such replies wait %d ms",
                 (double)took_ns / 1e9, ERROR_DELAY_MS);
    }
}
