/* Preloaded into the server by the tests: the calendar is SHIFT_CLOCK_SECONDS ahead. */
#include <stdlib.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

int clock_gettime(clockid_t id, struct timespec *out)
{
    long result = syscall(SYS_clock_gettime, id, out);
    const char *seconds = getenv("SHIFT_CLOCK_SECONDS");
    if (result == 0 && id == CLOCK_REALTIME && seconds != NULL) {
        out->tv_sec += strtol(seconds, NULL, 10);
    }
    return (int)result;
}
