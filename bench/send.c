#include "bench/send.h"

#include "bench/args.h"
#include "bench/load.h"
#include "bench/mark.h"
#include "core/text.h"
#include "io/clock.h"
#include "io/random.h"

#include <signal.h>
#include <stdlib.h>

/* A signal handler can reach nothing else. */
static volatile sig_atomic_t stop_wanted;

static void on_signal(int signal_number)
{
    (void)signal_number;
    stop_wanted = 1;
}

static int help(int code)
{
    fprintf(
        code == 0 ? stdout : stderr,
        "usage: ringmx-bench send --to ADDRESS:PORT --from SENDER --rcpt RECIPIENT [options]\n"
        "  --rcpt RECIPIENT    may be given up to 100 times\n"
        "  --rcpts-per-message N|MIN-MAX  so many of them, drawn (default: all)\n"
        "  --sessions N        connections at a time (default 1)\n"
        "  --messages N        messages in all (default 1); 0: until SIGTERM\n"
        "  --rate N            begin at most N messages in a second\n"
        "  --size N|MIN-MAX    bytes of each body (default 4096); of a range as many from each\n"
        "                      power of two\n"
        "  --per-connection N|MIN-MAX  messages, then a new connection (default 1000)\n"
        "  --bdat PERCENT      of the connections use BDAT when offered (default 100)\n"
        "  --no-pipelining     wait for every reply\n"
        "  --retry             ask a server that cannot be reached again until SIGTERM\n"
        "  --timeout SECONDS   for a connection, and for a message (default 60)\n"
        "  --ids PREFIX        ids are PREFIX.CONNECTION.NUMBER (default: the time)\n"
        "  --seed N            decides sizes, recipients and content (default: random)\n"
        "  --ledger FILE       append what became of every message and recipient\n"
        "  --json              one JSON line instead of text\n"
        "  --allow-remote      send to other addresses than loopback\n"
        "Every message carries X-Ringmx-Id and X-Ringmx-XXH64, the XXH64 (seed 0) of every byte\n"
        "behind that line. `ringmx-bench verify --help` says what a ledger is for.\n"
        "Exit code: 0 if every message was accepted for every recipient.\n");
    return code;
}

static void print_text(const struct load *load)
{
    const struct load_result *r = &load->result;
    double seconds = (double)r->took_ns / 1e9;
    printf("accepted %llu  refused %llu  unanswered %llu", (unsigned long long)r->accepted,
           (unsigned long long)r->refused, (unsigned long long)r->unanswered);
    if (r->refusal_code != 0) {
        printf("  first refusal %u", r->refusal_code);
    }
    printf("\n%.2f s  %.0f messages/s (closed loop, %u sessions, %llu connections, seed %llu)\n",
           seconds, (double)r->accepted / seconds, load->conf.sessions,
           (unsigned long long)r->connections, (unsigned long long)load->conf.seed);
    printf("MAIL to 250: p50 %.2f ms  p99 %.2f ms  max %.2f ms\n",
           (double)histogram_percentile(&r->latency_ns, 50) / 1e6,
           (double)histogram_percentile(&r->latency_ns, 99) / 1e6, (double)r->latency_ns.max / 1e6);
}

static void print_json(const struct load *load)
{
    const struct load_result *r = &load->result;
    const struct {
        const char *name;
        uint64_t value;
    } fields[] = {{"begun", r->begun},
                  {"accepted", r->accepted},
                  {"refused", r->refused},
                  {"unanswered", r->unanswered},
                  {"first_refusal", r->refusal_code},
                  {"connections", r->connections},
                  {"failed_connections", r->failed_connections},
                  {"took_ns", r->took_ns},
                  {"p50_ns", histogram_percentile(&r->latency_ns, 50)},
                  {"p99_ns", histogram_percentile(&r->latency_ns, 99)},
                  {"max_ns", r->latency_ns.max},
                  {"sessions", load->conf.sessions},
                  {"seed", load->conf.seed}};
    printf("{\"loop\":\"closed\"");
    for (size_t i = 0; i < mx_countof(fields); i++) {
        printf(",\"%s\":%llu", fields[i].name, (unsigned long long)fields[i].value);
    }
    printf("}\n");
}

static int run(struct load *load, bool json)
{
    struct shard_conf conf = {.count = 1, .cpu = -1, .blocks_max = 65536, .log_level = LOG_WARN};
    mx_err err = shard_init(&load->shard, &conf);
    err = err ? err : shard_open(&load->shard);
    err = err ? err : load_init(load);
    if (err) {
        fprintf(stderr, "ringmx-bench: cannot start: %s\n", err_text(err));
        return 1;
    }
    (void)signal(SIGTERM, on_signal);
    (void)signal(SIGINT, on_signal);
    load_run(load, &stop_wanted);
    (json ? print_json : print_text)(load);
    const struct load_result *r = &load->result;
    bool complete = r->accepted == r->begun && r->begun >= load->conf.messages;
    err = load->ledger.err;
    if (err) {
        fprintf(stderr, "ringmx-bench: the ledger is not complete: %s\n", err_text(err));
    }
    load_fini(load);
    return complete && !err ? 0 : 1;
}

/* --- options -----------------------------------------------------------------------------------
 */

static void rcpt_option(struct args *args, struct load_conf *conf)
{
    struct slice address = slice_of_text(args_text(args));
    if (conf->rcpt_count == LOAD_RCPTS_MAX || address.len == 0 || address.len > ADDRESS_MAX) {
        fprintf(stderr, "ringmx-bench: --rcpt: at most %d recipients of %d bytes\n", LOAD_RCPTS_MAX,
                ADDRESS_MAX);
        args->failed = true;
        return;
    }
    conf->rcpts[conf->rcpt_count++].address = address;
}

/* "N" or "MIN-MAX" */
static struct load_range range_option(struct args *args, uint64_t min, uint64_t max)
{
    struct slice text = slice_of_text(args_text(args));
    size_t dash = slice_find(text, '-');
    struct load_range range = {0};
    mx_err err = text_to_u64(&range.min, slice_first(text, dash));
    range.max = range.min;
    if (!err && dash < text.len) {
        err = text_to_u64(&range.max, slice_from(text, dash + 1));
    }
    if (err || range.min < min || range.max > max || range.min > range.max) {
        fprintf(stderr, "ringmx-bench: %s: not a number or a range within %llu-%llu\n", args->name,
                (unsigned long long)min, (unsigned long long)max);
        args->failed = true;
    }
    return range;
}

static void text_option(struct args *args, struct slice *out, size_t max)
{
    *out = slice_of_text(args_text(args));
    if (out->len > max || slice_find(*out, ' ') < out->len || slice_find(*out, '\n') < out->len) {
        fprintf(stderr, "ringmx-bench: %s: at most %zu bytes without spaces\n", args->name, max);
        args->failed = true;
    }
}

static bool amount_option(struct args *args, struct load_conf *conf)
{
    if (args_is(args, "--rcpts-per-message")) {
        conf->rcpts_per_message = range_option(args, 1, LOAD_RCPTS_MAX);
    } else if (args_is(args, "--sessions")) {
        conf->sessions = (unsigned)args_number(args, 1, LOAD_SESSIONS_MAX);
    } else if (args_is(args, "--messages")) {
        conf->messages = args_number(args, 0, 1000000000);
    } else if (args_is(args, "--rate")) {
        conf->rate = args_number(args, 1, 10000000);
    } else if (args_is(args, "--size")) {
        conf->size = range_option(args, CONTENT_SIZE_MIN, CONTENT_SIZE_MAX);
    } else if (args_is(args, "--per-connection")) {
        conf->per_connection = range_option(args, 1, 1000000);
    } else if (args_is(args, "--bdat")) {
        conf->bdat_percent = (unsigned)args_number(args, 0, 100);
    } else if (args_is(args, "--timeout")) {
        conf->timeout_ns = args_number(args, 1, 86400) * MX_NS_PER_S;
    } else if (args_is(args, "--seed")) {
        conf->seed = args_number(args, 0, UINT64_MAX);
    } else {
        return false;
    }
    return true;
}

static bool load_option(struct args *args, struct load_conf *conf)
{
    if (args_is(args, "--to")) {
        conf->to = args_address(args);
    } else if (args_is(args, "--from")) {
        text_option(args, &conf->from, ADDRESS_MAX);
    } else if (args_is(args, "--rcpt")) {
        rcpt_option(args, conf);
    } else if (args_is(args, "--ids")) {
        text_option(args, &conf->ids, LOAD_ID_PREFIX_MAX);
    } else if (args_is(args, "--no-pipelining")) {
        conf->no_pipelining = true;
    } else if (args_is(args, "--retry")) {
        conf->retry = true;
    } else {
        return amount_option(args, conf);
    }
    return true;
}

int send_command(int argc, char **argv)
{
    static struct load load; /* too large for the stack; lives as long as the process */
    struct args args;
    char ids[24];
    const char *ledger = NULL;
    bool allow_remote = false, json = false;
    (void)snprintf(ids, sizeof ids, "%llx", (unsigned long long)clock_wall_ms());
    load.conf = (struct load_conf){.sessions = 1,
                                   .messages = 1,
                                   .size = {4096, 4096},
                                   .per_connection = {1000, 1000},
                                   .bdat_percent = 100,
                                   .timeout_ns = 60 * MX_NS_PER_S,
                                   .seed = random_u64() >> 32,
                                   .ids = slice_of_text(ids)};
    args_init(&args, argc, argv);
    while (args_next(&args)) {
        if (args_is(&args, "--ledger")) {
            ledger = args_text(&args);
        } else if (args_is(&args, "--json")) {
            json = true;
        } else if (args_is(&args, "--allow-remote")) {
            allow_remote = true;
        } else if (args_is(&args, "--help")) {
            return help(0);
        } else if (!load_option(&args, &load.conf)) {
            args_unknown(&args);
        }
    }
    if (args.failed || load.conf.to.family == 0 || load.conf.rcpt_count == 0) {
        return help(2);
    }
    if (!args_loopback(&load.conf.to) && !allow_remote) {
        fprintf(stderr, "ringmx-bench: only loopback addresses without --allow-remote\n");
        return 2;
    }
    mx_err err = ledger == NULL ? MX_OK : ledger_open(&load.ledger, ledger);
    if (err) {
        fprintf(stderr, "ringmx-bench: %s: %s\n", ledger, err_text(err));
        return 1;
    }
    return run(&load, json);
}
