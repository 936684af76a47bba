/* `ringmx-bench sink`: a receiving SMTP server that accepts everything, counts it, and keeps it
 * when asked. */
#pragma once

/* argv[0] is "sink". Returns the exit code. */
int sink_command(int argc, char **argv);
