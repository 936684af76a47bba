#include "tests/sim/schedules.h"

#include "core/check.h"
#include "tests/sim/sim.h"

#include <string.h>

enum { KINDS = 4, USUAL = 3 };

static const struct schedule fast[KINDS] = {
    {.name = SLICE_LITERAL("source"),
     .retry_ms = {2000, 5000, 10000},
     .retry_count = 3,
     .notify_ms = {15000},
     .notify_count = 1,
     .expire_ms = 60000},
    {.name = SLICE_LITERAL("lmtp"),
     .retry_ms = {1000, 4000},
     .retry_count = 2,
     .notify_ms = {2000, 8000},
     .notify_count = 2,
     .attempts_max = 5},
    {.name = SLICE_LITERAL("back"),
     .retry_ms = {1000, 2000, 5000},
     .retry_count = 3,
     .expire_ms = 3000000},
    {.name = SLICE_LITERAL("usual"),
     .retry_ms = {1000, 3000},
     .retry_count = 2,
     .notify_ms = {30000},
     .notify_count = 1,
     .expire_ms = 400000},
};
static const char *const domains[USUAL] = {"@source.example", "@lmtp.example", "@back.example"};

static struct schedule slow[KINDS];
static bool some, asks, were_slow;

void schedules_reset(bool on, bool on_asks)
{
    some = on;
    asks = on_asks;
    were_slow = false;
    for (unsigned i = 0; i < KINDS; i++) {
        slow[i] = fast[i];
        for (unsigned k = 0; k < SCHEDULE_STEPS_MAX; k++) {
            slow[i].retry_ms[k] *= 2;
            slow[i].notify_ms[k] *= 2;
        }
        slow[i].expire_ms *= 2;
    }
}

bool schedules_set(void)
{
    return some;
}

bool schedules_ask(void)
{
    return asks;
}

mx_err schedules_image(struct image *image, bool is_slow)
{
    static const struct expr_branch branches[] = {
        {SLICE_LITERAL("rcpt_domain == 'source.example'"), SLICE_LITERAL("'source'")},
        {SLICE_LITERAL("rcpt_domain == 'lmtp.example'"), SLICE_LITERAL("'lmtp'")},
        {SLICE_LITERAL("rcpt_domain == 'back.example'"), SLICE_LITERAL("'back'")},
    };
    static const struct expr_branch asking[] = {
        {SLICE_LITERAL("rcpt_domain == 'source.example' && "
                       "count(dns_query('source.sim', 'ipv4')) >= 0"),
         SLICE_LITERAL("'source'")},
        {SLICE_LITERAL("rcpt_domain == 'lmtp.example' && !is_empty(dns_query('source.sim', "
                       "'ipv4'))"),
         SLICE_LITERAL("'lmtp'")},
        {SLICE_LITERAL("rcpt_domain == 'back.example'"), SLICE_LITERAL("'back'")},
    };
    struct expr_source source = {.branches = asks ? asking : branches,
                                 .branch_count = mx_countof(branches),
                                 .otherwise = SLICE_LITERAL("'usual'")};
    struct expr_problem problem;
    struct expr_program *program = NULL;
    if (!some) {
        return MX_OK;
    }
    mx_err err = expr_compile(&program, &source, EXPR_QRCPT, &problem);
    if (err && err != MX_ERR_NOMEM) {
        sim_fail("schedule program: %s", problem.message);
    }
    were_slow = were_slow || is_slow;
    if (!err) {
        image->schedules = is_slow ? slow : fast;
        image->schedule_count = KINDS;
        image->schedule_program = program;
        image->routing_asks = asks;
    }
    return err;
}

/* --- what the oracle asks ----------------------------------------------------------------------
 */

static unsigned kind_of(const char *address)
{
    const char *domain = strchr(address, '@');
    unsigned i = 0;
    while (i < USUAL && (domain == NULL || strcmp(domain, domains[i]) != 0)) {
        i++;
    }
    return i;
}

/* With the 10 % of chance. */
uint64_t schedules_wait_ns(const char *address, unsigned n, bool least)
{
    const struct schedule *s = &(least ? fast : slow)[kind_of(address)];
    uint64_t ms = s->retry_ms[n < s->retry_count ? n : s->retry_count - 1];
    return (least ? ms - ms / 10 : ms + ms / 10) * MX_NS_PER_MS;
}

uint64_t schedules_end_ns(const char *address)
{
    const struct schedule *s = &fast[kind_of(address)];
    uint64_t age_ns = s->expire_ms * MX_NS_PER_MS;
    for (unsigned n = 0; n + 1 < s->attempts_max; n++) {
        age_ns += schedules_wait_ns(address, n, true);
    }
    return age_ns;
}

uint64_t schedules_notify_ns(const char *address, unsigned n)
{
    const struct schedule *s = &fast[kind_of(address)];
    return n < s->notify_count ? s->notify_ms[n] * MX_NS_PER_MS : 0;
}

uint64_t schedules_notify_last_ns(const char *address, unsigned n)
{
    const struct schedule *s = &(were_slow ? slow : fast)[kind_of(address)];
    return n < s->notify_count ? s->notify_ms[n] * MX_NS_PER_MS : 0;
}

uint64_t schedules_last_ns(const char *address)
{
    const struct schedule *s = &slow[kind_of(address)];
    return s->attempts_max > 0 ? 0 : s->expire_ms * MX_NS_PER_MS;
}
