/* What a message meets beside the protocol: quotas of the queue, keys of throttles, conditions with
 * functions, log lines and what is kept of them. */
#include "bench/micro.h"
#include "core/check.h"
#include "core/trace.h"
#include "io/shard.h"
#include "smtp/service.h"

#include <stdlib.h>

enum { RUNS = 1000, TRACE_BYTES = 1024 * 1024, EXPRESSIONS = 3 };

/* The condition that one of a list of networks, a block of senders and a pattern make. */
static const struct slice conditions[EXPRESSIONS] = {
    SLICE_LITERAL("is_ip_in_cidr(remote_ip, '192.0.2.0/24') || "
                  "is_ip_in_cidr(remote_ip, '2001:db8::/32')"),
    SLICE_LITERAL("ends_with(to_lowercase(sender), '.remote.example') && "
                  "!contains(sender_domain, 'dynamic')"),
    SLICE_LITERAL("matches('^([a-z0-9.]+)-bounces@lists[.]', sender)"),
};

struct limited {
    struct shard shard;
    struct service service;
    struct image image;
    struct quota_conf quota;
    struct incoming incoming;
    struct rcpt_params params;
    struct envelope_rcpt rcpt;
    struct envelope env;
    struct log log;
    struct trace trace;
    struct expr_program *programs[EXPRESSIONS];
    struct expr_vm *vm;
    uint8_t text[LOG_TEXT_BYTES];
};

static void *make(uint64_t size)
{
    struct limited *s = micro_take(sizeof *s);
    struct expr_problem problem;
    (void)size;
    s->quota = (struct quota_conf){.name = SLICE_LITERAL("of a pair"),
                                   .id = 7,
                                   .parts = LIMIT_SENDER_DOMAIN | LIMIT_RCPT,
                                   .messages_max = 1000000};
    s->image.traffic = (struct limits_conf){.quotas = &s->quota, .quota_count = 1};
    s->shard.service = &s->service;
    s->service.shard = &s->shard;
    s->service.image = &s->image;
    wheel_init(&s->shard.wheel, MX_NS_PER_S);
    MX_ASSERT(quotas_open(&s->service.quotas, &s->shard) == MX_OK);
    s->rcpt = (struct envelope_rcpt){.address = SLICE_LITERAL("alice@mail01.example.org")};
    s->env = (struct envelope){.sender = SLICE_LITERAL("news-bounces@lists.remote.example"),
                               .rcpts = &s->rcpt,
                               .rcpt_count = 1};
    s->incoming.body_bytes = 4096;
    MX_ASSERT(log_init(&s->log, 0, LOG_INFO) == MX_OK);
    MX_ASSERT(trace_prepare(&s->trace, TRACE_BYTES) == MX_OK);
    s->log.trace = &s->trace;
    s->log.wall_ms = INT64_C(1764115200000);
    for (unsigned i = 0; i < EXPRESSIONS; i++) {
        struct expr_source source = {.otherwise = conditions[i]};
        MX_ASSERT(expr_compile(&s->programs[i], &source, EXPR_MAIL, &problem) == MX_OK);
    }
    s->vm = micro_take(sizeof *s->vm);
    return s;
}

static void end(void *state)
{
    struct limited *s = state;
    for (unsigned i = 0; i < EXPRESSIONS; i++) {
        expr_free(s->programs[i]);
    }
    free(s->vm);
    quotas_close(&s->service.quotas);
    trace_fini(&s->trace);
    log_fini(&s->log);
    free(s);
}

/* --- quotas and throttles ----------------------------------------------------------------------
 */

static void run_quota(void *state)
{
    struct limited *s = state;
    struct routing_context ctx = {.image = &s->image};
    for (unsigned i = 0; i < RUNS; i++) {
        struct slice name = SLICE_EMPTY;
        MX_ASSERT(quotas_ask(&s->service.quotas, &s->incoming, &ctx, &s->env, &name) ==
                  QUOTA_GRANTED);
        MX_ASSERT(s->incoming.hold != NULL && s->incoming.hold->count == 1);
        quotas_release(&s->service.quotas, s->incoming.hold);
        s->incoming.hold = NULL;
    }
    MX_ASSERT(s->service.quotas.key_count == 0);
}

static void run_key(void *state)
{
    struct limited *s = state;
    struct netaddr remote = {.family = 4, .bytes = {192, 0, 2, 1}};
    struct limit_facts facts = {
        .sender = s->env.sender, .rcpt = s->rcpt.address, .remote = &remote};
    uint64_t sum = 0;
    for (unsigned i = 0; i < RUNS; i++) {
        sum |= limit_key(i, LIMIT_SENDER_DOMAIN | LIMIT_RCPT_DOMAIN | LIMIT_REMOTE_IP, &facts);
    }
    MX_ASSERT(sum != 0);
}

/* --- conditions --------------------------------------------------------------------------------
 */

static void variable(void *arg, uint16_t index, struct expr_value *out)
{
    const struct limited *s = arg;
    struct slice text = index == EXPR_VAR_SENDER      ? s->env.sender
                        : index == EXPR_VAR_REMOTE_IP ? SLICE_LITERAL("198.51.100.7")
                                                      : SLICE_LITERAL("lists.remote.example");
    *out = (struct expr_value){.type = EXPR_STRING, .string = text};
}

static void evaluate(struct limited *s, unsigned which, bool wanted)
{
    struct expr_host host = {.arg = s, .variable = variable};
    for (unsigned i = 0; i < RUNS; i++) {
        struct expr_value value;
        MX_ASSERT(expr_run(s->vm, s->programs[which], &host, NULL, &value) == EXPR_DONE);
        MX_ASSERT(expr_truthy(&value) == wanted);
    }
}

static void run_networks(void *state)
{
    evaluate(state, 0, false);
}

static void run_texts(void *state)
{
    evaluate(state, 1, true);
}

static void run_pattern(void *state)
{
    evaluate(state, 2, true);
}

/* --- log lines ---------------------------------------------------------------------------------
 */

/* As smtp/srv_conn says that a command was refused. */
static void fill(struct log *log, struct log_line *line)
{
    struct netaddr client = {.family = 4, .bytes = {192, 0, 2, 1}};
    log_session(line, 4711);
    log_client(line, &client);
    log_text(line, "command", "RCPT");
    log_slice(line, "address", SLICE_LITERAL("nobody@mail01.example.org"));
    log_u64(line, "code", 550);
    log_text(line, "reason", "NO_SUCH_USER");
    log_end(log, line);
}

static void run_trace(void *state)
{
    struct limited *s = state;
    uint64_t before = s->trace.sessions.next;
    for (unsigned i = 0; i < RUNS; i++) {
        fill(&s->log, log_begin_trace(&s->log, "command-refused"));
    }
    MX_ASSERT(s->trace.sessions.next == before + RUNS);
}

static void run_line(void *state)
{
    struct limited *s = state;
    for (unsigned i = 0; i < RUNS; i++) {
        struct writer w = writer_init(s->text, sizeof s->text);
        fill(&s->log, log_begin(&s->log, LOG_INFO, "command-refused"));
        MX_ASSERT(log_take(&s->log, &w) && w.len > 0);
    }
}

#define ITEM(name, what, run)                            \
    {                                                    \
        name, what, RUNS, 0, false, make, NULL, run, end \
    }
static const struct micro items[] = {
    ITEM("quota", "a message counted under a key and given back", run_quota),
    ITEM("limit-key", "the key of a throttle: two domains and an address", run_key),
    ITEM("expr-networks", "condition: an address in one of two networks", run_networks),
    ITEM("expr-texts", "condition: the end of a sender, lowered, a part of a name", run_texts),
    ITEM("expr-pattern", "condition: a regular expression", run_pattern),
    ITEM("trace-record", "a refused command, for the trace alone", run_trace),
    ITEM("log-line", "the same as a line, kept for the trace, and rendered", run_line),
};
const struct micro_group micro_limits = {items, mx_countof(items)};
