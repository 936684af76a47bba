/* Questions to a next hop about recipients, with connections that are in here. */
#include "tests/check.h"

#include "smtp/hop.h"
#include "smtp/hop_lookup.h"
#include "smtp/strategy.h"
#include "smtp/verify.h"

#include <stdio.h>
#include <string.h>

/* What connections are made with: those of even recipients and those of odd ones. */
static const struct tls_strategy tls[2] = {{.effect = 1}, {.effect = 2}};
static const struct connection_strategy connection = {.effect = 3};
static unsigned conns_made[2];

static enum expr_status fake_strategy(struct strategy_pick *out, struct slice rcpt)
{
    *out = (struct strategy_pick){.tls = &tls[rcpt.ptr[0] % 2], .connection = &connection};
    return EXPR_DONE;
}

static bool fake_open(struct verify_question *q)
{
    conns_made[q->address[0] % 2]++;
    q->hop->verify.connections++;
    q->hop->verify.connecting++;
    return true;
}

static unsigned fake_coming(const struct strategy_pick *pick)
{
    return conns_made[pick->tls - tls];
}

#define strategy_of_question(out, hop, rcpt, asker, host) \
    ((void)(asker), (void)(host), fake_strategy(out, rcpt))
#define strategy_is_fixed(hop) ((void)(hop), false)
#define hop_addresses_known(hop) ((void)(hop), true)
#define verify_conn_open(hop, address, q) ((void)(hop), (void)(address), fake_open(q))
#define verify_conns_coming(hop, pick) ((void)(hop), fake_coming(pick))
#define verify_conns_use_idle(hop) ((void)(hop))
#define verify_conns_make_room(hop) ((void)(hop))
#define verify_conns_stop(hop) ((void)(hop))
#include "smtp/verify.c"

enum { QUESTIONS = 3 * VERIFY_LOOK_MAX };

static struct shard shard;
static struct deliver deliver;
static struct hop hop;
static struct hop *hops[1] = {&hop};
static struct verify_waiter waiters[QUESTIONS];
static unsigned told, unknown;

static void on_told(struct verify_waiter *waiter)
{
    told++;
    unknown += waiter->answer == VERIFY_UNKNOWN;
}

static void setup(void)
{
    memset(&shard, 0, sizeof shard);
    shard.now_ns = 5 * MX_NS_PER_S;
    wheel_init(&shard.wheel, shard.now_ns);
    CHECK(log_init(&shard.log, -1, LOG_ERROR) == MX_OK);
    deliver = (struct deliver){.shard = &shard,
                               .route = hops,
                               .performance = {.verify_cache = 64,
                                               .verify_questions = 2 * QUESTIONS,
                                               .verify_connections = 4,
                                               .verify_timeout_ms = 10000}};
    CHECK(verify_open(&deliver.verify, &deliver) == MX_OK);
    hop = (struct hop){.deliver = &deliver};
    verify_hop_init(&hop.verify);
    memset(waiters, 0, sizeof waiters);
    memset(conns_made, 0, sizeof conns_made);
    told = unknown = 0;
}

static void teardown(void)
{
    CHECK(deliver.verify.questions.used == 0 && hop.verify.waiting_count == 0);
    hop.verify.connections = hop.verify.connecting = 0;
    verify_close(&deliver.verify);
    log_fini(&shard.log);
}

/* Somebody asks about the n-th recipient of a kind. */
static void ask(unsigned n, char kind)
{
    char address[32];
    int len = snprintf(address, sizeof address, "%c%u@example.org", kind, n);
    const struct verify_key key = {.domain_id = 1,
                                   .address = slice_of((const uint8_t *)address, (size_t)len)};
    waiters[n].done = on_told;
    CHECK(verify_ask(&deliver.verify, &key, &waiters[n]) == VERIFY_LATER);
}

/* Of the questions behind a connection that could not be used, the first 32 got their answer, and
 * the others kept their sessions waiting until their time was over. */
static void all_questions_of_a_resting_strategy_are_answered(void)
{
    const struct strategy_kept kept = {.tls_effect = tls['b' % 2].effect,
                                       .connection_effect = connection.effect};
    for (unsigned n = 0; n < QUESTIONS; n++) {
        ask(n, 'b');
    }
    CHECK(conns_made['b' % 2] > 0 && hop.verify.waiting_count == QUESTIONS);
    hop.verify.connections = hop.verify.connecting = conns_made['b' % 2] = 0;
    verify_pause(&hop, &kept, SLICE_LITERAL("refused"));
    verify_hop_run(&hop);
    verify_turn(&deliver.verify);
    CHECK(told == QUESTIONS && unknown == QUESTIONS);
    CHECK(hop.verify.waiting_count == 0 && conns_made[0] == 0 && conns_made[1] == 0);
}

/* Those of another strategy behind them get their connection at once. */
static void question_behind_a_resting_strategy_is_asked(void)
{
    const struct strategy_kept kept = {.tls_effect = tls['b' % 2].effect,
                                       .connection_effect = connection.effect};
    for (unsigned n = 0; n + 1 < QUESTIONS; n++) {
        ask(n, 'b');
    }
    ask(QUESTIONS - 1, 'c');
    hop.verify.connections = hop.verify.connecting = conns_made['b' % 2] = 0;
    verify_pause(&hop, &kept, SLICE_LITERAL("refused"));
    verify_hop_run(&hop);
    verify_turn(&deliver.verify);
    CHECK(told == QUESTIONS - 1 && hop.verify.waiting_count == 1);
    CHECK(conns_made['b' % 2] == 0 && conns_made['c' % 2] == 1);
    finish_all(&hop.verify.waiting, false);
    verify_turn(&deliver.verify);
    CHECK(told == QUESTIONS);
}

int main(void)
{
    static void (*const tests[])(void) = {
        all_questions_of_a_resting_strategy_are_answered,
        question_behind_a_resting_strategy_is_asked,
    };
    for (size_t i = 0; i < mx_countof(tests); i++) {
        setup();
        tests[i]();
        teardown();
    }
    return 0;
}
