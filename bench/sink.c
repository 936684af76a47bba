#include "bench/sink.h"

#include "bench/args.h"
#include "bench/process.h"
#include "bench/sink_conn.h"
#include "bench/verify.h"
#include "io/sys.h"

#include <stdlib.h>

struct options {
    struct netaddr addr;
    const char *ledger;
    struct verify_conf verify; /* ledgers: of the senders, then ours */
    bool allow_remote;
};

static int help(int code)
{
    fprintf(
        code == 0 ? stdout : stderr,
        "usage: ringmx-bench sink --listen ADDRESS:PORT [options]\n"
        "  --lmtp            speak LMTP: a reply for each recipient after the data\n"
        "  --dir DIR         keep every message as NUMBER.eml (exact content) and NUMBER.env\n"
        "  --quiet           do not print every message\n"
        "  --no-pipelining   do not offer PIPELINING\n"
        "  --no-chunking     do not offer CHUNKING\n"
        "  --no-dsn          do not offer DSN\n"
        "  --size BYTES      largest message (default 104857600)\n"
        "  --ledger FILE     append id, hash and recipient of every copy that was taken\n"
        "  --expect FILE     at the end (SIGTERM) compare with this ledger of `ringmx-bench "
        "send`;\n"
        "                    needs --ledger; may be repeated; output and exit code as of\n"
        "                    `ringmx-bench verify`; with --ordered, order counts too\n"
        "  --fault RULE      misbehave; may be repeated\n"
        "  --fault-seed N    decides the draws (default 1)\n"
        "  --allow-remote    listen on other addresses than loopback\n"
        "RULE is COMMAND:KIND[:SHARE[:TEXT]], for example rcpt:4xx:5%% or eod:lost:0.5%%\n"
        "  COMMAND  connect banner ehlo mail rcpt data eod quit; eod: the end of the data, under\n"
        "           LMTP once for each recipient\n"
        "  KIND     4xx, 5xx or a code from 400 to 599 (421 ends the session)\n"
        "           delay=MS  the reply comes so much later, in steps of 100 ms\n"
        "           drop      close the connection instead of a reply, take nothing\n"
        "           silent    no reply any more, but stay connected, take nothing\n"
        "           lost      (eod) take the message, close the connection before the reply\n"
        "  SHARE    of these commands, in percent (default 100%%)\n"
        "  TEXT     only commands that contain it; eod: only if a recipient contains it\n"
        "The first rule that hits counts; a delay goes together with another.\n");
    return code;
}

/* *out_what: what it was that failed. */
static mx_err open_all(struct sink *sink, const struct options *options, const char **out_what)
{
    struct shard_conf conf = {.count = 1, .cpu = -1, .blocks_max = 65536, .log_level = LOG_WARN};
    struct ring_listen_conf listen_conf = {
        .addr = ring_addr_of(&options->addr), .backlog = 4096, .no_delay = true};
    int fd = -1;
    *out_what = "cannot start the sink";
    mx_err err = pool_init(&sink->sessions, "sessions", sink_session_bytes(), SINK_SESSIONS_MAX);
    if (!err && sink->dir != NULL) {
        *out_what = sink->dir;
        err = sys_mkdirs(sink->dir);
    }
    if (!err && options->ledger != NULL) {
        *out_what = options->ledger;
        err = ledger_open(&sink->ledger, options->ledger);
    }
    *out_what = err ? *out_what : "cannot start the sink";
    err = err ? err : ring_listen(&fd, &listen_conf);
    err = err ? err : shard_init(&sink->shard, &conf);
    err = err ? err : shard_open(&sink->shard);
    if (!err) {
        sink_listen(sink, fd);
    }
    return err;
}

static void report(const struct sink *sink, bool to_stderr)
{
    FILE *out = to_stderr ? stderr : stdout;
    fprintf(out, "sink: %llu messages, %llu recipients, %llu bytes, %llu altered, %llu unmarked\n",
            (unsigned long long)sink->messages, (unsigned long long)sink->recipients,
            (unsigned long long)sink->bytes, (unsigned long long)sink->altered,
            (unsigned long long)sink->unmarked);
    for (uint32_t i = 0; i < sink->faults.count; i++) {
        const struct fault_rule *rule = &sink->faults.rules[i];
        fprintf(out, "fault %.*s: %llu\n", SLICE_ARGS(rule->spec), (unsigned long long)rule->hits);
    }
    fflush(out);
}

static int serve(struct sink *sink, struct options *options)
{
    const volatile int *stop = process_stop(PROCESS_WAITS_GO_ON);
    const char *what;
    mx_err err = open_all(sink, options, &what);
    if (err) {
        fprintf(stderr, "ringmx-bench: %s: %s\n", what,
                err == MX_ERR_INUSE ? "the port is in use" : err_text(err));
        return 1;
    }
    printf("sink ready\n");
    fflush(stdout);
    while (!*stop && sink->err == MX_OK) {
        shard_turn(&sink->shard, 200 * MX_NS_PER_MS);
    }
    sink_stop(sink);
    bool expects = options->verify.ledger_count > 0;
    report(sink, expects);
    ledger_close(&sink->ledger);
    if (sink->err) {
        fprintf(stderr, "ringmx-bench: cannot keep what came: %s\n", err_text(sink->err));
        return 1;
    }
    if (expects) {
        options->verify.ledgers[options->verify.ledger_count++] = options->ledger;
        return verify_run(&options->verify);
    }
    return 0;
}

/* --- options -----------------------------------------------------------------------------------
 */

static void fault_option(struct args *args, struct sink *sink)
{
    const char *text = args_text(args);
    mx_err err = fault_add(&sink->faults, slice_of_text(text));
    if (err && !args->failed) {
        fprintf(stderr, "ringmx-bench: --fault '%s': %s\n", text, err_text(err));
        args->failed = true;
    }
}

static void expect_option(struct args *args, struct verify_conf *verify)
{
    const char *path = args_text(args);
    if (verify->ledger_count + 1 == VERIFY_FILES_MAX) {
        fprintf(stderr, "ringmx-bench: --expect: at most %d\n", VERIFY_FILES_MAX - 1);
        args->failed = true;
        return;
    }
    verify->ledgers[verify->ledger_count++] = path;
}

static bool protocol_option(struct args *args, struct sink *sink)
{
    struct sink_engine_conf *conf = &sink->conf;
    if (args_is(args, "--lmtp")) {
        conf->lmtp = true;
    } else if (args_is(args, "--no-pipelining")) {
        conf->offer_pipelining = false;
    } else if (args_is(args, "--no-chunking")) {
        conf->offer_chunking = false;
    } else if (args_is(args, "--no-dsn")) {
        conf->offer_dsn = false;
    } else if (args_is(args, "--size")) {
        conf->size_bytes_max = args_number(args, 1, SINK_CONTENT_MAX);
    } else if (args_is(args, "--fault")) {
        fault_option(args, sink);
    } else if (args_is(args, "--fault-seed")) {
        sink->faults.dice.state = args_number(args, 0, UINT64_MAX);
    } else {
        return false;
    }
    return true;
}

static bool option(struct args *args, struct sink *sink, struct options *options)
{
    if (args_is(args, "--listen")) {
        options->addr = args_address(args);
    } else if (args_is(args, "--dir")) {
        sink->dir = args_text(args);
    } else if (args_is(args, "--quiet")) {
        sink->quiet = true;
    } else if (args_is(args, "--ledger")) {
        options->ledger = args_text(args);
    } else if (args_is(args, "--expect")) {
        expect_option(args, &options->verify);
    } else if (args_is(args, "--ordered")) {
        options->verify.ordered = true;
    } else if (args_is(args, "--allow-remote")) {
        options->allow_remote = true;
    } else {
        return protocol_option(args, sink);
    }
    return true;
}

int sink_command(int argc, char **argv)
{
    static struct sink sink; /* too large for the stack; lives as long as the process */
    static struct options options;
    struct args args;
    sink.conf = (struct sink_engine_conf){.hostname = SLICE_LITERAL("sink.invalid"),
                                          .offer_pipelining = true,
                                          .offer_chunking = true,
                                          .offer_dsn = true,
                                          .size_bytes_max = 100 * 1024 * 1024,
                                          .faults = &sink.faults};
    sink.faults.dice.state = 1;
    args_init(&args, argc, argv);
    while (args_next(&args)) {
        if (args_is(&args, "--help")) {
            return help(0);
        }
        if (!option(&args, &sink, &options)) {
            args_unknown(&args);
        }
    }
    if (options.verify.ledger_count > 0 && options.ledger == NULL) {
        fprintf(stderr, "ringmx-bench: --expect needs --ledger\n");
        args.failed = true;
    }
    if (args.failed || options.addr.family == 0) {
        return help(2);
    }
    if (!process_may_use(&options.addr, options.allow_remote)) {
        return 2;
    }
    return serve(&sink, &options);
}
