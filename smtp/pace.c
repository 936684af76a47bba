#include "smtp/pace.h"

#include "core/check.h"
#include "core/rate_table.h"
#include "smtp/deliver_private.h"

#define LINE_KEY UINT64_C(0x9e3779b97f4a7c15) /* makes the key of a line of that of its counter */

enum { KEYS_MAX = DELIVER_RCPTS_MAX * LIMITS_THROTTLES_MAX, NO_KEY = KEYS_MAX };

/* A counter that has been asked. */
struct asked {
    uint64_t key;
    const struct throttle_conf *throttle;
    uint64_t wait_ns; /* 0: one was taken */
    uint32_t users;   /* recipients that may be tried because of it */
};

struct pacing {
    struct delivery *delivery;
    const struct routing_host *host;
    struct deliver *d;
    uint32_t count;
    struct asked keys[KEYS_MAX];
    uint16_t of_rcpt[DELIVER_RCPTS_MAX][LIMITS_THROTTLES_MAX]; /* NO_KEY: none */
};

bool pace_is_set(const struct deliver *d)
{
    return d->image->traffic.throttle_count > 0 && d->conf.rates != NULL;
}

static uint64_t key_of(const struct pacing *p, const struct throttle_conf *throttle, uint32_t i)
{
    const struct txn *txn = p->delivery->active->txn;
    struct limit_facts facts = {.sender = txn->env.sender,
                                .rcpt = txn->rcpts[p->delivery->rcpts[i].rcpt].address,
                                .mx = p->host->mx,
                                .remote = p->host->remote,
                                .local = p->host->local};
    uint64_t key = limit_key(throttle->id, throttle->parts, &facts);
    return rate_table_key(p->d->conf.rates, slice_of(&key, sizeof key));
}

/* False: the expression failed. */
static bool holds_for(bool *out_holds, struct pacing *p, const struct throttle_conf *throttle,
                      uint32_t i)
{
    struct active *active = p->delivery->active;
    uint32_t rcpt = p->delivery->rcpts[i].rcpt;
    struct expr_value value;
    *out_holds = true;
    if (throttle->match == NULL) {
        return true;
    }
    struct routing_context ctx = active_routing(active, rcpt);
    bool known = routing_ask(&value, &ctx, throttle->match, p->host,
                             active->txn->rcpts[rcpt].address, &active->txn->env);
    *out_holds = known && expr_truthy(&value);
    return known;
}

/* Behind all that wait; not before from_ns. */
static uint64_t line_up(struct pacing *p, uint64_t key, const struct rate *rate, uint64_t from_ns)
{
    uint64_t now_ns = p->d->shard->now_ns, ahead_max_ns = PACE_AHEAD_MAX_MS * MX_NS_PER_MS;
    if (rate_table_ahead(p->d->conf.rates, key ^ LINE_KEY, now_ns) >= ahead_max_ns) {
        return ahead_max_ns / 2 + deliver_random(p->d) % (ahead_max_ns / 2);
    }
    uint64_t at_ns = rate_table_line(p->d->conf.rates, key ^ LINE_KEY, rate, from_ns);
    uint64_t wait_ns = at_ns - now_ns;
    return wait_ns < ahead_max_ns ? wait_ns : ahead_max_ns;
}

/* Nanoseconds until the turn of who has this key; 0: now, and one was taken. waited: he has been in
 * the line, and this is his time, or almost. */
static uint64_t take(struct pacing *p, const struct throttle_conf *throttle, uint64_t key,
                     bool waited)
{
    struct rate_table *rates = p->d->conf.rates;
    uint64_t now_ns = p->d->shard->now_ns;
    bool forgotten;
    if (!waited && rate_table_ahead(rates, key ^ LINE_KEY, now_ns) > 0) {
        return line_up(p, key, &throttle->rate, now_ns);
    }
    uint64_t wait_ns = rate_table_take(rates, key, &throttle->rate, now_ns, &forgotten);
    if (wait_ns == 0 || (waited && wait_ns <= throttle->rate.each_ns)) {
        return wait_ns;
    }
    return line_up(p, key, &throttle->rate, now_ns + wait_ns);
}

static bool has_waited(const struct pacing *p, uint32_t i)
{
    const struct message *msg = p->delivery->active->msg;
    return msg->rcpts[p->delivery->rcpts[i].rcpt].flags & RCPT_THROTTLED;
}

/* The counter of recipient i, asked once for all of the delivery that share it. */
static uint16_t ask(struct pacing *p, const struct throttle_conf *throttle, uint32_t first,
                    uint32_t i)
{
    uint64_t key = key_of(p, throttle, i);
    uint32_t at = first;
    while (at < p->count && p->keys[at].key != key) {
        at++;
    }
    if (at == p->count) {
        p->keys[p->count++] = (struct asked){
            .key = key, .throttle = throttle, .wait_ns = take(p, throttle, key, has_waited(p, i))};
    }
    return (uint16_t)at;
}

static struct throttle_row *row_of(struct deliver *d, const struct throttle_conf *throttle)
{
    struct throttle_row *rows = d->stats.throttles;
    return &rows[stats_row(rows, sizeof *rows, throttle->name)];
}

/* Its turn comes later: whatever it has taken of others before is not used by it. */
static void put_off(struct pacing *p, uint32_t i, unsigned last, const struct asked *why)
{
    char text[128];
    struct writer w = writer_init(text, sizeof text);
    put_text(&w, "rate limit: ");
    put_slice(&w, slice_first(why->throttle->name, writer_room(&w)));
    struct outcome outcome = deliver_problem(writer_slice(&w), SLICE_LITERAL("throttle"));
    static const uint8_t congested[3] = {4, 4, 5};
    memcpy(outcome.status, congested, sizeof congested);
    outcome.host_fault = false;
    outcome.due_ms = p->d->shard->wall_ms + (int64_t)(why->wait_ns / MX_NS_PER_MS) + 1;
    for (unsigned t = 0; t < last; t++) {
        if (p->of_rcpt[i][t] != NO_KEY) {
            p->keys[p->of_rcpt[i][t]].users--;
        }
    }
    delivery_decide(p->delivery, i, &outcome);
}

static void decide_failed(struct pacing *p, uint32_t i)
{
    struct outcome problem =
        deliver_problem(SLICE_LITERAL("the match expression of a throttle could not be evaluated"),
                        SLICE_LITERAL("throttle"));
    problem.host_fault = false;
    delivery_decide(p->delivery, i, &problem);
}

/* One throttle, for all that the earlier ones have left. */
static void pass(struct pacing *p, unsigned t)
{
    const struct throttle_conf *throttle = &p->d->image->traffic.throttles[t];
    struct delivery *delivery = p->delivery;
    uint32_t first = p->count;
    for (uint32_t i = 0; i < delivery->rcpt_count; i++) {
        bool holds;
        p->of_rcpt[i][t] = NO_KEY;
        if (delivery->rcpts[i].decided) {
            continue;
        }
        if (!holds_for(&holds, p, throttle, i)) {
            decide_failed(p, i);
            continue;
        }
        if (!holds) {
            continue;
        }
        uint16_t at = ask(p, throttle, first, i);
        if (p->keys[at].wait_ns > 0) {
            count_one(&row_of(p->d, throttle)->over);
            put_off(p, i, t, &p->keys[at]);
        } else {
            p->of_rcpt[i][t] = at;
            p->keys[at].users++;
        }
    }
}

bool pace_admit(struct delivery *delivery, const struct routing_host *host)
{
    struct deliver *d = delivery->active->deliver;
    struct pacing p;
    p.delivery = delivery;
    p.host = host;
    p.d = d;
    p.count = 0;
    for (unsigned t = 0; t < d->image->traffic.throttle_count; t++) {
        pass(&p, t);
    }
    for (uint32_t k = 0; k < p.count; k++) {
        const struct asked *asked = &p.keys[k];
        if (asked->wait_ns == 0 && asked->users == 0) {
            rate_table_give(d->conf.rates, asked->key, &asked->throttle->rate);
        } else if (asked->wait_ns == 0) {
            count_one(&row_of(d, asked->throttle)->passed);
        }
    }
    if (delivery->open == 0) {
        delivery_done(delivery);
        return false;
    }
    return true;
}
