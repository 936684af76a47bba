#include "tools/cli/cli.h"

#include "core/text.h"
#include "tools/cli/fail.h"
#include "tools/cli/schema.h"
#include "tools/cli/value.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

enum { EXIT_USAGE = 2, OBJECTS_MAX = 1000 };

#define JSON_OUT                                                          \
    {                                                                     \
        OPT_JSON, "json", 0, NULL, false, "JSON instead of readable text" \
    }
#define FIELDS                                                        \
    {                                                                 \
        OPT_FIELDS, "fields", 0, "A,B", true, "only these properties" \
    }
#define END          \
    {                \
        .name = NULL \
    }

static const struct option_spec no_options[] = {END};
static const struct option_spec json_options[] = {JSON_OUT, END};
static const struct option_spec get_options[] = {FIELDS, JSON_OUT, END};
static const struct option_spec query_options[] = {
    {OPT_WHERE, "where", 0, "FILTER", true, "FIELD=VALUE, or >=, <=, >, <; all must hold"},
    FIELDS,
    JSON_OUT,
    END,
};
static const struct option_spec input_options[] = {
    {OPT_FIELD, "field", 0, "KEY=VALUE", true, "one property; JSON if VALUE begins with { or ["},
    {OPT_JSON_TEXT, "json", 0, "JSON", false, "all of it, as a JSON object"},
    {OPT_FILE, "file", 0, "PATH", false, "the same from a file"},
    {OPT_STDIN, "stdin", 0, NULL, false, "the same from standard input"},
    END,
};
static const struct option_spec delete_options[] = {
    {OPT_IDS, "ids", 0, "ID,ID", false, "the objects"},
    {OPT_STDIN, "stdin", 0, NULL, false, "ids from standard input: a JSON array, or separated"},
    END,
};

static const struct option_spec apply_options[] = {
    {OPT_FILE, "file", 0, "PATH", false, "the plan"},
    {OPT_STDIN, "stdin", 0, NULL, false, "the plan from standard input"},
    {OPT_DRY_RUN, "dry-run", 0, NULL, false, "check the plan, change nothing"},
    {OPT_EXPLAIN, "explain", 0, "PATH", false,
     "with --dry-run: recipients, one a line; says which would go elsewhere or otherwise"},
    {OPT_CONTINUE, "continue-on-error", 0, NULL, false, "go on after an operation that failed"},
    {OPT_QUIET, "quiet", 0, NULL, false, "only errors and the summary"},
    {OPT_JSON, "json", 0, NULL, false, "a JSON record for each operation, and a summary"},
    {OPT_PROGRESS, "progress", 0, NULL, false, "a line for each batch"},
    END,
};

static const struct option_spec snapshot_options[] = {
    {OPT_OUTPUT, "output", 0, "PATH", false, "write the plan to a file"},
    {OPT_INCLUDE_SECRETS, "include-secrets", 0, NULL, false, "secrets as the server gives them"},
    {OPT_ALLOW_UNRESOLVED, "allow-unresolved", 0, "A,B", true, "leave out references to these"},
    {OPT_QUIET, "quiet", 0, NULL, false, "no progress on standard error"},
    END,
};

#define ROUNDS                                                            \
    {OPT_INTERVAL, "interval", 0, "SECONDS", false, "from look to look"}, \
    {                                                                     \
        OPT_COUNT_ROUNDS, "count", 0, "N", false, "end after so many"     \
    }
static const struct option_spec stats_options[] = {
    JSON_OUT,
    {OPT_WATCH, "watch", 0, NULL, false, "again and again"},
    ROUNDS,
    END,
};
static const struct option_spec top_options[] = {
    {OPT_ONCE, "once", 0, NULL, false, "one view, then end"},
    ROUNDS,
    END,
};
static const struct option_spec explain_options[] = {
    {OPT_FROM, "from", 0, "SENDER", false, "envelope sender; the null sender without it"},
    {OPT_IP, "ip", 0, "ADDRESS", false, "address of the client"},
    {OPT_LISTENER, "listener", 0, "NAME", false, "listener that it connects to"},
    {OPT_HELO, "helo", 0, "NAME", false, "name that it gives at EHLO"},
    {OPT_SIZE, "size", 0, "BYTES", false, "size that it declares"},
    JSON_OUT,
    END,
};

static const struct option_spec queue_options[] = {
    {OPT_FROM, "from", 0, "TEXT", false, "part of the sender; <>: the null sender"},
    {OPT_TO, "to", 0, "TEXT", false, "part of a recipient"},
    {OPT_TEXT, "text", 0, "TEXT", false, "part of either"},
    {OPT_NEXT_HOP, "next-hop", 0, "NAME", false, "ROUTE or ROUTE:DOMAIN of the last attempt"},
    {OPT_ERROR, "error", 0, "TEXT", false, "part of the last reply"},
    {OPT_STATUS, "status", 0, "WORD", false, "fresh, deferred, held or damaged"},
    {OPT_OLDER, "older", 0, "TIME", false,
     "accepted longer ago than 30m, 2h, 7d; or before a date"},
    {OPT_NEWER, "newer", 0, "TIME", false, "the opposite"},
    {OPT_DUE_BEFORE, "due-before", 0, "TIME", false, "next attempt within, or before a date"},
    {OPT_DUE_AFTER, "due-after", 0, "TIME", false, "the opposite"},
    {OPT_ALL, "all", 0, NULL, false, "changes: all messages"},
    {OPT_RCPT, "rcpt", 0, "ADDRESS", true, "changes by id: only this recipient"},
    {OPT_AT, "at", 0, "TIME", false, "expire, retry: then"},
    {OPT_LIMIT, "limit", 0, "N", false, "list: so many (50)"},
    {OPT_POSITION, "position", 0, "N", false, "list: from this one on"},
    {OPT_AFTER, "after", 0, "QUEUE-ID", false, "list: behind this one"},
    {OPT_SORT, "sort", 0, "due", false, "list: by the next attempt, not newest first"},
    {OPT_TOTAL, "total", 0, NULL, false, "list: also how many there are"},
    {OPT_HEADERS, "headers", 0, NULL, false, "content: only the header"},
    {OPT_ROUTE, "route", 0, "NAME", false, "pause, resume: only this route"},
    {OPT_QUEUE, "queue", 0, "NAME", false,
     "virtual queue of the last attempt; pause, resume: only this one"},
    JSON_OUT,
    END,
};

const struct command commands[] = {
    {"describe", "[NAME[/VARIANT]]", "Objects and enums of the schema, or the fields of one", 0, 1,
     false, no_options, command_describe},
    {"get", "OBJECT [ID]", "Show one object", 1, 2, false, get_options, command_get},
    {"query", "OBJECT", "Find objects", 1, 1, false, query_options, command_query},
    {"create", "OBJECT[/VARIANT]", "Create an object", 1, 1, false, input_options, command_create},
    {"update", "OBJECT [ID]", "Change an object", 1, 2, false, input_options, command_update},
    {"delete", "OBJECT", "Delete objects", 1, 1, false, delete_options, command_delete},
    {"apply", "", "Carry out a plan: one operation as JSON on each line", 0, 0, false,
     apply_options, command_apply},
    {"snapshot", "OBJECT ...", "Write objects as a plan for apply", 1, OBJECTS_MAX, false,
     snapshot_options, command_snapshot},
    {"explain", "RECIPIENT",
     "What would become of mail, and why (exit: 0 delivered here, 3 relayed, 4 refused, 5 later)",
     1, 1, true, explain_options, command_explain},
    {"queue", "VERB [QUEUE-ID ...]",
     "list, show, content, shape; hold, release, retry, expire, cancel (no report), bounce (with "
     "report); pause, resume (exit: 0 done, 1 failed or refused, 3 nothing found to change)",
     1, OBJECTS_MAX, false, queue_options, command_queue},
    {"trace", "QUEUE-ID|ADDRESS|CLIENT",
     "What happened to a message, to mail of an address, or to a client or network, from the\n"
     "connection to the outcome",
     1, 1, true, json_options, command_trace},
    {"stats", "", "Statistics of the server", 0, 0, true, stats_options, command_stats},
    {"top", "", "What every core does now", 0, 0, true, top_options, command_top},
    {"health", "", "Is it alive, would it take a message", 0, 0, true, json_options,
     command_health},
    {.name = NULL},
};

json_t *cli_post(struct cli *cli, const char *path, const json_t *asked)
{
    struct buf body = {0};
    struct http_reply reply;
    json_t *answer = NULL;
    put_json(&body, asked);
    if (http_call(&cli->client.http, "POST", path, &body, &reply)) {
        answer = json_loadb(buf_text(&reply.body), reply.body.len, 0, NULL);
        const char *detail = member_text(answer, "detail");
        if (reply.status != 200) {
            (void)(reply.status == 400 && detail != NULL ? fail("%s", detail) : fail_reply(&reply));
            json_decref(answer);
            answer = NULL;
        } else if (answer == NULL) {
            (void)fail("unexpected server response: %s is not JSON", path);
        }
    }
    http_reply_free(&reply);
    buf_free(&body);
    return answer;
}

const char *cli_object(struct cli *cli)
{
    const char *typed = cli->args->plain.items[0];
    if (strchr(typed, '/') != NULL) {
        fail("OBJECT/VARIANT is for create only");
        return NULL;
    }
    return schema_object(cli->client.schema, typed);
}

const char *cli_id(struct cli *cli, const char *object)
{
    const char *typed = cli->args->plain.count > 1 ? cli->args->plain.items[1] : NULL;
    if (schema_is_singleton(cli->client.schema, object)) {
        if (typed != NULL && strcmp(typed, "singleton") != 0) {
            fail("singleton id must be 'singleton'");
            return NULL;
        }
        return "singleton";
    }
    if (typed == NULL || *typed == '\0') {
        fail("%s requires an id", schema_display(object));
        return NULL;
    }
    return typed;
}

static bool end_printing(struct buf *out)
{
    buf_free(out);
    if (fflush(stdout) == 0) {
        return true;
    }
    if (errno == EPIPE) {
        _exit(0); /* whoever read it has seen enough */
    }
    return fail("standard output: %s", strerror(errno));
}

bool cli_print_bytes(struct buf *out)
{
    fwrite(buf_text(out), 1, out->len, stdout);
    return end_printing(out);
}

bool cli_print(struct buf *out)
{
    struct slice rest = slice_of(buf_text(out), out->len);
    while (rest.len > 0) {
        size_t plain = slice_find(rest, 0xc2);
        bool whole = plain + 1 < rest.len;
        bool control = whole && text_is_control(slice_first(slice_from(rest, plain), 2));
        fwrite(rest.ptr, 1, plain, stdout);
        if (control) {
            fprintf(stdout, "\\u00%02x", rest.ptr[plain + 1]);
        } else {
            fwrite(rest.ptr + plain, 1, plain < rest.len, stdout);
        }
        rest = slice_from(rest, mx_min_size(plain + (control ? 2 : 1), rest.len));
    }
    return end_printing(out);
}

static bool run(struct cli *cli)
{
    const struct command *command = cli->args->command;
    return config_resolve(cli, command->without_schema) &&
           (command->without_schema || client_start(&cli->client)) && command->run(cli);
}

static int report(void)
{
    struct buf line = {0};
    bool color = isatty(STDERR_FILENO) && getenv("NO_COLOR") == NULL;
    buf_styled(&line, color, STYLE_RED, "error:");
    fprintf(stderr, "%s %s\n", line.at, fail_text());
    buf_free(&line);
    return EXIT_FAILURE;
}

int main(int argc, char **argv)
{
    struct arguments args;
    signal(SIGPIPE, SIG_IGN);
    if (!arguments_parse(&args, argc, argv)) {
        arguments_free(&args);
        return EXIT_USAGE;
    }
    int code = EXIT_SUCCESS;
    if (args.given[OPT_HELP]) {
        print_help(args.command);
    } else if (args.given[OPT_VERSION]) {
        puts("ringmx-cli " RINGMX_VERSION);
    } else {
        struct cli cli = {.args = &args};
        code = run(&cli) ? cli.exit_code : report();
        client_free(&cli.client);
    }
    arguments_free(&args);
    return code;
}
