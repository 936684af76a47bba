#include "tools/cli/options.h"

#include "tools/cli/fail.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define END          \
    {                \
        .name = NULL \
    }

static const struct option_spec global_options[] = {
    {OPT_URL, "url", 0, "URL", false,
     "the server, for example https://mx.example.org [STALWART_URL]"},
    {OPT_USER, "user", 0, "NAME", false, "user of Basic authentication [STALWART_USER]"},
    {OPT_PASSWORD, "password", 0, "TEXT", false,
     "its password; asked for on a terminal [STALWART_PASSWORD]"},
    {OPT_API_KEY, "api-key", 0, "TOKEN", false, "bearer token, instead of a user [STALWART_TOKEN]"},
    {OPT_INSECURE, "insecure", 'k', NULL, false, "check neither certificate nor host name"},
    {OPT_NO_COLOR, "no-color", 0, NULL, false, "no colours [NO_COLOR]"},
    {OPT_DEBUG, "debug", 0, NULL, false,
     "every request and response on standard error [STALWART_DEBUG]"},
    {OPT_HELP, "help", 'h', NULL, true, "this help"},
    {OPT_VERSION, "version", 'V', NULL, false, "the version"},
    END,
};

const char *argument(const struct arguments *args, enum option_id id)
{
    const struct values *values = &args->values[id];
    return values->count > 0 ? values->items[values->count - 1] : NULL;
}

void arguments_free(struct arguments *args)
{
    for (size_t i = 0; i < OPT_COUNT; i++) {
        free(args->values[i].items);
    }
    free(args->plain.items);
}

static void value_add(struct values *values, const char *value)
{
    values->items = need(realloc(values->items, (values->count + 1) * sizeof *values->items));
    values->items[values->count++] = value;
}

/* --- help --------------------------------------------------------------------------------------
 */

static void print_options(const struct option_spec *options)
{
    for (; options->name != NULL; options++) {
        char left[64];
        snprintf(left, sizeof left, "%c%c%s --%s%s%s", options->letter ? '-' : ' ',
                 options->letter ? options->letter : ' ', options->letter ? "," : " ",
                 options->name, options->value ? " " : "", options->value ? options->value : "");
        printf("  %-32s %s\n", left, options->help);
    }
}

void print_help(const struct command *command)
{
    if (command == NULL) {
        puts("Manages a running ringmx.\n\nUsage: ringmx-cli [OPTIONS] COMMAND ...\n\nCommands:");
        for (const struct command *c = commands; c->name != NULL; c++) {
            printf("  %-32s %s\n", c->name, c->help);
        }
        printf("  %-32s %s\n", "help", "This help, or that of a command");
    } else {
        printf("%s\n\nUsage: ringmx-cli %s [OPTIONS] %s\n", command->help, command->name,
               command->arguments);
        if (command->options->name != NULL) {
            puts("\nOptions:");
            print_options(command->options);
        }
    }
    puts("\nOptions of every command:");
    print_options(global_options);
}

/* --- parsing -----------------------------------------------------------------------------------
 */

struct scan {
    struct arguments *args;
    char **argv;
    int argc, at;
};

MX_PRINTF(2, 3) static bool wrong(const struct scan *scan, const char *format, ...)
{
    const struct command *command = scan->args->command;
    va_list args;
    va_start(args, format);
    fputs("error: ", stderr);
    vfprintf(stderr, format, args);
    va_end(args);
    fprintf(stderr, "\n\nUsage: ringmx-cli %s [OPTIONS] %s\nTry --help.\n",
            command ? command->name : "COMMAND", command ? command->arguments : "...");
    return false;
}

static const struct option_spec *option_in(const struct option_spec *options, const char *name,
                                           size_t len)
{
    for (; options->name != NULL; options++) {
        bool by_letter = len == 1 && options->letter == *name;
        bool by_name =
            len > 1 && strlen(options->name) == len && memcmp(options->name, name, len) == 0;
        if (by_letter || by_name) {
            return options;
        }
    }
    return NULL;
}

static bool take_option(struct scan *scan, const char *text, const char *name, size_t len)
{
    struct arguments *args = scan->args;
    const struct option_spec *option = option_in(global_options, name, len);
    if (option == NULL && args->command != NULL) {
        option = option_in(args->command->options, name, len);
    }
    if (option == NULL) {
        return wrong(scan, "there is no option %s here", text);
    }
    if (args->given[option->id] && !option->many) {
        return wrong(scan, "%s can be given only once", text);
    }
    args->given[option->id] = true;
    const char *value = name[len] == '=' ? name + len + 1 : NULL;
    if (option->value == NULL) {
        return value == NULL || wrong(scan, "%s takes no value", text);
    }
    if (value == NULL && scan->at < scan->argc &&
        (scan->argv[scan->at][0] != '-' || scan->argv[scan->at][1] == '\0')) {
        value = scan->argv[scan->at++];
    }
    if (value == NULL) {
        return wrong(scan, "%s needs a value (one that begins with '-' as OPTION=VALUE)", text);
    }
    value_add(&args->values[option->id], value);
    return true;
}

static bool take_plain(struct scan *scan, const char *text)
{
    struct arguments *args = scan->args;
    if (args->command != NULL) {
        value_add(&args->plain, text);
        return args->plain.count <= args->command->max || wrong(scan, "what is %s?", text);
    }
    for (const struct command *c = commands; c->name != NULL; c++) {
        if (strcmp(c->name, text) == 0) {
            args->command = c;
            return true;
        }
    }
    if (strcmp(text, "help") == 0) {
        args->given[OPT_HELP] = true; /* of the command that follows, if one does */
        return true;
    }
    return wrong(scan, "there is no command %s", text);
}

static bool take(struct scan *scan, bool *options_ended)
{
    const char *text = scan->argv[scan->at++];
    if (*options_ended || text[0] != '-' || text[1] == '\0') {
        return take_plain(scan, text);
    }
    if (strcmp(text, "--") == 0) {
        *options_ended = true;
        return true;
    }
    if (text[1] == '-') {
        return take_option(scan, text, text + 2, strcspn(text + 2, "="));
    }
    return text[2] == '\0' ? take_option(scan, text, text + 1, 1)
                           : wrong(scan, "there is no option %s here", text);
}

bool arguments_parse(struct arguments *out, int argc, char **argv)
{
    *out = (struct arguments){0};
    struct scan scan = {.args = out, .argv = argv, .argc = argc, .at = 1};
    bool options_ended = false;
    while (scan.at < argc) {
        if (!take(&scan, &options_ended)) {
            return false;
        }
    }
    if (out->given[OPT_HELP] || out->given[OPT_VERSION]) {
        return true;
    }
    if (out->command == NULL) {
        return wrong(&scan, "a command is missing");
    }
    return out->plain.count >= out->command->min || wrong(&scan, "an argument is missing");
}
