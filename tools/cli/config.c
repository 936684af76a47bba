#include "tools/cli/base64.h"
#include "tools/cli/cli.h"
#include "tools/cli/fail.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <termios.h>
#include <unistd.h>

/* An option, else a variable; empty variables are as good as none. */
static const char *setting(const struct arguments *args, enum option_id id, const char *variable)
{
    const char *value = argument(args, id);
    if (value == NULL) {
        value = getenv(variable);
        value = value != NULL && *value == '\0' ? NULL : value;
    }
    return value;
}

static bool ask_password(struct buf *out)
{
    struct termios old, quiet;
    if (tcgetattr(STDIN_FILENO, &old) != 0) {
        return fail("no password is given and standard input is not a terminal");
    }
    quiet = old;
    quiet.c_lflag &= ~(tcflag_t)ECHO;
    tcsetattr(STDIN_FILENO, TCSAFLUSH, &quiet);
    fputs("Password: ", stderr);
    for (int c; (c = getchar()) != EOF && c != '\n';) {
        char byte = (char)c;
        buf_bytes(out, &byte, 1);
    }
    tcsetattr(STDIN_FILENO, TCSAFLUSH, &old);
    fputc('\n', stderr);
    return true;
}

static bool use_basic(struct http *http, const char *user, const char *password)
{
    struct buf typed = {0}, pair = {0}, value = {0};
    if (password == NULL && !ask_password(&typed)) {
        return false;
    }
    buf_format(&pair, "%s:%s", user, password ? password : buf_text(&typed));
    buf_add(&value, "Basic ");
    buf_base64(&value, slice_of(pair.at, pair.len));
    http->authorization = value.at;
    buf_free(&typed);
    buf_free(&pair);
    return true;
}

static bool use_bearer(struct http *http, const char *token)
{
    for (const char *c = token; *c != '\0'; c++) {
        if ((uint8_t)*c <= ' ' || *c == 0x7f) {
            return fail("the API key has characters that no token has");
        }
    }
    struct buf value = {0};
    buf_format(&value, "Bearer %s", token);
    http->authorization = value.at;
    return true;
}

bool config_resolve(struct cli *cli, bool without_credentials)
{
    const struct arguments *args = cli->args;
    struct http *http = &cli->client.http;
    const char *debug = getenv("STALWART_DEBUG");
    http->insecure = args->given[OPT_INSECURE];
    http->debug = args->given[OPT_DEBUG] || (debug != NULL && *debug != '\0');
    cli->color = !args->given[OPT_NO_COLOR] && getenv("NO_COLOR") == NULL && isatty(STDOUT_FILENO);

    const char *url = setting(args, OPT_URL, "STALWART_URL");
    if (url == NULL) {
        return fail("no URL is given (--url or STALWART_URL)");
    }
    const char *problem = url_parse(&http->url, url);
    if (problem != NULL) {
        return fail("URL '%s': %s", url, problem);
    }
    const char *user = setting(args, OPT_USER, "STALWART_USER");
    const char *token = setting(args, OPT_API_KEY, "STALWART_TOKEN");
    if (user != NULL && token != NULL) {
        return fail("a user and an API key are given; only one of them can be used");
    }
    if (token != NULL) {
        return use_bearer(http, token);
    }
    if (user != NULL) {
        return use_basic(http, user, setting(args, OPT_PASSWORD, "STALWART_PASSWORD"));
    }
    return without_credentials ||
           fail("no credentials are given (--user and --password, or --api-key)");
}
