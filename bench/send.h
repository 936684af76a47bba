/* `ringmx-bench send`: a closed-loop SMTP load: N sessions send M messages as fast as they are
 * answered. */
#pragma once

/* argv[0] is "send". Returns 0 when every message was accepted for every recipient. */
int send_command(int argc, char **argv);
