#include "bench/micro.h"
#include "bench/null.h"
#include "bench/plot.h"
#include "bench/probe.h"
#include "bench/send.h"
#include "bench/sink.h"
#include "bench/verify.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>

/* Read by jemalloc (jemalloc(3), "TUNING"): large pages, as the server has them, or the tables of
 * the microbenchmarks would be slower than its own. */
extern const char *malloc_conf;
const char *malloc_conf = "thp:always";

static const struct {
    const char *name;
    int (*run)(int argc, char **argv);
    const char *what;
} commands[] = {
    {"send", send_command, "send mail and measure"},
    {"plot", plot_command, "draw what send has measured"},
    {"sink", sink_command, "receive mail, count, misbehave on order, verify"},
    {"null", null_command, "answer with constants: the least that a server costs"},
    {"probe", probe_command, "response times at a fixed rate"},
    {"micro", micro_command, "what single operations cost"},
    {"verify", verify_command, "compare what was sent with what arrived"},
};

int main(int argc, char **argv)
{
    const char *command = argc > 1 ? argv[1] : "";
    bool help = strcmp(command, "--help") == 0;
    FILE *out = help ? stdout : stderr;
    for (size_t i = 0; i < sizeof commands / sizeof commands[0]; i++) {
        if (strcmp(command, commands[i].name) == 0) {
            return commands[i].run(argc - 1, argv + 1);
        }
    }
    fprintf(out, "ringmx-bench " RINGMX_VERSION "\n");
    for (size_t i = 0; i < sizeof commands / sizeof commands[0]; i++) {
        fprintf(out, "  ringmx-bench %-6s --help   %s\n", commands[i].name, commands[i].what);
    }
    return help ? 0 : 2;
}
