/* The ringmx program: one binary for the server and its offline commands. */
#include "admin/bootstrap.h"
#include "admin/doctor.h"
#include "admin/plan.h"
#include "admin/queue_cmd.h"
#include "admin/reference.h"
#include "admin/server.h"
#include "admin/statistics.h"
#include "core/text.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Read by jemalloc (jemalloc(3), "TUNING"): pools and buffers lie in large pages. A core goes
 * through a few megabytes for every batch of messages, and page walks were a tenth of its time. */
extern const char *malloc_conf;
const char *malloc_conf = "thp:always";

static void help(FILE *out)
{
    fprintf(
        out,
        "ringmx " RINGMX_VERSION ": inbound mail exchanger\n"
        "\n"
        "  ringmx serve --data DIR [options]     receive, route and deliver mail\n"
        "      --cores N          threads; default: one per CPU\n"
        "      --http ADDR:PORT   management endpoint; default " SERVER_HTTP_DEFAULT
        " (RINGMX_HTTP);\n"
        "                         off: none\n"
        "      --user NAME        become this user once the ports are bound\n"
        "      --memory MIB       per core, for content and output; default 256\n"
        "      --log LEVEL        error, warn, info (default), debug\n"
        "      --log-format F     key-value (default), json\n"
        "      --log-file PATH    instead of standard error; SIGHUP opens it anew\n"
        "      --delivery on|off  off: accept and queue only\n"
        "      --core-dumps       a crash may leave a core, which holds keys and mail\n"
        "      --no-pin           do not pin threads to CPUs\n"
        "      --writable DIR     a folder outside DIR that links in it lead to; up to 16 times\n"
        "      --no-sandbox       neither Landlock nor a filter of system calls (for debugging)\n"
        "      --retry-ms N       every retry after N ms instead of the schedule (for tests)\n"
        "                         These hold until the next start; all else changes while it "
        "runs.\n"
        "  ringmx apply --data DIR [--dry-run] PLAN   change the configuration (server stopped);\n"
        "                         -: the plan from standard input\n"
        "      --explain FILE     with --dry-run: which of these recipients would go another way\n"
        "  ringmx queue list --data DIR          what is queued (server stopped)\n"
        "  ringmx queue show ID --data DIR\n"
        "  ringmx admin renew|remove --data DIR  the built-in administrator (server stopped)\n"
        "  ringmx doctor [--data DIR]            check kernel, limits and libraries\n"
        "  ringmx reference                      the configuration objects, as Markdown\n"
        "  ringmx reference expressions|statistics  the expression language, or what is counted\n"
        "  ringmx version\n"
        "\n"
        "Environment of serve:\n"
        "  STALWART_RECOVERY_ADMIN=USER:PASSWORD  an administrator past all accounts\n"
        "  STALWART_RECOVERY_MODE=1               only the management endpoint: no mail\n"
        "  STALWART_RECOVERY_MODE_PORT=PORT       its port then\n"
        "  STALWART_PUBLIC_URL=URL                in all that is advertised\n");
}

static int usage(const char *problem, const char *what)
{
    fprintf(stderr, "ringmx: %s%s%s\n", problem, what[0] != '\0' ? ": " : "", what);
    fprintf(stderr, "ringmx help shows the commands\n");
    return 2;
}

static bool number_option(const char *text, uint64_t max, uint64_t *out)
{
    uint64_t value;
    if (text == NULL || text_to_u64(&value, slice_of_text(text)) != MX_OK || value > max) {
        return false;
    }
    *out = value;
    return true;
}

static bool level_option(const char *text, enum log_level *out)
{
    static const char *const names[] = {"error", "warn", "info", "debug"};
    for (size_t i = 0; text != NULL && i < mx_countof(names); i++) {
        if (strcmp(text, names[i]) == 0) {
            *out = (enum log_level)i;
            return true;
        }
    }
    return false;
}

static bool format_option(const char *text, enum log_format *out)
{
    static const char *const names[] = {[LOG_KEY_VALUE] = "key-value", [LOG_JSON] = "json"};
    for (size_t i = 0; text != NULL && i < mx_countof(names); i++) {
        if (strcmp(text, names[i]) == 0) {
            *out = (enum log_format)i;
            return true;
        }
    }
    return false;
}

/* One option of serve with its value; false: unknown or malformed. */
static bool serve_option(struct server_options *o, const char *name, const char *value)
{
    uint64_t number = 0;
    if (strcmp(name, "--data") == 0) {
        o->data_dir = value;
        return value != NULL;
    }
    if (strcmp(name, "--user") == 0) {
        o->user = value;
        return value != NULL;
    }
    if (strcmp(name, "--writable") == 0 && o->writable_count < SERVER_WRITABLE_MAX) {
        o->writable[o->writable_count++] = value;
        return value != NULL && value[0] == '/';
    }
    if (strcmp(name, "--http") == 0) {
        o->http = value;
        return value != NULL;
    }
    if (strcmp(name, "--log") == 0) {
        return level_option(value, &o->log_level);
    }
    if (strcmp(name, "--log-format") == 0) {
        return format_option(value, &o->log_output.format);
    }
    if (strcmp(name, "--log-file") == 0) {
        o->log_output.path = value;
        return value != NULL;
    }
    if (strcmp(name, "--delivery") == 0 && value != NULL) {
        o->delivery_off = strcmp(value, "off") == 0;
        return o->delivery_off || strcmp(value, "on") == 0;
    }
    if (strcmp(name, "--cores") == 0 && number_option(value, SERVER_CORES_MAX, &number)) {
        o->cores = (unsigned)number;
        return number > 0;
    }
    if (strcmp(name, "--memory") == 0 && number_option(value, 1024 * 1024, &number)) {
        o->memory_bytes = number << 20;
        return number >= 16;
    }
    if (strcmp(name, "--retry-ms") == 0 && number_option(value, UINT32_MAX, &number)) {
        o->retry_ms = number;
        return true;
    }
    return false;
}

/* One option of serve without a value. */
static bool serve_switch(struct server_options *o, const char *name)
{
    const struct {
        const char *name;
        bool *value;
    } switches[] = {{"--no-pin", &o->no_pin},
                    {"--core-dumps", &o->core_dumps},
                    {"--no-sandbox", &o->no_sandbox}};
    for (size_t i = 0; i < mx_countof(switches); i++) {
        if (strcmp(name, switches[i].name) == 0) {
            *switches[i].value = true;
            return true;
        }
    }
    return false;
}

static int serve(int argc, char **argv)
{
    const char *http = getenv("RINGMX_HTTP");
    struct server_options options = {.log_level = LOG_INFO,
                                     .http = http != NULL ? http : SERVER_HTTP_DEFAULT};
    for (int i = 1; i < argc; i++) {
        char name[32];
        const char *equals = strchr(argv[i], '=');
        if (serve_switch(&options, argv[i])) {
            continue;
        }
        size_t len = equals != NULL ? (size_t)(equals - argv[i]) : strlen(argv[i]);
        if (len >= sizeof name) {
            return usage("unknown option", argv[i]);
        }
        memcpy(name, argv[i], len);
        name[len] = '\0';
        const char *value = equals != NULL ? equals + 1 : i + 1 < argc ? argv[++i] : NULL;
        if (!serve_option(&options, name, value)) {
            return usage("unknown option or unusable value",
                         argv[equals != NULL ? i : i - (value != NULL)]);
        }
    }
    if (options.data_dir == NULL) {
        return usage("serve needs --data DIR", "");
    }
    return server_run(&options);
}

static int doctor(int argc, char **argv)
{
    const char *data = NULL;
    if (argc == 3 && strcmp(argv[1], "--data") == 0) {
        data = argv[2];
    } else if (argc != 1) {
        return usage("doctor takes only --data DIR", "");
    }
    return doctor_run(stdout, data);
}

static int reference(int argc, char **argv)
{
    static const struct {
        const char *name;
        void (*print)(FILE *out);
    } pages[] = {{"expressions", reference_print_expressions}, {"statistics", statistics_print}};
    if (argc < 2) {
        reference_print(stdout);
        return 0;
    }
    for (size_t i = 0; i < mx_countof(pages); i++) {
        if (strcmp(argv[1], pages[i].name) == 0) {
            pages[i].print(stdout);
            return 0;
        }
    }
    return usage("no such page of the reference", argv[1]);
}

static bool asks_for_help(int argc, char **argv)
{
    const char *last = argc > 1 ? argv[argc - 1] : "";
    return strcmp(last, "--help") == 0 || strcmp(last, "-h") == 0;
}

int main(int argc, char **argv)
{
    const char *command = argc > 1 ? argv[1] : "";
    if (asks_for_help(argc, argv) || strcmp(command, "help") == 0) {
        help(stdout);
        return 0;
    }
    if (strcmp(command, "serve") == 0) {
        return serve(argc - 1, argv + 1);
    }
    if (strcmp(command, "apply") == 0) {
        return plan_apply_command(argc - 1, argv + 1, stdout, stderr);
    }
    if (strcmp(command, "queue") == 0) {
        return queue_command(argc - 1, argv + 1, stdout, stderr);
    }
    if (strcmp(command, "admin") == 0) {
        return bootstrap_command(argc - 1, argv + 1, stdout, stderr);
    }
    if (strcmp(command, "doctor") == 0) {
        return doctor(argc - 1, argv + 1);
    }
    if (strcmp(command, "reference") == 0) {
        return reference(argc - 1, argv + 1);
    }
    if (strcmp(command, "version") == 0 || strcmp(command, "--version") == 0) {
        printf("ringmx %s\n", RINGMX_VERSION);
        return 0;
    }
    help(stderr);
    return 2;
}
