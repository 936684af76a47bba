/* `ringmx-bench send`: a load (bench/load) from the command line. */
#pragma once

/* argv[0] is "send". Returns 0 when every message was accepted for every recipient. */
int send_command(int argc, char **argv);
