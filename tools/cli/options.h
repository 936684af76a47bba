/* The grammar of the command line, as one table of commands and their options. */
#pragma once

#include "core/base.h"

enum option_id {
    OPT_URL,
    OPT_USER,
    OPT_PASSWORD,
    OPT_API_KEY,
    OPT_INSECURE,
    OPT_NO_COLOR,
    OPT_DEBUG,
    OPT_HELP,
    OPT_VERSION,
    OPT_FIELDS,
    OPT_JSON,      /* a flag: output */
    OPT_JSON_TEXT, /* a value: input */
    OPT_WHERE,
    OPT_FIELD,
    OPT_FILE,
    OPT_STDIN,
    OPT_IDS,
    OPT_DRY_RUN,
    OPT_CONTINUE,
    OPT_QUIET,
    OPT_PROGRESS,
    OPT_OUTPUT,
    OPT_INCLUDE_SECRETS,
    OPT_ALLOW_UNRESOLVED,
    OPT_WATCH,
    OPT_ONCE,
    OPT_INTERVAL,
    OPT_COUNT_ROUNDS,
    OPT_EXPLAIN,
    OPT_FROM,
    OPT_IP,
    OPT_LISTENER,
    OPT_HELO,
    OPT_SIZE,
    OPT_TO,
    OPT_TEXT,
    OPT_NEXT_HOP,
    OPT_ERROR,
    OPT_STATUS,
    OPT_OLDER,
    OPT_NEWER,
    OPT_DUE_BEFORE,
    OPT_DUE_AFTER,
    OPT_LIMIT,
    OPT_POSITION,
    OPT_AFTER,
    OPT_SORT,
    OPT_TOTAL,
    OPT_HEADERS,
    OPT_AT,
    OPT_RCPT,
    OPT_ALL,
    OPT_ROUTE,
    OPT_QUEUE,
    OPT_COUNT,
};

struct option_spec {
    enum option_id id;
    const char *name;  /* without dashes */
    char letter;       /* 0 = none */
    const char *value; /* its name in the help; NULL = a flag */
    bool many;         /* may be repeated */
    const char *help;
};

struct cli;

struct command {
    const char *name;
    const char *arguments; /* for the help: "OBJECT [ID]" */
    const char *help;
    unsigned min, max; /* arguments */
    bool without_schema;
    const struct option_spec *options; /* ended by one without a name */
    bool (*run)(struct cli *cli);
};

struct values {
    const char **items; /* owned array of borrowed texts */
    size_t count;
};

struct arguments {
    const struct command *command; /* NULL: only --help or --version */
    struct values values[OPT_COUNT];
    bool given[OPT_COUNT];
    struct values plain;
};

/* Ended by one without a name. */
extern const struct command commands[];

/* False: wrong use; the reason and the right one were printed to standard error. */
bool arguments_parse(struct arguments *out, int argc, char **argv);
void arguments_free(struct arguments *args);
/* The last value of an option, or NULL. */
const char *argument(const struct arguments *args, enum option_id id);
/* Help for one command, or for all (NULL), to standard output. */
void print_help(const struct command *command);
