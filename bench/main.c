#include "bench/send.h"
#include "bench/sink.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>

int main(int argc, char **argv)
{
    const char *command = argc > 1 ? argv[1] : "";
    bool help = strcmp(command, "--help") == 0;
    if (strcmp(command, "send") == 0) {
        return send_command(argc - 1, argv + 1);
    }
    if (strcmp(command, "sink") == 0) {
        return sink_command(argc - 1, argv + 1);
    }
    fprintf(help ? stdout : stderr, "ringmx-bench " RINGMX_VERSION "\n"
                                    "  ringmx-bench send --help   send mail and measure\n"
                                    "  ringmx-bench sink --help   receive mail and count\n");
    return help ? 0 : 2;
}
