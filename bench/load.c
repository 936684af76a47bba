#include "bench/load.h"

#include "bench/mark.h"
#include "core/check.h"
#include "io/clock.h"
#include "io/stream.h"
#include "smtp/cli_engine.h"

#include <stdlib.h>

enum {
    OUT_BYTES = 16 * 1024,
    RETRY_MS = 10,
    WAIT_MS = 2,        /* how exactly a waiting session meets its time */
    IDLE_MS = 200,      /* a turn at most */
    DEADLINES_MS = 500, /* how often deadlines are looked at */
    CATCH_UP_MS = 20,
    STOP_GRACE_S = 10,
};

struct load_session {
    struct stream stream;
    struct load *load;
    struct cli *cli;
    struct cli_conf conf;
    struct list_node wait_node;
    bool connected; /* there is a stream */
    bool up, was_ready;
    bool in_transaction;
    uint64_t number;      /* of the connection */
    uint64_t sent, quota; /* messages on this connection */
    uint64_t began_ns;    /* of the connection, then of the message */
    uint64_t since_us;    /* of the connection */
    uint64_t wake_ns;
    struct envelope env;
    struct cli_message msg;
    struct content content;
    uint8_t id[MARK_ID_MAX];
    size_t id_len;
    uint32_t rcpts[LOAD_RCPTS_MAX];            /* indexes; those of the message are in front */
    uint8_t states[LOAD_RCPTS_MAX];            /* for the engine */
    enum ledger_kind outcomes[LOAD_RCPTS_MAX]; /* by index; LEDGER_KINDS = none yet */
};

static void session_connect(struct load_session *s);

static void wait_until(struct load_session *s, uint64_t wake_ns)
{
    s->wake_ns = wake_ns;
    list_remove(&s->wait_node);
    list_push_back(&s->load->waiting, &s->wait_node);
}

static uint64_t pick(struct load *load, struct load_range range)
{
    return dice_between(&load->dice, range.min, range.max);
}

/* As many from each power of two below the largest. */
static size_t pick_size(struct load *load)
{
    uint64_t min = load->conf.size.min, max = load->conf.size.max;
    unsigned steps = 1;
    while (max >> steps >= min && max >> steps > 0) {
        steps++;
    }
    max >>= dice_below(&load->dice, steps);
    return dice_between(&load->dice, max / 2 >= min ? max / 2 + 1 : min, max);
}

/* --- messages ----------------------------------------------------------------------------------
 */

static void pick_rcpts(struct load_session *s)
{
    struct load *load = s->load;
    uint32_t all = load->conf.rcpt_count;
    struct load_range range = load->conf.rcpts_per_message;
    s->msg.rcpt_count = range.max == 0 ? all : (uint32_t)mx_min_size(pick(load, range), all);
    for (uint32_t i = 0; i < s->msg.rcpt_count && s->msg.rcpt_count < all; i++) {
        uint32_t other = i + (uint32_t)dice_below(&load->dice, all - i);
        uint32_t rcpt = s->rcpts[i];
        s->rcpts[i] = s->rcpts[other];
        s->rcpts[other] = rcpt;
    }
    for (uint32_t i = 0; i < all; i++) {
        s->outcomes[i] = LEDGER_KINDS;
    }
}

static void make_id(struct load_session *s)
{
    struct writer w = writer_init(s->id, sizeof s->id);
    put_slice(&w, s->load->conf.ids);
    put_char(&w, '.');
    put_decimal(&w, s->number);
    put_char(&w, '.');
    put_decimal(&w, s->sent);
    MX_ASSERT(!w.overflow);
    s->id_len = w.len;
}

static void message_begin(struct load_session *s)
{
    struct load *load = s->load;
    load->result.begun++;
    s->sent++;
    make_id(s);
    pick_rcpts(s);
    content_make(&s->content, &load->text, &load->dice, slice_of(s->id, s->id_len), load->conf.from,
                 load->shard.wall_ms, pick_size(load));
    s->in_transaction = true;
    s->env = (struct envelope){
        .sender = load->conf.from, .rcpts = load->conf.rcpts, .rcpt_count = load->conf.rcpt_count};
    s->msg.env = &s->env;
    s->msg.rcpts = s->rcpts;
    s->msg.content_bytes = s->content.total;
    s->msg.ends_in_crlf = true;
    s->began_ns = clock_monotonic_ns();
    cli_begin(s->cli, &s->msg, s->states);
}

static void message_body(struct load_session *s, struct writer *out)
{
    content_advance(&s->content, cli_body(s->cli, content_next(&s->content), out));
}

static void message_outcome(struct load_session *s)
{
    const struct outcome *o = cli_outcome(s->cli);
    struct load_result *result = &s->load->result;
    s->outcomes[o->rcpt] = o->kind == OUTCOME_DELIVERED   ? LEDGER_ACKED
                           : o->kind == OUTCOME_PERMANENT ? LEDGER_REFUSED
                                                          : LEDGER_UNSURE;
    if (o->kind != OUTCOME_DELIVERED && result->refusal_code == 0) {
        result->refusal_code = o->code;
    }
}

/* Recipients without an outcome: the connection was lost. */
static void message_end(struct load_session *s)
{
    struct load *load = s->load;
    uint64_t now_ns = clock_monotonic_ns();
    bool all = true, answered = true;
    s->in_transaction = false;
    for (uint32_t i = 0; i < s->msg.rcpt_count; i++) {
        enum ledger_kind kind = s->outcomes[s->rcpts[i]];
        answered = answered && kind != LEDGER_KINDS;
        all = all && kind == LEDGER_ACKED;
        struct ledger_entry entry = {.kind = kind == LEDGER_KINDS ? LEDGER_UNSURE : kind,
                                     .time_us = now_ns / 1000,
                                     .since_us = s->since_us,
                                     .id = slice_of(s->id, s->id_len),
                                     .rcpt = load->conf.rcpts[s->rcpts[i]].address,
                                     .hash = s->content.hash,
                                     .bytes = s->content.total};
        ledger_add(&load->ledger, &entry);
    }
    load->result.accepted += all;
    load->result.refused += !all && answered;
    load->result.unanswered += !answered;
    if (all) {
        histogram_add(&load->result.latency_ns, now_ns - s->began_ns);
    }
}

/* --- session -----------------------------------------------------------------------------------
 */

static bool all_begun(const struct load *load)
{
    const struct load_conf *conf = &load->conf;
    return load->stopping || (conf->messages > 0 && load->result.begun >= conf->messages);
}

/* One slot of the rate is used. What was missed is caught up by CATCH_UP_MS at most, so that a
 * server that comes back does not meet all of it at once. */
static void use_slot(struct load *load)
{
    uint64_t now_ns = load->shard.now_ns;
    if (load->conf.rate > 0) {
        uint64_t floor_ns = now_ns - mx_min_size(now_ns, CATCH_UP_MS * MX_NS_PER_MS);
        load->next_ns = mx_max_size(load->next_ns, floor_ns) + MX_NS_PER_S / load->conf.rate;
    }
}

/* False: not yet. */
static bool next_message(struct load_session *s)
{
    struct load *load = s->load;
    s->was_ready = true;
    if (all_begun(load) || s->sent >= s->quota) {
        cli_quit(s->cli);
        return true;
    }
    if (load->next_ns > load->shard.now_ns) {
        wait_until(s, load->next_ns);
        return false;
    }
    use_slot(load);
    message_begin(s);
    return true;
}

/* One action of the engine; false: wait, or close. */
static bool step(struct load_session *s, struct slice *in, struct writer *out, bool *out_close)
{
    switch (cli_next(s->cli, in, out)) {
    case CLI_READY:
        return next_message(s);
    case CLI_BODY:
        message_body(s, out);
        return true;
    case CLI_OUTCOME:
        message_outcome(s);
        return true;
    case CLI_DONE:
        message_end(s);
        return true;
    case CLI_FLUSH:
        return true;
    case CLI_CLOSE:
        *out_close = true;
        return false;
    default:
        return false;
    }
}

static void drive(struct load_session *s, struct slice *in)
{
    uint8_t buf[OUT_BYTES];
    struct writer out = writer_init(buf, sizeof buf);
    bool end = false, more = s->up;
    while (more) {
        if (stream_room(&s->stream) < sizeof buf) {
            s->stream.want_drained = true;
            return;
        }
        more = step(s, in, &out, &end);
        bool full = writer_room(&out) < sizeof buf / 2;
        if ((full || !more) && out.len > 0) {
            if (stream_write(&s->stream, writer_slice(&out)) != MX_OK) {
                stream_abort(&s->stream, MX_ERR_IO);
                return;
            }
            out.len = 0;
        }
    }
    if (end) {
        in->len = 0;
        stream_close(&s->stream);
    }
}

static size_t on_input(struct stream *stream, struct slice in)
{
    size_t len = in.len;
    drive(mx_container_of(stream, struct load_session, stream), &in);
    return len - in.len;
}

static void on_event(struct stream *stream)
{
    struct load_session *s = mx_container_of(stream, struct load_session, stream);
    struct slice none = SLICE_EMPTY;
    s->up = true;
    drive(s, &none);
}

static void on_closed(struct stream *stream, mx_err why)
{
    struct load_session *s = mx_container_of(stream, struct load_session, stream);
    struct load *load = s->load;
    (void)why;
    s->connected = false;
    list_remove(&s->wait_node);
    if (s->in_transaction) {
        message_end(s);
    }
    load->result.failed_connections += !s->was_ready;
    if (all_begun(load) || (!s->was_ready && !load->conf.retry)) {
        load->open--;
    } else if (!s->was_ready) {
        wait_until(s, load->shard.now_ns + RETRY_MS * MX_NS_PER_MS);
    } else {
        session_connect(s);
    }
}

static const struct stream_ops callbacks = {
    .input = on_input, .drained = on_event, .ready = on_event, .closed = on_closed};

static void session_connect(struct load_session *s)
{
    struct load *load = s->load;
    struct ring_addr to = ring_addr_of(&load->conf.to);
    s->conf = (struct cli_conf){
        .ehlo_name = SLICE_LITERAL("bench.invalid"),
        .tls = CLI_TLS_NEVER,
        .no_pipelining = load->conf.no_pipelining,
        .no_chunking = dice_below(&load->dice, 100) >= load->conf.bdat_percent,
    };
    cli_init(s->cli, &s->conf);
    s->connected = true;
    s->up = false;
    s->was_ready = false;
    s->sent = 0;
    s->quota = pick(load, load->conf.per_connection);
    s->number = ++load->result.connections;
    s->began_ns = load->shard.now_ns;
    s->since_us = s->began_ns / 1000;
    stream_connect(&s->stream, &load->shard, &callbacks, &to);
}

/* --- the loop ----------------------------------------------------------------------------------
 */

static void wake(struct load_session *s)
{
    struct slice none = SLICE_EMPTY;
    if (s->connected) {
        drive(s, &none);
    } else if (all_begun(s->load)) {
        s->load->open--;
    } else {
        session_connect(s);
    }
}

/* In order of their times as far as that matters: all of one kind wait equally long. */
static void wake_due(struct load *load)
{
    for (unsigned i = 0; i < load->conf.sessions; i++) {
        struct load_session *s = &load->sessions[i];
        if (list_linked(&s->wait_node) && (load->stopping || s->wake_ns <= load->shard.now_ns)) {
            list_remove(&s->wait_node);
            wake(s);
        }
    }
}

static void abort_late(struct load *load, uint64_t limit_ns)
{
    for (unsigned i = 0; i < load->conf.sessions; i++) {
        struct load_session *s = &load->sessions[i];
        bool working = s->in_transaction || !s->was_ready;
        if (s->connected && working && load->shard.now_ns > s->began_ns + limit_ns) {
            stream_abort(&s->stream, MX_ERR_TIMEOUT);
        }
    }
}

static void abort_all(struct load *load)
{
    for (unsigned i = 0; i < load->conf.sessions; i++) {
        if (load->sessions[i].connected) {
            stream_abort(&load->sessions[i].stream, MX_ERR_TIMEOUT);
        }
    }
}

static void on_turn(struct shard_hook *hook)
{
    ledger_flush(&mx_container_of(hook, struct load, hook)->ledger);
}

void load_run(struct load *load, const volatile int *stop)
{
    uint64_t stopped_ns = 0, looked_ns = 0;
    load->began_ns = clock_monotonic_ns();
    load->open = load->conf.sessions;
    for (unsigned i = 0; i < load->conf.sessions; i++) {
        session_connect(&load->sessions[i]);
    }
    while (load->open > 0) {
        bool idle = list_empty(&load->waiting);
        shard_turn(&load->shard, (idle ? IDLE_MS : WAIT_MS) * MX_NS_PER_MS);
        uint64_t now_ns = load->shard.now_ns;
        if (*stop && !load->stopping) {
            load->stopping = true;
            stopped_ns = now_ns;
        }
        if (!idle) {
            wake_due(load);
        }
        if (load->stopping && now_ns > stopped_ns + STOP_GRACE_S * MX_NS_PER_S) {
            abort_all(load);
        } else if (now_ns > looked_ns + DEADLINES_MS * MX_NS_PER_MS) {
            looked_ns = now_ns;
            abort_late(load, load->conf.timeout_ns);
        }
    }
    load->result.took_ns = clock_monotonic_ns() - load->began_ns;
    ledger_flush(&load->ledger);
}

mx_err load_init(struct load *load)
{
    unsigned count = load->conf.sessions;
    MX_ASSERT(count > 0 && load->conf.rcpt_count > 0);
    list_init(&load->waiting);
    load->dice.state = load->conf.seed;
    content_text_make(&load->text, &load->dice);
    load->hook.turn = on_turn;
    shard_add_hook(&load->shard, &load->hook);
    load->sessions = calloc(count, sizeof *load->sessions);
    for (unsigned i = 0; load->sessions != NULL && i < count; i++) {
        struct load_session *s = &load->sessions[i];
        s->load = load;
        s->cli = calloc(1, cli_bytes());
        if (s->cli == NULL) {
            return MX_ERR_NOMEM;
        }
        for (uint32_t r = 0; r < load->conf.rcpt_count; r++) {
            s->rcpts[r] = r;
        }
    }
    return load->sessions != NULL ? MX_OK : MX_ERR_NOMEM;
}

void load_fini(struct load *load)
{
    for (unsigned i = 0; load->sessions != NULL && i < load->conf.sessions; i++) {
        free(load->sessions[i].cli);
    }
    free(load->sessions);
    load->sessions = NULL;
}
