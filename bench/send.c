#include "bench/send.h"

#include "bench/args.h"
#include "core/check.h"
#include "core/hash.h"
#include "core/timefmt.h"
#include "io/clock.h"
#include "io/shard.h"
#include "io/stream.h"
#include "smtp/cli_engine.h"

#include <stdlib.h>

enum {
    SESSIONS_MAX = 4096,
    RCPTS_MAX = 100,
    OUT_BYTES = 16 * 1024,
    HEADER_BYTES = 1024,
    LINE_BYTES = 76,
};

struct load {
    struct shard shard;
    struct netaddr to;
    unsigned sessions, per_connection;
    uint64_t messages; /* to send in all */
    size_t body_bytes;
    struct slice from, ids;
    struct envelope_rcpt rcpts[RCPTS_MAX];
    uint32_t rcpt_count;
    uint32_t rcpt_index[RCPTS_MAX];
    uint8_t *body;
    uint64_t body_hash;
    FILE *acked;
    /* results */
    uint64_t begun, accepted, refused, lost;
    uint16_t refusal_code;  /* of the first refusal */
    uint64_t *latencies_ns; /* of accepted messages */
    unsigned open;
};

struct session {
    struct stream stream;
    struct load *load;
    struct cli *cli;
    struct cli_conf conf;
    unsigned sent; /* on this connection */
    bool up, in_transaction, all_accepted;
    uint64_t number; /* of the message */
    uint64_t began_ns;
    struct envelope env;
    struct cli_message msg;
    uint8_t states[RCPTS_MAX];
    uint8_t header[HEADER_BYTES];
    size_t header_len, offset;
};

static void session_connect(struct session *s);

/* --- messages ----------------------------------------------------------------------------------
 */

/* Lines of 76 bytes; the last one may be shorter. body_bytes is at least 2. */
static void make_body(struct load *load)
{
    for (size_t i = 0; i < load->body_bytes; i++) {
        load->body[i] = (uint8_t)('a' + i % 26);
    }
    for (size_t i = LINE_BYTES; i + 2 < load->body_bytes; i += LINE_BYTES) {
        load->body[i - 2] = '\r';
        load->body[i - 1] = '\n';
    }
    load->body[load->body_bytes - 2] = '\r';
    load->body[load->body_bytes - 1] = '\n';
    load->body_hash = hash_checksum(slice_of(load->body, load->body_bytes));
}

static void header_make(struct session *s)
{
    struct load *load = s->load;
    struct writer w = writer_init(s->header, sizeof s->header);
    put_text(&w, "X-Ringmx-Id: ");
    put_slice(&w, load->ids);
    put_char(&w, '-');
    put_decimal(&w, s->number);
    put_text(&w, "\r\nX-Ringmx-Hash: ");
    put_hex(&w, load->body_hash);
    put_text(&w, "\r\nFrom: <");
    put_slice(&w, load->from);
    put_text(&w, ">\r\nDate: ");
    put_rfc5322(&w, clock_wall_ms());
    put_text(&w, "\r\nSubject: load\r\n\r\n");
    MX_ASSERT(!w.overflow);
    s->header_len = w.len;
}

static void message_begin(struct session *s)
{
    struct load *load = s->load;
    s->number = ++load->begun;
    header_make(s);
    s->offset = 0;
    s->sent++;
    s->in_transaction = true;
    s->all_accepted = true;
    s->env = (struct envelope){
        .sender = load->from, .rcpts = load->rcpts, .rcpt_count = load->rcpt_count};
    s->msg = (struct cli_message){.env = &s->env,
                                  .rcpts = load->rcpt_index,
                                  .rcpt_count = load->rcpt_count,
                                  .content_bytes = s->header_len + load->body_bytes,
                                  .ends_in_crlf = true};
    s->began_ns = clock_monotonic_ns();
    cli_begin(s->cli, &s->msg, s->states);
}

static void message_body(struct session *s, struct writer *out)
{
    const struct load *load = s->load;
    struct slice header = slice_of(s->header, s->header_len);
    struct slice body = slice_of(load->body, load->body_bytes);
    bool in_header = s->offset < s->header_len;
    struct slice piece =
        in_header ? slice_from(header, s->offset) : slice_from(body, s->offset - s->header_len);
    s->offset += cli_body(s->cli, piece, out);
}

static void message_outcome(struct session *s)
{
    const struct outcome *o = cli_outcome(s->cli);
    if (o->kind != OUTCOME_DELIVERED) {
        s->all_accepted = false;
        s->load->refusal_code = s->load->refusal_code ? s->load->refusal_code : o->code;
    }
}

static void message_end(struct session *s)
{
    struct load *load = s->load;
    s->in_transaction = false;
    if (!s->all_accepted) {
        load->refused++;
        return;
    }
    load->latencies_ns[load->accepted++] = clock_monotonic_ns() - s->began_ns;
    if (load->acked != NULL) {
        fprintf(load->acked, "%.*s-%llu %llx\n", SLICE_ARGS(load->ids),
                (unsigned long long)s->number, (unsigned long long)load->body_hash);
        fflush(load->acked);
    }
}

/* --- session -----------------------------------------------------------------------------------
 */

static void next_message(struct session *s)
{
    const struct load *load = s->load;
    bool used_up = load->per_connection > 0 && s->sent >= load->per_connection;
    if (load->begun >= load->messages || used_up) {
        cli_quit(s->cli);
    } else {
        message_begin(s);
    }
}

/* One action of the engine; false: wait, or close. */
static bool step(struct session *s, struct slice *in, struct writer *out, bool *out_close)
{
    switch (cli_next(s->cli, in, out)) {
    case CLI_READY:
        next_message(s);
        return true;
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

static void drive(struct session *s, struct slice *in)
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
    drive(mx_container_of(stream, struct session, stream), &in);
    return len - in.len;
}

static void on_event(struct stream *stream)
{
    struct session *s = mx_container_of(stream, struct session, stream);
    struct slice none = SLICE_EMPTY;
    s->up = true;
    drive(s, &none);
}

static void on_closed(struct stream *stream, mx_err why)
{
    struct session *s = mx_container_of(stream, struct session, stream);
    struct load *load = s->load;
    if (s->in_transaction) {
        s->in_transaction = false;
        load->lost++;
    }
    if ((why != MX_OK && s->sent == 0) || load->begun >= load->messages) {
        load->open--; /* a server that cannot be reached is not asked again */
        return;
    }
    session_connect(s);
}

static const struct stream_ops callbacks = {
    .input = on_input, .drained = on_event, .ready = on_event, .closed = on_closed};

static void session_connect(struct session *s)
{
    struct ring_addr to = ring_addr_of(&s->load->to);
    s->conf = (struct cli_conf){.ehlo_name = SLICE_LITERAL("bench.invalid"), .tls = CLI_TLS_NEVER};
    cli_init(s->cli, &s->conf);
    s->up = false;
    s->sent = 0;
    stream_connect(&s->stream, &s->load->shard, &callbacks, &to);
}

/* --- command -----------------------------------------------------------------------------------
 */

static int compare_u64(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

static double percentile_ms(const struct load *load, unsigned percent)
{
    if (load->accepted == 0) {
        return 0;
    }
    uint64_t index = (load->accepted - 1) * percent / 100;
    return (double)load->latencies_ns[index] / 1e6;
}

static void report(struct load *load, uint64_t took_ns)
{
    double seconds = (double)took_ns / 1e9;
    qsort(load->latencies_ns, load->accepted, sizeof load->latencies_ns[0], compare_u64);
    printf("accepted %llu  refused %llu  lost %llu", (unsigned long long)load->accepted,
           (unsigned long long)load->refused, (unsigned long long)load->lost);
    if (load->refusal_code != 0) {
        printf("  first refusal %u", load->refusal_code);
    }
    printf("\n%.2f s  %.0f messages/s (closed loop, %u sessions)\n", seconds,
           (double)load->accepted / seconds, load->sessions);
    printf("MAIL to 250: p50 %.2f ms  p99 %.2f ms  max %.2f ms\n", percentile_ms(load, 50),
           percentile_ms(load, 99), percentile_ms(load, 100));
}

static mx_err open_all(struct load *load, struct session **out_sessions)
{
    struct shard_conf conf = {.count = 1, .cpu = -1, .blocks_max = 65536, .log_level = LOG_WARN};
    struct session *sessions = calloc(load->sessions, sizeof *sessions);
    load->latencies_ns = calloc(load->messages, sizeof *load->latencies_ns);
    load->body = malloc(load->body_bytes);
    if (sessions == NULL || load->latencies_ns == NULL || load->body == NULL) {
        free(sessions);
        return MX_ERR_NOMEM;
    }
    for (unsigned i = 0; i < load->sessions; i++) {
        sessions[i].load = load;
        sessions[i].cli = calloc(1, cli_bytes());
        MX_ASSERT(sessions[i].cli != NULL);
    }
    *out_sessions = sessions;
    mx_err err = shard_init(&load->shard, &conf);
    return err ? err : shard_open(&load->shard);
}

static int run(struct load *load)
{
    struct session *sessions = NULL;
    mx_err err = open_all(load, &sessions);
    if (err) {
        fprintf(stderr, "ringmx-bench: cannot start: %s\n", err_text(err));
        return 1;
    }
    make_body(load);
    uint64_t began_ns = clock_monotonic_ns();
    for (unsigned i = 0; i < load->sessions; i++) {
        load->open++;
        session_connect(&sessions[i]);
    }
    while (load->open > 0) {
        shard_turn(&load->shard, 200 * MX_NS_PER_MS);
    }
    report(load, clock_monotonic_ns() - began_ns);
    return load->accepted == load->messages ? 0 : 1;
}

static int help(int code)
{
    fprintf(code == 0 ? stdout : stderr,
            "usage: ringmx-bench send --to ADDRESS:PORT --from SENDER --rcpt RECIPIENT [options]\n"
            "  --rcpt RECIPIENT    may be given up to 100 times\n"
            "  --sessions N        connections at a time (default 1)\n"
            "  --messages N        messages in all (default 1)\n"
            "  --size BYTES        body of each (default 4096)\n"
            "  --per-connection N  then a new connection (default 1000)\n"
            "  --ids PREFIX        ids are PREFIX-1, PREFIX-2 ... (default: the time)\n"
            "  --acked FILE        append id and hash of every message that got its 250\n"
            "  --allow-remote      send to other addresses than loopback\n");
    return code;
}

static bool amount_option(struct args *args, struct load *load)
{
    if (args_is(args, "--sessions")) {
        load->sessions = (unsigned)args_number(args, 1, SESSIONS_MAX);
    } else if (args_is(args, "--messages")) {
        load->messages = args_number(args, 1, 100000000);
    } else if (args_is(args, "--size")) {
        load->body_bytes = args_number(args, 2, 100 * 1024 * 1024);
    } else if (args_is(args, "--per-connection")) {
        load->per_connection = (unsigned)args_number(args, 1, 1000000);
    } else {
        return false;
    }
    return true;
}

static void rcpt_option(struct args *args, struct load *load)
{
    struct slice address = slice_of_text(args_text(args));
    if (load->rcpt_count == RCPTS_MAX) {
        fprintf(stderr, "ringmx-bench: at most %d recipients\n", RCPTS_MAX);
        args->failed = true;
        return;
    }
    load->rcpt_index[load->rcpt_count] = load->rcpt_count;
    load->rcpts[load->rcpt_count++].address = address;
}

int send_command(int argc, char **argv)
{
    static struct load load; /* too large for the stack; lives as long as the process */
    char ids[24];
    struct args args;
    const char *acked = NULL;
    bool allow_remote = false;
    (void)snprintf(ids, sizeof ids, "%llx", (unsigned long long)clock_wall_ms());
    load.sessions = 1;
    load.messages = 1;
    load.body_bytes = 4096;
    load.per_connection = 1000;
    load.ids = slice_of_text(ids);
    args_init(&args, argc, argv);
    while (args_next(&args)) {
        if (args_is(&args, "--to")) {
            load.to = args_address(&args);
        } else if (args_is(&args, "--from")) {
            load.from = slice_of_text(args_text(&args));
        } else if (args_is(&args, "--rcpt")) {
            rcpt_option(&args, &load);
        } else if (args_is(&args, "--ids")) {
            load.ids = slice_of_text(args_text(&args));
        } else if (args_is(&args, "--acked")) {
            acked = args_text(&args);
        } else if (args_is(&args, "--allow-remote")) {
            allow_remote = true;
        } else if (args_is(&args, "--help")) {
            return help(0);
        } else if (!amount_option(&args, &load)) {
            args_unknown(&args);
        }
    }
    if (args.failed || load.to.family == 0 || load.rcpt_count == 0) {
        return help(2);
    }
    if (!args_loopback(&load.to) && !allow_remote) {
        fprintf(stderr, "ringmx-bench: only loopback addresses without --allow-remote\n");
        return 2;
    }
    load.acked = acked == NULL ? NULL : fopen(acked, "a");
    if (acked != NULL && load.acked == NULL) {
        fprintf(stderr, "ringmx-bench: cannot open %s\n", acked);
        return 1;
    }
    return run(&load);
}
