/* `ringmx-bench sink`: a receiving SMTP or LMTP server (bench/sink_conn) that counts, keeps what
 * came when asked, misbehaves on order, and verifies. */
#pragma once

/* argv[0] is "sink". Returns the exit code. */
int sink_command(int argc, char **argv);
