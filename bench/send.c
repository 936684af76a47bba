#include "bench/send.h"

#include "bench/process.h"
#include "bench/report.h"
#include "bench/scrape.h"
#include "bench/send_options.h"

#include <stdlib.h>
#include <sys/prctl.h>
#include <unistd.h>

/* Replies are short: small buffers are found in the cache again. */
enum { BLOCKS_MAX = 65536, RECV_BUFS = 512, RECV_BUF_BYTES = 1024 };

static void on_point(struct load *load, const struct load_point *point)
{
    report_point(load, point, stderr, isatty(STDERR_FILENO) == 1);
}

static mx_err start(struct load *load, const struct send_options *options)
{
    struct shard_conf conf = {.count = 1,
                              .cpu = options->cpu,
                              .blocks_max = BLOCKS_MAX,
                              .log_level = LOG_WARN,
                              .ring = {.recv_bufs = RECV_BUFS, .recv_buf_bytes = RECV_BUF_BYTES}};
    process_raise_files();
    (void)prctl(PR_SET_TIMERSLACK, 1UL, 0UL, 0UL, 0UL); /* arrivals are met to the microsecond */
    mx_err err = shard_init(&load->shard, &conf);
    err = err ? err : shard_open(&load->shard);
    return err ? err : load_init(load);
}

static json_t *scrape(const struct send_options *options, bool *out_failed)
{
    const char *problem = NULL;
    if (options->stats == NULL) {
        return NULL;
    }
    json_t *stats = scrape_stats(options->stats, options->allow_remote, &problem);
    if (stats == NULL) {
        fprintf(stderr, "ringmx-bench: --stats: %s\n", problem);
        *out_failed = true;
    }
    return stats;
}

static bool write_output(const char *path, json_t *json)
{
    if (path != NULL && json_dump_file(json, path, JSON_COMPACT) != 0) {
        fprintf(stderr, "ringmx-bench: %s cannot be written\n", path);
        return false;
    }
    return true;
}

/* Before hours of load, not after. */
static bool output_opens(const char *path)
{
    FILE *file = path == NULL ? NULL : fopen(path, "a");
    if (path != NULL && file == NULL) {
        fprintf(stderr, "ringmx-bench: %s cannot be written\n", path);
        return false;
    }
    return file == NULL || fclose(file) == 0;
}

static bool tell(const struct report *report, const struct send_options *options)
{
    json_t *json = report_json(report);
    if (options->json) {
        (void)json_dumpf(json, stdout, JSON_COMPACT);
        printf("\n");
    } else {
        report_text(report, stdout);
    }
    bool told = fflush(stdout) == 0 && ferror(stdout) == 0;
    if (!told) {
        fprintf(stderr, "ringmx-bench: the standard output cannot be written\n");
    }
    bool good = write_output(options->output, json) && told;
    json_decref(json);
    return good;
}

/* Whatever was asserted: a server that can be talked into that is broken. */
static bool none_smuggled(const struct load *load)
{
    uint64_t smuggled = hostile_smuggled(&load->hostile);
    if (smuggled > 0) {
        fprintf(stderr,
                "ringmx-bench: on %llu connections the server answered commands that stood in the "
                "content of a message (SMTP smuggling with bare LF)\n",
                (unsigned long long)smuggled);
    }
    return smuggled == 0;
}

static bool is_good(const struct load *load, const struct send_options *options)
{
    const struct load_counts *counts = &load->stats.counts;
    bool complete = load_completed(counts) == counts->begun && counts->begun >= load->conf.messages;
    if (load->ledger.err) {
        fprintf(stderr, "ringmx-bench: the ledger is not complete: %s\n",
                err_text(load->ledger.err));
        return false;
    }
    if (load->idle_up < load->conf.idle) {
        fprintf(stderr, "ringmx-bench: only %llu of %u idle connections were held\n",
                (unsigned long long)load->idle_up, load->conf.idle);
        complete = false;
    }
    return options->asserts.count > 0 ? report_check(load, &options->asserts, stderr) : complete;
}

static int run(struct load *load, const struct send_options *options, json_t *command)
{
    bool failed = false;
    struct report report = {.load = load, .command = command};
    const volatile int *stop = process_stop(PROCESS_WAITS_GO_ON); /* from now on */
    mx_err err = start(load, options);
    if (err) {
        fprintf(stderr, "ringmx-bench: cannot start: %s\n", err_text(err));
        return 1;
    }
    report.stats_before = scrape(options, &failed);
    if (failed) {
        return 1;
    }
    load->on_point = options->quiet ? NULL : on_point;
    load_run(load, stop);
    if (!options->quiet && isatty(STDERR_FILENO) == 1) {
        fprintf(stderr, "\n");
    }
    report.stats_after = scrape(options, &failed);
    failed = !tell(&report, options) || failed;
    failed = !is_good(load, options) || failed;
    failed = !none_smuggled(load) || failed;
    json_decref(report.stats_before);
    json_decref(report.stats_after);
    load_fini(load);
    return failed ? 1 : 0;
}

static json_t *words_of(int argc, char **argv)
{
    json_t *words = json_array();
    for (int i = 0; i < argc; i++) {
        (void)json_array_append_new(words, json_string(argv[i]));
    }
    return words;
}

int send_command(int argc, char **argv)
{
    static struct load load; /* too large for the stack; lives as long as the process */
    static struct send_options options;
    json_t *command = words_of(argc, argv);
    int code = send_options_parse(&options, &load.conf, argc, argv);
    if (code < 0) {
        mx_err err = options.ledger == NULL ? MX_OK : ledger_open(&load.ledger, options.ledger);
        if (err) {
            fprintf(stderr, "ringmx-bench: %s: %s\n", options.ledger, err_text(err));
            code = 1;
        } else {
            code = output_opens(options.output) ? run(&load, &options, command) : 1;
        }
    }
    json_decref(command);
    return code;
}
