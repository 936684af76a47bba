/* `ringmx queue list|show ID`: the queue of a stopped server, read from its journal. */
#pragma once

#include <stdio.h>

/* argv[0] is "queue". Returns the exit code: 0, 1 (failed, not found), 2 (usage). */
int queue_command(int argc, char **argv, FILE *out, FILE *err);
