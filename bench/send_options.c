#include "bench/send_options.h"

#include "bench/process.h"
#include "bench/report.h"
#include "core/text.h"
#include "io/clock.h"
#include "io/random.h"
#include "smtp/envelope.h"

#include <sched.h>

enum { SECONDS_MAX = 7 * 86400, THINK_MAX_MS = 3600 * 1000 };

static void wrong(struct args *args, const char *what)
{
    if (!args->failed) {
        fprintf(stderr, "ringmx-bench: %s: %s\n", args->name, what);
    }
    args->failed = true;
}

static struct slice text_of(struct args *args)
{
    return slice_of_text(args_text(args));
}

/* --- values ------------------------------------------------------------------------------------
 */

static void set_distribution(struct args *args, struct distribution *out, uint64_t min,
                             uint64_t max)
{
    mx_err err = distribution_parse(out, text_of(args), min, max);
    if (err && !args->failed) {
        fprintf(stderr,
                "ringmx-bench: %s: not N, MIN-MAX, lognormal:MEDIAN:SIGMA or N:SHARE,... within "
                "%llu-%llu\n",
                args->name, (unsigned long long)min, (unsigned long long)max);
        args->failed = true;
    }
}

static void set_word(struct args *args, struct slice *out, size_t max)
{
    *out = text_of(args);
    if (out->len > max || slice_find(*out, ' ') < out->len || slice_find(*out, '\n') < out->len) {
        fprintf(stderr, "ringmx-bench: %s: at most %zu bytes without spaces\n", args->name, max);
        args->failed = true;
    }
}

/* One of several words; its index. */
static unsigned choice(struct args *args, const char *const *words, unsigned count)
{
    struct slice text = text_of(args);
    for (unsigned i = 0; i < count; i++) {
        if (slice_equal(text, slice_of_text(words[i]))) {
            return i;
        }
    }
    if (!args->failed) {
        fprintf(stderr, "ringmx-bench: %s: one of", args->name);
        for (unsigned i = 0; i < count; i++) {
            fprintf(stderr, " %s", words[i]);
        }
        fprintf(stderr, "\n");
    }
    args->failed = true;
    return 0;
}

static void set_network(struct args *args, struct netmask *out)
{
    if (netmask_parse(out, text_of(args)) != MX_OK) {
        wrong(args, "not an address or ADDRESS/BITS");
    }
}

/* "0.5%" or "5": parts of UNKNOWN_SHARE_ALL. */
static uint32_t share_of(struct args *args)
{
    struct slice text = text_of(args);
    uint64_t whole = 0, part = 0, unit = UNKNOWN_SHARE_ALL / 100;
    text.len -= text.len > 0 && text.ptr[text.len - 1] == '%';
    size_t dot = slice_find(text, '.');
    struct slice digits = dot < text.len ? slice_from(text, dot + 1) : SLICE_EMPTY;
    mx_err err = text_to_u64(&whole, slice_first(text, dot));
    err = err || dot == text.len ? err : text_to_u64(&part, digits);
    for (size_t i = 0; i < digits.len && i < 4; i++) {
        unit /= 10;
    }
    uint64_t share = whole > 100 ? UINT64_MAX : whole * (UNKNOWN_SHARE_ALL / 100) + part * unit;
    if (err || digits.len > 4 || share > UNKNOWN_SHARE_ALL) {
        wrong(args, "not a share from 0% to 100%");
        return 0;
    }
    return (uint32_t)share;
}

static uint64_t seconds_of(struct args *args)
{
    return args_number(args, 0, SECONDS_MAX) * MX_NS_PER_S;
}

/* --- options -----------------------------------------------------------------------------------
 */

static void opt_to(struct args *args, struct send_options *o)
{
    o->load->dial.to = args_address(args);
}

static void opt_from(struct args *args, struct send_options *o)
{
    set_word(args, &o->load->from, ADDRESS_MAX);
}

static void opt_rcpt(struct args *args, struct send_options *o)
{
    if (recipients_add(&o->load->rcpts, text_of(args)) != MX_OK) {
        wrong(args, "not an address");
    }
}

static void opt_rcpt_file(struct args *args, struct send_options *o)
{
    mx_err err = recipients_add_file(&o->load->rcpts, args_text(args));
    if (err) {
        wrong(args, err == MX_ERR_INVALID ? "a line is not an address" : err_text(err));
    }
}

static void opt_rcpts_per_message(struct args *args, struct send_options *o)
{
    o->rcpts_given = true;
    set_distribution(args, &o->load->rcpts_per_message, 1, RECIPIENTS_PER_MESSAGE_MAX);
}

static void opt_unknown(struct args *args, struct send_options *o)
{
    o->load->rcpts.unknown_share = share_of(args);
}

static void opt_sessions(struct args *args, struct send_options *o)
{
    o->load->sessions = (unsigned)args_number(args, 0, LOAD_SESSIONS_MAX);
}

static void opt_messages(struct args *args, struct send_options *o)
{
    o->messages_given = true;
    o->load->messages = args_number(args, 0, 1000000000);
}

static void opt_time(struct args *args, struct send_options *o)
{
    o->load->time_ns = seconds_of(args);
}

static void opt_warmup(struct args *args, struct send_options *o)
{
    o->load->warmup_ns = seconds_of(args);
}

static void opt_rate(struct args *args, struct send_options *o)
{
    o->load->rate = args_number(args, 1, LOAD_RATE_MAX);
}

/* "constant:RATE" or "poisson:RATE"; with a sweep without the rate. */
static void opt_arrivals(struct args *args, struct send_options *o)
{
    struct slice text = text_of(args);
    size_t colon = slice_find(text, ':');
    struct slice kind = slice_first(text, colon);
    uint64_t rate = 0;
    o->load->arrivals = slice_equal(kind, SLICE_LITERAL("constant"))  ? ARRIVALS_CONSTANT
                        : slice_equal(kind, SLICE_LITERAL("poisson")) ? ARRIVALS_POISSON
                                                                      : ARRIVALS_NONE;
    bool named = colon < text.len;
    bool bad = named && (text_to_u64(&rate, slice_from(text, colon + 1)) != MX_OK || rate == 0 ||
                         rate > LOAD_RATE_MAX);
    if (o->load->arrivals == ARRIVALS_NONE || bad) {
        wrong(args, "constant:RATE or poisson:RATE");
    }
    o->load->arrivals_rate = rate;
}

/* "FROM-TO:STEPS" */
static void opt_sweep(struct args *args, struct send_options *o)
{
    struct slice text = text_of(args);
    size_t dash = slice_find(text, '-'), colon = slice_find(text, ':');
    struct load_sweep *sweep = &o->load->sweep;
    uint64_t steps = 0;
    bool bad = dash >= colon || colon == text.len ||
               text_to_u64(&sweep->from, slice_first(text, dash)) != MX_OK ||
               text_to_u64(&sweep->to, slice_first(slice_from(text, dash + 1), colon - dash - 1)) !=
                   MX_OK ||
               text_to_u64(&steps, slice_from(text, colon + 1)) != MX_OK;
    if (bad || sweep->from == 0 || sweep->to <= sweep->from || sweep->to > LOAD_RATE_MAX ||
        steps < 2 || steps > LOAD_STEPS_MAX) {
        wrong(args, "FROM-TO:STEPS, FROM < TO, 2 to 64 steps");
    }
    sweep->steps = (uint32_t)steps;
}

static void opt_think(struct args *args, struct send_options *o)
{
    set_distribution(args, &o->load->think_ms, 0, THINK_MAX_MS);
}

static void opt_size(struct args *args, struct send_options *o)
{
    struct distribution *size = &o->load->size;
    set_distribution(args, size, CONTENT_SIZE_MIN, CONTENT_SIZE_MAX);
    if (size->kind == DISTRIBUTION_EVEN && size->low < size->high) {
        size->kind = DISTRIBUTION_OCTAVES;
    }
}

static void opt_folder(struct args *args, struct send_options *o)
{
    mx_err err = folder_read(&o->load->folder, args_text(args));
    if (err) {
        wrong(args, err == MX_ERR_NOTFOUND ? "there is no such folder, or no message in it"
                                           : err_text(err));
    }
}

static void opt_per_connection(struct args *args, struct send_options *o)
{
    set_distribution(args, &o->load->per_connection, 1, 1000000);
}

static void opt_bdat(struct args *args, struct send_options *o)
{
    o->load->bdat_percent = (unsigned)args_number(args, 0, 100);
}

static void opt_chunk(struct args *args, struct send_options *o)
{
    o->load->chunk_bytes = args_number(args, 1, CONTENT_SIZE_MAX);
}

static void opt_pipelining(struct args *args, struct send_options *o)
{
    static const char *const words[] = {"off", "on", "full"};
    o->load->pipelining = choice(args, words, mx_countof(words));
}

static void opt_no_pipelining(struct args *args, struct send_options *o)
{
    (void)args;
    o->load->pipelining = PIPELINING_OFF;
}

static void opt_tls(struct args *args, struct send_options *o)
{
    static const char *const words[] = {"off", "starttls", "implicit"};
    o->load->tls = choice(args, words, mx_countof(words));
}

static void opt_tls_version(struct args *args, struct send_options *o)
{
    static const char *const words[] = {"any", "1.2", "1.3"};
    unsigned version = choice(args, words, mx_countof(words));
    o->load->tls_conf.disable_tls12 = version == 2;
    o->load->tls_conf.disable_tls13 = version == 1;
}

static void opt_tls_resume(struct args *args, struct send_options *o)
{
    (void)args;
    o->load->tls_conf.no_resumption = false;
    o->load->tls_conf.reuse_sessions = true;
}

static void opt_proxy(struct args *args, struct send_options *o)
{
    static const char *const words[] = {"off", "v1", "v2"};
    o->load->dial.proxy = choice(args, words, mx_countof(words));
}

static void opt_clients(struct args *args, struct send_options *o)
{
    set_network(args, &o->load->dial.clients);
}

static void opt_source(struct args *args, struct send_options *o)
{
    set_network(args, &o->load->dial.source);
    o->load->dial.has_source = true;
    if (!args->failed && !args_loopback(&o->load->dial.source.addr)) {
        wrong(args, "only loopback addresses");
    }
}

static void opt_idle(struct args *args, struct send_options *o)
{
    o->load->idle = (unsigned)args_number(args, 0, LOAD_IDLE_MAX);
}

static void opt_hostile(struct args *args, struct send_options *o)
{
    if (!hostile_parse(&o->load->hostile, text_of(args))) {
        wrong(args, "KIND:COUNT; --help lists the kinds");
    }
}

static void opt_retry(struct args *args, struct send_options *o)
{
    (void)args;
    o->load->retry = true;
}

static void opt_drip(struct args *args, struct send_options *o)
{
    o->load->hostile.drip_ms = (uint32_t)args_number(args, 1, 3600000);
}

static void opt_timeout(struct args *args, struct send_options *o)
{
    o->load->timeout_ns = args_number(args, 1, 86400) * MX_NS_PER_S;
}

static void opt_ids(struct args *args, struct send_options *o)
{
    set_word(args, &o->load->ids, LOAD_ID_PREFIX_MAX);
}

static void opt_seed(struct args *args, struct send_options *o)
{
    o->load->seed = args_number(args, 0, UINT64_MAX);
}

static void opt_cpu(struct args *args, struct send_options *o)
{
    cpu_set_t set;
    o->cpu = (int)args_number(args, 0, CPU_SETSIZE - 1);
    if (!args->failed &&
        (sched_getaffinity(0, sizeof set, &set) != 0 || !CPU_ISSET(o->cpu, &set))) {
        wrong(args, "this process may not run there");
    }
}

static void opt_ledger(struct args *args, struct send_options *o)
{
    o->ledger = args_text(args);
}

static void opt_interval(struct args *args, struct send_options *o)
{
    o->load->interval_ns = args_number(args, 1, 3600) * MX_NS_PER_S;
}

static void opt_json(struct args *args, struct send_options *o)
{
    (void)args;
    o->json = true;
}

static void opt_output(struct args *args, struct send_options *o)
{
    o->output = args_text(args);
}

static void opt_stats(struct args *args, struct send_options *o)
{
    o->stats = args_text(args);
}

static void opt_assert(struct args *args, struct send_options *o)
{
    struct slice term = SLICE_EMPTY;
    const struct assert_term *unknown = NULL;
    mx_err err = assert_parse(&o->asserts, &term, text_of(args));
    if (!err && !report_knows(&o->asserts, &unknown)) {
        term = unknown->text;
        err = MX_ERR_NOTFOUND;
    }
    if (err && !args->failed) {
        fprintf(stderr, "ringmx-bench: --assert: '%.*s': %s\n", SLICE_ARGS(term),
                err == MX_ERR_NOTFOUND ? "there is nothing of this name"
                : err == MX_ERR_SYNTAX ? "not NAME<VALUE, with <=, >, >=, = or != as well; a time "
                                         "needs a unit (ns, us, ms, s), a number has none"
                                       : err_text(err));
        args->failed = true;
    }
}

static void opt_quiet(struct args *args, struct send_options *o)
{
    (void)args;
    o->quiet = true;
}

static void opt_allow_remote(struct args *args, struct send_options *o)
{
    (void)args;
    o->allow_remote = true;
}

static const struct {
    const char *name, *value, *what;
    void (*take)(struct args *args, struct send_options *o);
} table[] = {
    {"--to", "ADDRESS:PORT", "the server", opt_to},
    {"--from", "SENDER", "(default: the null sender)", opt_from},
    {"--rcpt", "RECIPIENT", "may be given several times", opt_rcpt},
    {"--rcpt-file", "FILE", "one recipient a line", opt_rcpt_file},
    {"--rcpts-per-message", "D",
     "so many of them, drawn (default: all; of a file, or of more\n"
     "than 100, one)",
     opt_rcpts_per_message},
    {"--unknown", "PERCENT", "of the recipients become unknown ones, whose refusal is expected",
     opt_unknown},
    {"--sessions", "N", "connections at a time (default 1)", opt_sessions},
    {"--messages", "N", "messages in all (default 1; with --time no limit); 0: until SIGTERM",
     opt_messages},
    {"--time", "SECONDS", "begin messages for so long; of a sweep: each rate", opt_time},
    {"--warmup", "SECONDS", "before that; apart from the figures", opt_warmup},
    {"--rate", "N", "closed loop: begin at most N messages in a second", opt_rate},
    {"--think", "D", "closed loop: milliseconds that a session pauses after a message", opt_think},
    {"--arrivals", "KIND:RATE",
     "open loop: constant or poisson, messages in a second; latency\n"
     "counts from the intended start",
     opt_arrivals},
    {"--sweep", "FROM-TO:STEPS", "rates of an open loop, --time for each, up to the knee",
     opt_sweep},
    {"--size", "D",
     "bytes of each body (default 4096); of a range as many from each\n"
     "power of two",
     opt_size},
    {"--folder", "DIR", "real messages instead: the files of a folder or Maildir", opt_folder},
    {"--per-connection", "D", "messages, then a new connection (default 1000)", opt_per_connection},
    {"--pipelining", "WORD", "off, on, or full: BDAT leaves with MAIL and RCPT (default on)",
     opt_pipelining},
    {"--no-pipelining", "", "as --pipelining off", opt_no_pipelining},
    {"--bdat", "PERCENT", "of the connections use BDAT when offered (default 100)", opt_bdat},
    {"--chunk", "BYTES", "of content in a BDAT (default: all)", opt_chunk},
    {"--tls", "WORD", "off, starttls or implicit (default off)", opt_tls},
    {"--tls-version", "WORD", "any, 1.2 or 1.3 (default any)", opt_tls_version},
    {"--tls-resume", "", "take up earlier TLS sessions (default: full handshakes)", opt_tls_resume},
    {"--proxy", "WORD", "off, v1 or v2: begin with a PROXY header (default off)", opt_proxy},
    {"--clients", "NETWORK",
     "addresses that the header names (default 198.18.0.0/15 or\n"
     "2001:db8::/32)",
     opt_clients},
    {"--source", "NETWORK", "loopback addresses to connect from", opt_source},
    {"--idle", "N", "idle connections, opened before and held beside the load", opt_idle},
    {"--hostile", "KIND:COUNT", "hostile clients beside the load; may be given several times",
     opt_hostile},
    {"--drip", "MS", "between two bytes of the hostile clients drip and slow-data, on average",
     opt_drip},
    {"--retry", "", "ask a server that cannot be reached again until SIGTERM", opt_retry},
    {"--timeout", "SECONDS", "for a connection, and for a message (default 60)", opt_timeout},
    {"--ids", "PREFIX", "ids are PREFIX.CONNECTION.NUMBER (default: the time)", opt_ids},
    {"--seed", "N", "decides all that is drawn (default: random)", opt_seed},
    {"--cpu", "N", "run on this CPU only", opt_cpu},
    {"--ledger", "FILE", "append what became of every message and recipient", opt_ledger},
    {"--interval", "SECONDS", "of the progress lines and the series (default 1)", opt_interval},
    {"--json", "", "one JSON line instead of text", opt_json},
    {"--output", "FILE", "write the JSON into a file", opt_output},
    {"--stats", "URL",
     "the server's counters before and after (http://127.0.0.1:8080), for\n"
     "the JSON",
     opt_stats},
    {"--assert", "TERMS", "as p99<20ms,errors=0,rate>5000: decides the exit code", opt_assert},
    {"--quiet", "", "no progress lines", opt_quiet},
    {"--allow-remote", "", "send to other addresses than loopback", opt_allow_remote},
};

static void print_option(FILE *out, const char *name, const char *value, const char *what)
{
    int used = fprintf(out, "  %s%s%s", name, *value != '\0' ? " " : "", value);
    for (const char *at = what; *at != '\0';) {
        int len = (int)slice_find(slice_of_text(at), '\n');
        fprintf(out, "%*s%.*s", used < 30 ? 30 - used : 1, "", len, at);
        at += len;
        if (*at == '\n') {
            at++;
            used = 0;
            fprintf(out, "\n");
        }
    }
    fprintf(out, "\n");
}

static int help(int code)
{
    FILE *out = code == 0 ? stdout : stderr;
    fprintf(out, "usage: ringmx-bench send --to ADDRESS:PORT --from SENDER --rcpt RECIPIENT "
                 "[options]\n");
    for (size_t i = 0; i < mx_countof(table); i++) {
        print_option(out, table[i].name, table[i].value, table[i].what);
    }
    fprintf(out, "D is N, MIN-MAX, lognormal:MEDIAN:SIGMA or N:SHARE,N:SHARE,... Kinds of hostile "
                 "clients:\n");
    for (unsigned kind = 0; kind < HOSTILE_KINDS; kind++) {
        print_option(out, hostile_word(kind), "", hostile_what(kind));
    }
    fprintf(out,
            "TERMS: times (p50, p99.9, mean, max; of a phase: mail.p99) with ns, us, ms or s;\n"
            "rate, errors, measured, overdue, first_refusal, idle_held, idle_lost, smuggled,\n"
            "begun, accepted, refused, unanswered, turned_away, unknown_refused, unknown_taken,\n"
            "bytes, connections, failed_connections, tls_full, tls_resumed. Every message\n"
            "carries X-Ringmx-Id and X-Ringmx-XXH64, the XXH64 (seed 0) of every byte behind\n"
            "that line. `ringmx-bench verify --help` says what a ledger is for. Exit code: 0 if\n"
            "every message was accepted for every recipient, or refused as expected, and all\n"
            "idle connections were held; with --assert, if all terms hold. In any case 1 if a\n"
            "hostile client smuggled a command.\n");
    return code;
}

/* --- what belongs together ---------------------------------------------------------------------
 */

static void set_defaults(struct send_options *o)
{
    (void)snprintf(o->ids, sizeof o->ids, "%llx", (unsigned long long)clock_wall_ms());
    o->cpu = -1;
    *o->load = (struct load_conf){.sessions = 1,
                                  .messages = 1,
                                  .size = distribution_fixed(4096),
                                  .per_connection = distribution_fixed(1000),
                                  .rcpts_per_message = distribution_fixed(1),
                                  .think_ms = distribution_fixed(0),
                                  .bdat_percent = 100,
                                  .pipelining = PIPELINING_GROUP,
                                  .tls_conf = {.no_resumption = true},
                                  .interval_ns = MX_NS_PER_S,
                                  .timeout_ns = 60 * MX_NS_PER_S,
                                  .seed = random_u64() >> 32,
                                  .ids = slice_of_text(o->ids)};
}

/* Options that would have no effect beside, or without, another one. */
static const struct {
    const char *name;
    bool needs; /* the other one, which otherwise excludes it */
    const char *other;
} rules[] = {
    {"--warmup", true, "--time"},
    {"--sweep", true, "--time"},
    {"--drip", true, "--hostile"},
    {"--clients", true, "--proxy"},
    {"--tls-version", true, "--tls"},
    {"--tls-resume", true, "--tls"},
    {"--sweep", false, "--messages"},
    {"--rate", false, "--arrivals"},
    {"--rate", false, "--sweep"},
    {"--think", false, "--arrivals"},
    {"--think", false, "--sweep"},
    {"--folder", false, "--size"},
    {"--no-pipelining", false, "--pipelining"},
};

static bool was_given(const bool *given, const char *name)
{
    size_t i = 0;
    while (strcmp(table[i].name, name) != 0) {
        i++;
    }
    return given[i];
}

static bool rules_kept(const bool *given)
{
    for (size_t i = 0; i < mx_countof(rules); i++) {
        if (was_given(given, rules[i].name) && was_given(given, rules[i].other) != rules[i].needs) {
            fprintf(stderr, "ringmx-bench: %s %s %s\n", rules[i].name,
                    rules[i].needs ? "needs" : "goes without", rules[i].other);
            return false;
        }
    }
    return true;
}

/* NULL, or what does not go together. */
static const char *fill_in(struct send_options *o)
{
    struct load_conf *load = o->load;
    struct dial *dial = &load->dial;
    struct slice clients =
        dial->to.family == 4 ? SLICE_LITERAL("198.18.0.0/15") : SLICE_LITERAL("2001:db8::/32");
    if (load->sessions == 0 && load->idle == 0 && hostile_clients(&load->hostile) == 0) {
        return "without sessions, idle connections and hostile clients there is nothing to do";
    }
    if (load->rcpts.count == 0) {
        return "--rcpt or --rcpt-file is needed";
    }
    if ((load->time_ns > 0 || load->sessions == 0) && !o->messages_given) {
        load->messages = 0;
    }
    if (load->sweep.steps > 0 && load->arrivals == ARRIVALS_NONE) {
        load->arrivals = ARRIVALS_POISSON;
    }
    if (load->sweep.steps > 0 && load->time_ns == 0) {
        return "--sweep needs --time";
    }
    if (load->arrivals != ARRIVALS_NONE && (load->arrivals_rate == 0) != (load->sweep.steps > 0)) {
        return "--arrivals needs a rate, and goes without one beside --sweep";
    }
    if (load->sessions == 0 && (load->messages > 0 || load->arrivals != ARRIVALS_NONE)) {
        return "without sessions no messages are sent: --messages, --arrivals and --sweep need "
               "some";
    }
    if (load->bdat_percent == 0 && load->chunk_bytes > 0) {
        return "--chunk is for BDAT, and --bdat is 0";
    }
    const struct tls_client_conf *tls = &load->tls_conf;
    if (load->tls == LOAD_TLS_OFF &&
        (tls->reuse_sessions || tls->disable_tls12 || tls->disable_tls13)) {
        return "--tls-version and --tls-resume need --tls";
    }
    if (load->tls == LOAD_TLS_IMPLICIT && hostile_clients(&load->hostile) > 0) {
        return "--hostile goes without --tls implicit: hostile clients speak in clear";
    }
    if (dial->proxy == 0 && dial->clients.addr.family != 0) {
        return "--clients needs --proxy";
    }
    load->all_rcpts = !o->rcpts_given && load->rcpts.file.ptr == NULL &&
                      load->rcpts.count <= RECIPIENTS_PER_MESSAGE_MAX;
    if (dial->clients.addr.family == 0 && netmask_parse(&dial->clients, clients) != MX_OK) {
        return "--clients";
    }
    if (dial->proxy > 0 && dial->clients.addr.family != dial->to.family) {
        return "--clients is of another family than --to";
    }
    return dial->has_source && dial->source.addr.family != dial->to.family
               ? "--source is of another family than --to"
               : NULL;
}

static bool take(struct args *args, struct send_options *o, bool *given)
{
    for (size_t i = 0; i < mx_countof(table); i++) {
        if (args_is(args, table[i].name)) {
            given[i] = true;
            table[i].take(args, o);
            return true;
        }
    }
    return false;
}

int send_options_parse(struct send_options *o, struct load_conf *load, int argc, char **argv)
{
    struct args args;
    bool given[mx_countof(table)] = {false};
    *o = (struct send_options){.load = load};
    set_defaults(o);
    args_init(&args, argc, argv);
    while (args_next(&args)) {
        if (args_is(&args, "--help")) {
            return help(0);
        }
        if (!take(&args, o, given)) {
            args_unknown(&args);
        }
    }
    if (args.failed) {
        return 2;
    }
    if (load->dial.to.family == 0) {
        return help(2);
    }
    if (!process_may_use(&load->dial.to, o->allow_remote) || !rules_kept(given)) {
        return 2;
    }
    const char *problem = fill_in(o);
    if (problem != NULL) {
        fprintf(stderr, "ringmx-bench: %s\n", problem);
        return 2;
    }
    return -1;
}
