/* What the commands of ringmx-bench are as processes. */
#pragma once

#include "core/netaddr.h"

enum process_waits {
    PROCESS_WAITS_END, /* a signal ends calls that wait */
    PROCESS_WAITS_GO_ON,
};

/* From here on SIGTERM and SIGINT set the flag that is returned to 1, when they come again to 2. */
const volatile int *process_stop(enum process_waits waits);
/* As many descriptors as the system allows. */
void process_raise_files(void);
/* Whether addr may be spoken to; says so if not. */
bool process_may_use(const struct netaddr *addr, bool allow_remote);
