/* `ringmx-bench probe`: response times of one server at a fixed rate, one connection. */
#pragma once

int probe_command(int argc, char **argv);
