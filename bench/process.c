#include "bench/process.h"

#include "bench/args.h"

#include <signal.h>
#include <sys/resource.h>

/* How many signals, at most 2. A signal handler can reach nothing else. */
static volatile sig_atomic_t stop_wanted;

static void on_signal(int signal_number)
{
    (void)signal_number;
    stop_wanted = stop_wanted > 0 ? 2 : 1;
}

const volatile int *process_stop(enum process_waits waits)
{
    struct sigaction action = {.sa_handler = on_signal,
                               .sa_flags = waits == PROCESS_WAITS_GO_ON ? SA_RESTART : 0};
    (void)sigaction(SIGTERM, &action, NULL);
    (void)sigaction(SIGINT, &action, NULL);
    return &stop_wanted;
}

void process_raise_files(void)
{
    struct rlimit files;
    if (getrlimit(RLIMIT_NOFILE, &files) == 0 && files.rlim_cur < files.rlim_max) {
        files.rlim_cur = files.rlim_max;
        (void)setrlimit(RLIMIT_NOFILE, &files);
    }
}

bool process_may_use(const struct netaddr *addr, bool allow_remote)
{
    if (args_loopback(addr) || allow_remote) {
        return true;
    }
    fprintf(stderr, "ringmx-bench: only loopback addresses without --allow-remote\n");
    return false;
}
