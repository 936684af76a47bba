#include "smtp/lending.h"

#include "core/check.h"

static unsigned least(unsigned a, unsigned b)
{
    return a < b ? a : b;
}

void lending_init(struct lending *lending, struct lending_core *cores, unsigned count,
                  unsigned limit)
{
    *lending = (struct lending){
        .limit = limit, .window = least(limit, LENDING_FIRST), .count = count, .cores = cores};
}

void lending_limit(struct lending *lending, unsigned limit)
{
    bool at_limit = lending->window == lending->limit;
    lending->limit = limit;
    lending->window = at_limit ? limit : least(lending->window, limit);
}

static void shrink(struct lending *lending, uint64_t now_ns)
{
    bool recent =
        lending->shrunk_ns != 0 && now_ns < lending->shrunk_ns + LENDING_SHRINK_MS * MX_NS_PER_MS;
    if (recent) {
        return;
    }
    unsigned busy = least(lending->window, lending->lent);
    lending->window = busy > 2 ? busy / 2 : 1;
    lending->successes = 0;
    lending->shrunk_ns = now_ns;
}

static void grow(struct lending *lending, uint64_t now_ns)
{
    bool calm =
        lending->shrunk_ns == 0 || now_ns >= lending->shrunk_ns + LENDING_CALM_MS * MX_NS_PER_MS;
    while (calm && lending->successes >= lending->window && lending->window < lending->limit) {
        lending->successes -= lending->window++;
    }
    if (!calm || lending->window == lending->limit) {
        lending->successes = 0;
    }
}

void lending_report(struct lending *lending, unsigned core, const struct lending_report *report,
                    uint64_t now_ns)
{
    struct lending_core *at = &lending->cores[core];
    MX_ASSERT(core < lending->count && report->returned <= at->lent);
    at->lent -= report->returned;
    lending->lent -= report->returned;
    at->recalled -= (uint16_t)least(at->recalled, report->returned);
    if (report->asks) {
        at->wants = (uint16_t)least(report->wants, LENDING_WANTS_MAX);
    }
    lending->successes += report->successes;
    if (report->failures > 0) {
        shrink(lending, now_ns);
    } else {
        grow(lending, now_ns);
    }
}

/* --- division ----------------------------------------------------------------------------------
 */

struct division {
    unsigned takers, part; /* cores that have or want, and what each may have while others want */
    unsigned missing;      /* to those with less than their part */
    unsigned recalled;
};

static struct division divide(const struct lending *lending)
{
    struct division d = {0};
    for (unsigned i = 0; i < lending->count; i++) {
        const struct lending_core *core = &lending->cores[i];
        d.takers += core->lent > 0 || core->wants > 0;
        d.recalled += core->recalled;
    }
    d.part = d.takers == 0 || lending->window < d.takers ? 1 : lending->window / d.takers;
    for (unsigned i = 0; i < lending->count; i++) {
        const struct lending_core *core = &lending->cores[i];
        if (core->lent < d.part) {
            d.missing += least(core->wants, d.part - core->lent);
        }
    }
    return d;
}

/* Of those that want, who has least; false: nobody wants. */
static bool poorest(const struct lending *lending, unsigned *out_core)
{
    bool found = false;
    for (unsigned k = 0; k < lending->count; k++) {
        unsigned i = (lending->turn + k) % lending->count;
        const struct lending_core *core = &lending->cores[i];
        if (core->wants > 0 && (!found || core->lent < lending->cores[*out_core].lent)) {
            *out_core = i;
            found = true;
        }
    }
    return found;
}

/* Who keeps most, after what was asked back already. */
static unsigned richest(const struct lending *lending, unsigned *out_keeps)
{
    unsigned best = lending->other_turn % lending->count;
    *out_keeps = 0;
    for (unsigned k = 0; k < lending->count; k++) {
        unsigned i = (lending->other_turn + k) % lending->count;
        const struct lending_core *core = &lending->cores[i];
        unsigned keeps = core->lent - core->recalled;
        if (keeps > *out_keeps) {
            best = i;
            *out_keeps = keeps;
        }
    }
    return best;
}

enum lending_act lending_next(struct lending *lending, unsigned *out_core)
{
    if (lending->lent < lending->window) {
        if (!poorest(lending, out_core)) {
            return LENDING_NOTHING;
        }
        lending->cores[*out_core].lent++;
        lending->cores[*out_core].wants--;
        lending->lent++;
        lending->turn = *out_core + 1;
        return LENDING_GRANT;
    }
    struct division d = divide(lending);
    unsigned over = lending->lent - lending->window, keeps;
    *out_core = richest(lending, &keeps);
    bool too_many = d.recalled < over && keeps > 0;
    bool unfair = d.recalled < over + d.missing &&
                  (keeps > d.part || (keeps == 1 && lending->window < d.takers));
    if (!too_many && !unfair) {
        return LENDING_NOTHING;
    }
    lending->cores[*out_core].recalled++;
    lending->other_turn = *out_core + 1;
    return LENDING_RECALL;
}

bool lending_is_idle(const struct lending *lending)
{
    for (unsigned i = 0; i < lending->count; i++) {
        if (lending->cores[i].lent > 0 || lending->cores[i].wants > 0) {
            return false;
        }
    }
    return true;
}
