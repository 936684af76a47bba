/* What every command gets: the parsed command line and the server. */
#pragma once

#include "tools/cli/client.h"
#include "tools/cli/options.h"

struct cli {
    const struct arguments *args;
    bool color; /* on standard output */
    struct client client;
    int exit_code; /* of a command that did what it was to do */
};

/* Address and credentials from options and environment. without_credentials: they may be absent.
 */
bool config_resolve(struct cli *cli, bool without_credentials);

/* The object that the command names, as in the schema ("x:Domain"), or NULL. */
const char *cli_object(struct cli *cli);
/* The id that the command names: `singleton` for singletons, else required. NULL: failure. */
const char *cli_id(struct cli *cli, const char *object);
/* Writes out to standard output and frees it. False: it cannot be written. Controls C1, which a
 * stranger's address may hold (RFC 6531), are written as JSON has them, \u009b: some terminals obey
 * them. Others are in no text that a server keeps. */
bool cli_print(struct buf *out);
/* The same byte by byte. */
bool cli_print_bytes(struct buf *out);

/* Asks a page that takes and gives JSON: the answer, a new reference; NULL: failure, and said. */
json_t *cli_post(struct cli *cli, const char *path, const json_t *asked);

bool command_describe(struct cli *cli);
bool command_get(struct cli *cli);
bool command_query(struct cli *cli);
bool command_create(struct cli *cli);
bool command_update(struct cli *cli);
bool command_delete(struct cli *cli);
bool command_apply(struct cli *cli);
bool command_snapshot(struct cli *cli);
bool command_stats(struct cli *cli);
bool command_top(struct cli *cli);
bool command_health(struct cli *cli);
bool command_explain(struct cli *cli);
bool command_trace(struct cli *cli);
bool command_queue(struct cli *cli);
